"""Generates prompt files with the optional package reasoning_gym: families, graders, and what is left out."""

from __future__ import annotations

from fi_store.prompts.generated.families import FAMILIES
from fi_store.prompts.generated.procedural import MAX_PROMPTS, Generated, generate, reasons, write_prompts

__all__ = [
    "FAMILIES",
    "MAX_PROMPTS",
    "Generated",
    "generate",
    "reasons",
    "write_prompts",
]
