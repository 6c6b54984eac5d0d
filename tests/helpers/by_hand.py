"""Builds small stores row by row: a run with its models, units, activation summaries and divergences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fi_store.ids import run_id
from fi_store.store import Store, add_missing, now, write_facts
from fi_store.store.tables import ActivationSummary, Model, Run, RunUnit, TokenDivergence


def model(name: str, n_layers: int = 2, d_model: int = 4) -> Model:
    """A model for which only name, depth and width matter."""
    return Model(
        id=name,
        reference=name,
        kind="folder",
        architecture="tiny",
        n_layers=n_layers,
        d_model=d_model,
        vocab_size=10,
        n_parameters=100,
        weights_hash=name,
        tokenizer_hash="t",
        created_at=now(),
    )


def add_run(store: Store, base: Model, target: Model, clusters: Sequence[int], halves: Sequence[str]) -> str:
    """Adds a run with the prompts `p0`, `p1`, ... in the given clusters and halves; returns its id."""
    new_id = run_id()
    with store.session() as session:
        add_missing(session, [base, target])
        session.add(
            Run(
                id=new_id,
                extraction_run_id=new_id,
                base_model_id=base.id,
                target_model_id=target.id,
                base_reference=base.reference,
                target_reference=target.reference,
                prompt_set_id="set",
                state="extracted",
                config={},
                extraction_key="key",
                versions={},
                device="cpu",
                dtype="float32",
                dtype_reason="test",
                canonical_first="base",
                chat_template="none",
                seed=0,
                created_at=now(),
            )
        )
        session.add_all(
            RunUnit(run_id=new_id, prompt_id=f"p{i}", unit=i, cluster=cluster, category="c", half=half)
            for i, (cluster, half) in enumerate(zip(clusters, halves, strict=True))
        )
    return new_id


def summary(
    prompt: int,
    author: str,
    layer: int,
    position_class: str,
    base: Sequence[float] | np.ndarray,
    target: Sequence[float] | np.ndarray,
    relative: float | None,
    cosine: float | None,
) -> dict[str, Any]:
    """A row of `activation_summary` without its run."""
    return {
        "chunk": 0,
        "sequence_id": f"s{prompt}{author}",
        "prompt_id": f"p{prompt}",
        "author": author,
        "site": "resid_post",
        "layer": layer,
        "position_class": position_class,
        "n_tokens": 3,
        "norm_base": 1.0,
        "norm_target": 1.0,
        "relative_difference": relative,
        "cosine": cosine,
        "mean_base": [float(x) for x in base],
        "mean_target": [float(x) for x in target],
    }


def add_summaries(store: Store, run: str, rows: Sequence[dict[str, Any]]) -> None:
    """Writes summaries in the order given."""
    floats = pa.list_(pa.float32())
    table = pa.Table.from_pylist([{"run_id": run, **row} for row in rows])
    for name in ("mean_base", "mean_target"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(floats))
    with store.session() as session:
        write_facts(session, ActivationSummary, table, replace={"run_id": run})


def divergence(
    prompt: int,
    author: str,
    position_class: str,
    *,
    base: float | None = -1.0,
    target: float | None = -1.0,
    kl: tuple[float, float] = (0.0, 0.0),
    agree: bool = True,
    last: bool = False,
) -> dict[str, Any]:
    """A row of `token_divergence` without run and row number; `kl` is (target to base, base to target)."""
    return {
        "chunk": 0,
        "sequence_id": f"s{prompt}{author}",
        "prompt_id": f"p{prompt}",
        "author": author,
        "position": 0,
        "position_class": position_class,
        "token_id": 1,
        "next_token_id": None if last else 2,
        "logprob_base": None if last else base,
        "logprob_target": None if last else target,
        "kl_target_base": kl[0],
        "kl_base_target": kl[1],
        "agree": agree,
        "promoted_ids": [1],
        "promoted_kl": [0.0],
        "suppressed_ids": [1],
        "suppressed_kl": [0.0],
    }


def add_divergences(store: Store, run: str, rows: Sequence[dict[str, Any]]) -> None:
    """Writes divergences, numbered in the order given."""
    table = pa.Table.from_pylist([{"run_id": run, "row": number, **row} for number, row in enumerate(rows)])
    with store.session() as session:
        write_facts(session, TokenDivergence, table, replace={"run_id": run})


def open_new(folder: Path) -> Store:
    """An empty store in a folder."""
    return Store.open(folder / "fi-store.duckdb", create=True)
