"""From prompts and answers to the token sequences that both models read. It runs no models."""

from __future__ import annotations

from extract.texts.answers import Answer, answer_of, answer_start
from extract.texts.rendering import RenderedPrompt, Rendering, canonical_first, choose_rendering
from extract.texts.sequences import (
    FIRST_CLASSES,
    ReadSequence,
    Tokenizers,
    build_sequence,
    build_sequences,
    make_tokenizers,
)
from extract.texts.spelling import spelled, writing_of
from extract.texts.templates import Format, Marks, Wishes

__all__ = [
    "FIRST_CLASSES",
    "Answer",
    "Format",
    "Marks",
    "ReadSequence",
    "RenderedPrompt",
    "Rendering",
    "Tokenizers",
    "Wishes",
    "answer_of",
    "answer_start",
    "build_sequence",
    "build_sequences",
    "canonical_first",
    "choose_rendering",
    "make_tokenizers",
    "spelled",
    "writing_of",
]
