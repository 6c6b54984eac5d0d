"""Finds the data that ships with the package, both in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_DATA = _PACKAGE / "data"
"""Where a wheel holds the data."""
_IN_CHECKOUT = {"organisms": "bench/planted/organisms"}


def shipped(name: str) -> Path:
    """The folder `prompts`, `migrations` or `organisms`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for candidate in (_DATA / name, _PACKAGE.parent / _IN_CHECKOUT.get(name, name)):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the shipped folder {name!r} is missing from {_PACKAGE}")
