"""extract.shams."""

from __future__ import annotations

from extract.shams.sham import (
    CALIBRATION_PROMPTS,
    Sham,
    ShamError,
    Yardstick,
    built_sham,
    calibrate,
    measure_pair,
    why_no_sham,
)

__all__ = [
    "CALIBRATION_PROMPTS",
    "Sham",
    "ShamError",
    "Yardstick",
    "built_sham",
    "calibrate",
    "measure_pair",
    "why_no_sham",
]
