"""What made a run, for the record: versions from installed metadata, the platform, the number of threads."""

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
    """Name -> version of everything that can change a result, with Python, the platform and torch's CPU threads.

    Another number of threads adds up in another order, and after some hundred steps a dictionary shows it.
    """
    import torch  # not for the commands that need only `package_version`

    found = {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "threads": str(torch.get_num_threads()),
    }
    for name in RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
