"""Records what produced a run: installed versions, the platform, the number of threads."""

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
    """Name -> version of everything that can change a result, including Python, the platform and torch's CPU threads.

    A different number of threads sums in a different order, which shows in a dictionary after a few hundred steps.
    """
    import torch  # imported here because `package_version` must stay cheap

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
