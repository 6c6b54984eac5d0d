"""Small runs for tests: a small prompt suite, tiny pairs, one call that ingests them and one that analyzes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import torch
from safetensors.torch import save_file

from extract.models import LoadedPair, load_pair
from extract.pipeline import ingest
from fi_store.config import RunConfig, make_config
from fi_store.progress import Progress
from fi_store.prompts import PromptRecord, PromptSuite
from fi_store.store import Store
from fi_store.store.tables import Run


def small_suite(count: int = 6) -> PromptSuite:
    """Prompts of two categories, most with a control text. Neighbors share a family."""
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
    """fp32 on the CPU, six new tokens, shards of every layer, unless `options` differ."""
    settings = {
        "quantization": "fp32",
        "device": "cpu",
        "max_new_tokens": 6,
        "keep_activations": "all",
        **options,
    }
    return make_config(base_model=str(base), target_model=str(target), **settings)


def ingested(folder: Path, config: RunConfig, suite: PromptSuite | None = None) -> tuple[Store, str]:
    """An open store in `folder` with one extraction, and its run id. The caller closes the store."""
    store = Store.open(folder / "fi-store.duckdb", create=True)
    try:
        return store, ingest(store, config, suite or small_suite(), progress=Progress())
    except BaseException:
        store.close()
        raise


SMALL = {
    "n_latents": 24,
    "k": 4,
    "dictionary_steps": 20,
    "dictionary_batch": 64,
    "layers": "1",
    "candidates": 4,
}

DEFAULT = {"dictionary": "paired_sae", "dictionary_seeds": 1, "dictionary_file": None}


def analyzed(store: Store, run_id: str, **options: Any) -> None:
    """Analyzes an extraction again with other options; its models answer what it asks."""
    from fi_store import workflow  # here, so that the tests of extract/ do not load the analysis

    with store.session() as session:
        config = {**session.get_one(Run, run_id).config, **SMALL, **DEFAULT}
        session.execute(sa.update(Run).where(Run.id == run_id).values(config={**config, **options}))
    workflow.analyze(store, run_id, Progress())


def ready_folder(folder: Path, width: int, **about: Any) -> Path:
    """A dictionary that reconstructs everything: each axis with both signs, with decoders twice as long as needed."""
    folder.mkdir(parents=True)
    axes = torch.cat([torch.eye(width), -torch.eye(width)])
    tensors = {
        "W_enc": axes.T / 2,
        "b_enc": torch.zeros(2 * width),
        "W_dec": 2 * axes,
        "b_dec": torch.zeros(width),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "sae.safetensors")
    if about:
        (folder / "cfg.json").write_text(json.dumps(about))
    return folder
