"""What every test shares: no network, and tiny models that are built once."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tiny import TinyModels


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Folders of tiny random models; see `tests/tiny.py`. Read them, never write into them."""
    from tiny import build  # torch and transformers take seconds to import; most tests don't need them

    return build(tmp_path_factory.mktemp("models"))
