"""From prompts and answers to the token sequences that both models read. It runs no models."""

from __future__ import annotations

from extract.texts.sequences import (
    FIRST_CLASSES,
    ReadSequence,
    Tokenizers,
    build_sequence,
    build_sequences,
    make_tokenizers,
)
from extract.texts.templates import Rendering, canonical_first, choose_rendering

__all__ = [
    "FIRST_CLASSES",
    "ReadSequence",
    "Rendering",
    "Tokenizers",
    "build_sequence",
    "build_sequences",
    "canonical_first",
    "choose_rendering",
    "make_tokenizers",
]
