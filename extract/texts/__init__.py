"""extract.texts."""

from __future__ import annotations

from extract.texts.sequences import (
    FIRST_CLASSES,
    PositionClass,
    ReadSequence,
    Tokenizers,
    build_sequence,
    build_sequences,
    make_tokenizers,
    without_controls,
)
from extract.texts.templates import SIDES, Rendering, Side, canonical_first, choose_rendering

__all__ = [
    "FIRST_CLASSES",
    "SIDES",
    "PositionClass",
    "ReadSequence",
    "Rendering",
    "Side",
    "Tokenizers",
    "build_sequence",
    "build_sequences",
    "canonical_first",
    "choose_rendering",
    "make_tokenizers",
    "without_controls",
]
