"""Sham targets: as far from the base as the real target is, but without content."""

from __future__ import annotations

from extract.shams.extract import extract_shams
from extract.shams.sham import CALIBRATION_PROMPTS, why_no_sham

__all__ = [
    "CALIBRATION_PROMPTS",
    "extract_shams",
    "why_no_sham",
]
