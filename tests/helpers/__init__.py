"""What tests share: tiny models, small runs, synthetic stores, bad input."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
