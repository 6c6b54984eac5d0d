"""fi-store: what changed between two language models, kept in a DuckDB store.

    from fi_store import run_feature_interpretation_pipeline
    run = run_feature_interpretation_pipeline(base_model="bundled:smollm2", target_model="./my-adapter")

The names below are loaded on first use (PEP 562). Importing this package therefore imports nothing heavy, and
`fi-store --help` answers at once.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fi_store.threads import limit_spinning

if TYPE_CHECKING:
    from fi_store.api import (
        create_visualizations,
        extract_activations_for_comparison,
        generate_report,
        name_features,
        open_store,
        run_feature_interpretation_pipeline,
    )
    from fi_store.config import RunConfig
    from fi_store.errors import FiStoreError
    from fi_store.handle import RunHandle
    from fi_store.versions import package_version

    __version__ = package_version()

limit_spinning(os.environ)  # before anything here imports torch

__all__ = [
    "FiStoreError",
    "RunConfig",
    "RunHandle",
    "__version__",
    "create_visualizations",
    "extract_activations_for_comparison",
    "generate_report",
    "name_features",
    "open_store",
    "run_feature_interpretation_pipeline",
]

_ELSEWHERE = {
    "FiStoreError": "fi_store.errors",
    "RunConfig": "fi_store.config",
    "RunHandle": "fi_store.handle",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("fi_store.versions").package_version()
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "fi_store.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
