"""Writes counts with their nouns, and sizes with their units."""

from __future__ import annotations


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 change`, `12 changes`, `1,024 features`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(n_bytes: float) -> str:
    """A number of bytes for people, such as `1.4 GB`."""
    for suffix in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000 or suffix == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {suffix}" if suffix == "bytes" or n_bytes >= 100 else f"{n_bytes:.1f} {suffix}"
