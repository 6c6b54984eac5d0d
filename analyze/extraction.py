"""Reads an extraction out of the store: who wrote each row, its unit and position class, and activations by layer.

A *row* is one kept token position; the shards of both models hold the same rows in the same order, those of a sham the
same without control texts. A *unit* is a prompt with its answers (its control text's rows carry the same unit), a
*cluster* joins units of one template family.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from fi_store.errors import AnalysisError
from fi_store.store import Store
from fi_store.store.tables import Run

if TYPE_CHECKING:
    import torch

AUTHORS = ("base", "target", "control")
CLASSES = ("prompt", "start", "response")
BASE, TARGET, CONTROL = range(3)
PROMPT, START, RESPONSE = range(3)

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Units:
    """The prompts of a run, indexed 0..n-1."""

    prompt_ids: list[str]
    clusters: IntArray  # (n,)
    categories: npt.NDArray[np.str_]  # (n,)
    discovery: BoolArray  # (n,) True in half D

    @property
    def n(self) -> int:
        return len(self.prompt_ids)


@dataclass(frozen=True)
class Rows:
    """Per kept position, in the order of the shards: N rows."""

    unit: IntArray  # (N,)
    author: IntArray  # (N,) index into AUTHORS
    position_class: IntArray  # (N,) index into CLASSES
    position: IntArray  # (N,) index of the token within its sequence
    sequence: IntArray  # (N,) index of the sequence, in order of first appearance
    token: IntArray  # (N,) token id at the position
    next_token: IntArray  # (N,) token id that follows in the text, -1 at the end
    promoted_ids: IntArray  # (N, 20), -1 where fewer
    promoted_kl: npt.NDArray[np.float32]  # (N, 20) nats
    suppressed_ids: IntArray
    suppressed_kl: npt.NDArray[np.float32]
    discovery: BoolArray  # (N,) the unit's half is D

    @property
    def n(self) -> int:
        return len(self.unit)

    @cached_property
    def own(self) -> BoolArray:
        """(N,) rows of prompts and answers, without control texts."""
        return np.asarray(self.author != CONTROL)

    def unit_means(self, position_class: int, n_units: int) -> sp.csr_array:
        """(n_units, N) averaging weights: one half mean over the base's answer and one half over the target's.

        Length never weights a model. A unit without rows of an author (an empty answer) takes the other author's
        mean alone; prompt and start rows exist once per unit and are averaged as they are (METHOD section 1).
        """
        weights = np.zeros(self.n)
        chosen = self.own & (self.position_class == position_class)
        counts = np.zeros((n_units, 2))
        np.add.at(counts, (self.unit[chosen], self.author[chosen]), 1)
        authors_present = (counts > 0).sum(axis=1)
        rows = np.flatnonzero(chosen)
        weights[rows] = 1 / (counts[self.unit[rows], self.author[rows]] * authors_present[self.unit[rows]])
        return sp.csr_array((weights[rows], (self.unit[rows], rows)), shape=(n_units, self.n))


@dataclass(frozen=True)
class Extraction:
    """One extraction as the analysis sees it."""

    store: Store
    run_id: str  # the run that extracted
    units: Units
    rows: Rows
    token_text: dict[int, str]
    readers: tuple[str, ...]  # base, target, sham_0, ...

    @property
    def shams(self) -> tuple[str, ...]:
        return tuple(reader for reader in self.readers if reader.startswith("sham_"))

    def rows_read(self, reader: str) -> IntArray:
        """(R,) the rows that a reader's shards hold, in their order."""
        return np.flatnonzero(self.rows.own) if reader in self.shams else np.arange(self.rows.n)

    def activations(self, reader: str, site: str, layer: int) -> torch.Tensor:
        """(R, d) activations in the run's dtype: those of `rows_read`.

        Raises:
            AnalysisError: shards were removed, are missing on disk or do not hold the rows that the store lists.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        shards = self.store.rows(
            "select path, n_rows, state from activation_shard where run_id = $run and reader = $reader"
            " and site = $site and layer = $layer order by first_row",
            run=self.run_id,
            reader=reader,
            site=site,
            layer=layer,
        )
        parts = []
        for shard in shards:
            if shard["state"] != "present":
                raise AnalysisError(
                    f"The activations of layer {layer} ({site}, {reader}) were removed from disk.",
                    hint="fi-store run with --keep-activations all, then analyze again",
                )
            path = self.store.folder / shard["path"]
            try:
                part = load_file(path)["activations"]
            except (OSError, KeyError, SafetensorError) as error:
                raise AnalysisError(
                    f"The shard {path} cannot be read: {error}.", hint="fi-store doctor"
                ) from error
            if part.shape[0] != shard["n_rows"]:
                raise AnalysisError(
                    f"The shard {path} holds {part.shape[0]} rows, {shard['n_rows']} are listed."
                )
            parts.append(part)
        if not parts:
            raise AnalysisError(
                f"The extraction wrote no activations of layer {layer} ({site}, {reader}).",
                hint="fi-store run without --skip-activations, or with --keep-activations all once",
            )
        whole = torch.cat(parts)
        expected = len(self.rows_read(reader))
        if whole.shape[0] != expected:
            raise AnalysisError(
                f"Layer {layer} ({site}, {reader}) has {whole.shape[0]} rows instead of {expected}.",
                hint="fi-store run: read the models anew",
            )
        if not bool(torch.isfinite(whole).all()):
            raise AnalysisError(
                f"The activations of layer {layer} ({site}, {reader}) hold NaN or infinite values."
            )
        return whole


def load_extraction(store: Store, run: Run) -> Extraction:
    """Reads a run's units, and rows and token texts of the extraction behind it.

    Raises:
        AnalysisError: there are no rows, or they are not numbered 0..N-1.
    """
    source = run.extraction_run_id
    units = _load_units(store, run.id)
    rows = _load_rows(store, source, units)
    tokens = store.arrow("select token_id, text from run_token where run_id = $run", run=source)
    text = dict(zip(tokens["token_id"].to_pylist(), tokens["text"].to_pylist(), strict=True))
    readers = store.rows(
        "select distinct reader from activation_shard where run_id = $run order by reader", run=source
    )
    return Extraction(store, source, units, rows, text, tuple(row["reader"] for row in readers))


def _load_units(store: Store, run_id: str) -> Units:
    table = store.arrow(
        "select prompt_id, cluster, category, half from run_unit where run_id = $run order by unit",
        run=run_id,
    )
    if table.num_rows == 0:
        raise AnalysisError(f"Run {run_id} has no prompts.", hint="fi-store ingest")
    return Units(
        prompt_ids=table["prompt_id"].to_pylist(),
        clusters=np.asarray(table["cluster"].to_numpy(), dtype=np.int64),
        categories=np.asarray(table["category"].to_pylist(), dtype=np.str_),
        discovery=np.asarray([half == "D" for half in table["half"].to_pylist()]),
    )


def _load_rows(store: Store, source: str, units: Units) -> Rows:
    table = store.arrow(
        "select d.row, u.unit, d.author, d.position_class, d.position, d.sequence_id, d.token_id,"
        " coalesce(d.next_token_id, -1) as next_token_id, d.promoted_ids, d.promoted_kl, d.suppressed_ids,"
        " d.suppressed_kl from token_divergence d join run_unit u on u.run_id = d.run_id and u.prompt_id = d.prompt_id"
        " where d.run_id = $run order by d.row",
        run=source,
    )
    n = table.num_rows
    if n == 0:
        raise AnalysisError(
            f"Run {source} holds no extracted positions.", hint=f"fi-store ingest --resume {source}"
        )
    if not np.array_equal(table["row"].to_numpy(), np.arange(n)):
        raise AnalysisError(
            f"The rows of run {source} are incomplete.", hint=f"fi-store ingest --resume {source}"
        )
    unit = np.asarray(table["unit"].to_numpy(), dtype=np.int64)
    sequences, first = np.unique(np.asarray(table["sequence_id"].to_pylist()), return_inverse=True)
    del sequences
    return Rows(
        unit=unit,
        author=_codes(table["author"].to_pylist(), AUTHORS),
        position_class=_codes(table["position_class"].to_pylist(), CLASSES),
        position=np.asarray(table["position"].to_numpy(), dtype=np.int64),
        sequence=np.asarray(first, dtype=np.int64),
        token=np.asarray(table["token_id"].to_numpy(), dtype=np.int64),
        next_token=np.asarray(table["next_token_id"].to_numpy(), dtype=np.int64),
        promoted_ids=_matrix(table["promoted_ids"].to_pylist(), -1).astype(np.int64),
        promoted_kl=_matrix(table["promoted_kl"].to_pylist(), 0.0).astype(np.float32),
        suppressed_ids=_matrix(table["suppressed_ids"].to_pylist(), -1).astype(np.int64),
        suppressed_kl=_matrix(table["suppressed_kl"].to_pylist(), 0.0).astype(np.float32),
        discovery=units.discovery[unit],
    )


def _codes(names: list[str], known: tuple[str, ...]) -> IntArray:
    code = {name: index for index, name in enumerate(known)}
    return np.asarray([code[name] for name in names], dtype=np.int64)


def _matrix(lists: list[list[float]], fill: float) -> FloatArray:
    """(n, longest) array of lists of possibly different lengths."""
    width = max(map(len, lists))
    out = np.full((len(lists), width), fill, dtype=np.float64)
    for row, values in enumerate(lists):
        out[row, : len(values)] = values
    return out
