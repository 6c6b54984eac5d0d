"""Writes the commands that are printed as a next step, so that a shell reads them as they are meant."""

from __future__ import annotations

import shlex
from pathlib import Path

DEFAULT_FOLDER = Path("feature_interpretation")
DEFAULT_STORE = DEFAULT_FOLDER / "fi-store.duckdb"
UPGRADE_PACKAGE = "pip install --upgrade fi-store"


def command_line(*words: object, store: Path | None = None) -> str:
    """`fi-store` with these words, quoted for a shell; `store` is named unless it is the default one."""
    named = () if store is None or store == DEFAULT_STORE else ("--store", store)
    return shlex.join(("fi-store", *map(str, (*words, *named))))
