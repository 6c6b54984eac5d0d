"""Learning dictionaries from paired rows of two models, and loading ready ones; knows no store and no units."""

from __future__ import annotations

from analyze.fit.fit import fit_dictionary
from analyze.fit.pretrained import Pretrained, as_dictionary, load_pretrained
from analyze.fit.training import FitOptions

__all__ = [
    "FitOptions",
    "Pretrained",
    "as_dictionary",
    "fit_dictionary",
    "load_pretrained",
]
