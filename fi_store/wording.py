"""Writes counts with their nouns."""

from __future__ import annotations


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 change`, `12 changes`, `1,024 features`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
