"""Which versions of what made a run: read from installed metadata, nothing is imported for it."""

from __future__ import annotations

import platform
from importlib import metadata

RECORDED = (
    "fi-store", "torch", "transformers", "tokenizers", "peft", "bitsandbytes", "safetensors", "numpy", "scipy",
    "scikit-learn", "duckdb", "duckdb-sqlalchemy", "sqlalchemy", "alembic", "pyarrow", "altair", "vl-convert-python",
    "jinja2",
)  # fmt: skip


def package_version() -> str:
    """The version of the installed fi-store."""
    return metadata.version("fi-store")


def recorded_versions() -> dict[str, str]:
    """Name -> version of everything that can change a result, with Python and the platform."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
