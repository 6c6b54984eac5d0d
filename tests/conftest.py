"""What every test shares: no network, and tiny models that are built once."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once

import pytest
from tiny import TinyModels, build


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Folders of tiny random models; see `tests/tiny.py`. Read them, never write into them."""
    return build(tmp_path_factory.mktemp("models"))
