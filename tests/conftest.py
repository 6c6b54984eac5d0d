"""What every test shares: no network, and tiny models that are built once."""

from __future__ import annotations

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# No test measures time: a first example may wait a second for another process or for the collection of garbage.
settings.register_profile("fi-store", deadline=None)
settings.load_profile("fi-store")

# A shell starts background jobs with SIGINT ignored, and children inherit that; these tests are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from tests.helpers.store_factory import FilledStore
    from tests.helpers.tiny import TinyModels


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Folders of tiny random models; see `tests/helpers/tiny.py`. Read them, never write into them."""
    from tests.helpers.tiny import (
        build,  # torch and transformers take seconds to import; most tests don't need them
    )

    return build(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def plain_store(tmp_path_factory: pytest.TempPathFactory) -> FilledStore:
    """Two analyzed synthetic runs; see `tests/helpers/store_factory.py`. Read it, never write into it."""
    from tests.helpers.store_factory import fill_store

    return fill_store(tmp_path_factory.mktemp("plain") / "fi-store.duckdb")


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> FilledStore:
    """One run whose prompts, answers, tokens and names attack whoever prints them. Read only."""
    from tests.helpers.store_factory import fill_store

    return fill_store(
        tmp_path_factory.mktemp("hostile") / "fi-store.duckdb", runs=("different",), hostile=True
    )


@pytest.fixture(scope="session")
def same_store(tmp_path_factory: pytest.TempPathFactory) -> FilledStore:
    """One run of a pair without a behavioral difference. Read only."""
    from tests.helpers.store_factory import fill_store

    return fill_store(tmp_path_factory.mktemp("same") / "fi-store.duckdb", runs=("same",))
