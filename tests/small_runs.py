"""Small extractions for tests: a prompt suite of a few lines, loaded tiny pairs, and one call that ingests them."""

from __future__ import annotations

from pathlib import Path

from extract.models import LoadedPair, load_pair
from extract.pipeline import ingest
from fi_store.config import RunConfig, make_config
from fi_store.progress import Progress
from fi_store.records import PromptRecord, PromptSuite
from fi_store.store import Store


def small_suite(count: int = 6) -> PromptSuite:
    """Prompts of two categories, each with a control text; neighbours share a family."""
    return PromptSuite(
        "small",
        "1",
        tuple(
            PromptRecord(
                key=f"p{number}",
                category=("sums", "stories")[number % 2],
                text=f"A farmer has {number} sheep and buys {number * 7 % 5} more on day {number}. How many are there?",
                family=f"family{number // 2}",
                control="Tell me about the wind." if number % 3 else None,
            )
            for number in range(count)
        ),
    )


def loaded(base: Path, target: Path, quantization: str = "fp32") -> LoadedPair:
    """A tiny pair on the CPU, by default in fp32, where results of different batches agree closely."""
    return load_pair(str(base), str(target), device="cpu", quantization=quantization, note=lambda _: None)


def small_config(base: Path, target: Path, **options: object) -> RunConfig:
    """fp32 on the CPU, six new tokens, one sham, shards of every layer, unless said otherwise."""
    given = {
        "quantization": "fp32",
        "device": "cpu",
        "max_new_tokens": 6,
        "shams": 1,
        "keep_activations": "all",
        **options,
    }
    return make_config(base_model=str(base), target_model=str(target), **given)


def ingested(folder: Path, config: RunConfig, suite: PromptSuite | None = None) -> tuple[Store, str]:
    """An open store in `folder` with one extraction, and its run id; the caller closes the store."""
    store = Store.open(folder / "fi-store.duckdb", create=True)
    try:
        return store, ingest(store, config, suite or small_suite(), progress=Progress())
    except BaseException:
        store.close()
        raise
