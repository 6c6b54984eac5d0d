"""Shared by all tests: no network access, and tiny models and stores that are built once."""

from __future__ import annotations

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# Tests do not measure time: a first example may wait a second for another process or for garbage collection.
settings.register_profile("fi-store", deadline=None)
settings.load_profile("fi-store")

# A shell starts background jobs with SIGINT ignored, and children inherit that; some tests need Ctrl-C to work.
signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from tests.helpers.store_factory import FilledStore
    from tests.helpers.tiny import TinyModels


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Folders of tiny random models; see `tests/helpers/tiny.py`. Read-only."""
    # Imported here because torch and transformers take seconds to load, and most tests don't need them.
    from tests.helpers.tiny import build

    return build(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def plain_store(tmp_path_factory: pytest.TempPathFactory) -> FilledStore:
    """Two analyzed synthetic runs; see `tests/helpers/store_factory.py`. Read-only."""
    from tests.helpers.store_factory import fill_store

    return fill_store(tmp_path_factory.mktemp("plain") / "fi-store.duckdb")


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> FilledStore:
    """One run with prompts, answers, tokens and names that try to break the output. Read-only."""
    from tests.helpers.store_factory import fill_store

    return fill_store(
        tmp_path_factory.mktemp("hostile") / "fi-store.duckdb", runs=("different",), hostile=True
    )


@pytest.fixture(scope="session")
def old_store(tmp_path_factory: pytest.TempPathFactory) -> FilledStore:
    """Two runs with results of version 1, which older schemas can hold. Read-only."""
    from tests.helpers.store_factory import fill_store

    return fill_store(tmp_path_factory.mktemp("old") / "fi-store.duckdb", runs=("old", "old"))


@pytest.fixture(scope="session")
def same_store(tmp_path_factory: pytest.TempPathFactory) -> FilledStore:
    """One run of a pair without a behavioral difference. Read-only."""
    from tests.helpers.store_factory import fill_store

    return fill_store(tmp_path_factory.mktemp("same") / "fi-store.duckdb", runs=("same",))
