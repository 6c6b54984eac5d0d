"""Reads the activation summaries of an extraction, layer by layer, with one entry per prompt.

It keeps only what the similarity measures need: the two scalar means, and the Gram matrix of each model's mean vectors.
So memory does not grow with the models' widths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analyze.pair.cka import MIN_UNITS, Gram, make_gram
from fi_store.errors import AnalysisError
from fi_store.store import Store
from fi_store.store.tables import Run
from fi_store.vocabulary import POSITION_CLASSES

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LayerSummary:
    """One layer's summaries of one position class, one entry per prompt; prompts of a cluster are adjacent."""

    layer: int
    units: npt.NDArray[np.int64]  # (n,)
    clusters: npt.NDArray[np.int64]  # (n,)
    means: dict[str, Floats]  # metric -> (n,); empty if the widths differ
    base: Gram | None  # of (n, d) mean vectors; None if n < 4
    target: Gram | None


def sites(store: Store, run: Run) -> list[str]:
    """The sites that a run's extraction read, sorted."""
    found = store.rows(
        "select distinct site from activation_summary where run_id = $run order by site",
        run=run.extraction_run_id,
    )
    return [row["site"] for row in found]


def read_layers(store: Store, run: Run, site: str, half: str | None) -> Iterator[tuple[str, LayerSummary]]:
    """Yields (position class, layer) one at a time, so only one layer's vectors are in memory."""
    layers = store.rows(
        "select distinct layer from activation_summary where run_id = $run and site = $site order by layer",
        run=run.extraction_run_id,
        site=site,
    )
    for layer in (row["layer"] for row in layers):
        table = store.arrow(
            "select s.position_class, u.unit, u.cluster, s.cosine, s.relative_difference, s.mean_base, s.mean_target"
            " from activation_summary s join run_unit u on u.run_id = $run and u.prompt_id = s.prompt_id"
            " where s.run_id = $source and s.site = $site and s.layer = $layer and s.author <> 'control'"
            " and ($half::varchar is null or u.half = $half)"
            " order by s.position_class, u.cluster, u.unit, s.author",
            run=run.id,
            source=run.extraction_run_id,
            site=site,
            layer=layer,
            half=half,
        )
        names = np.asarray(table["position_class"].to_pylist(), dtype=np.str_)
        for name in POSITION_CLASSES:
            index = np.flatnonzero(names == name)
            if len(index):
                yield name, _make_layer(layer, table.slice(int(index[0]), len(index)))


def _make_layer(layer: int, table: pa.Table) -> LayerSummary:
    """Averages the texts of each prompt. Rows are sorted by cluster and prompt."""
    unit = np.asarray(table["unit"].to_numpy(), dtype=np.int64)
    first = np.flatnonzero(np.append(True, unit[1:] != unit[:-1]))
    texts = np.diff(np.append(first, len(unit)))
    clusters = np.asarray(table["cluster"].to_numpy(), dtype=np.int64)[first]

    def per_unit(values: Floats) -> Floats:
        sums: Floats = np.add.reduceat(values, first, axis=0)
        return sums / texts.reshape(-1, *[1] * (values.ndim - 1))

    means = {}
    if table["relative_difference"].null_count < len(unit):
        relative = _numbers(table["relative_difference"], layer)
        cosine = _numbers(table["cosine"], layer)
        # The cosine of two equal vectors may be rounded to just below 1; without a difference it is exactly 1.
        means = {
            "cosine": per_unit(np.where(relative == 0, 1.0, cosine)),
            "relative_difference": per_unit(relative),
        }
    grams: list[Gram | None] = []
    for name in ("mean_base", "mean_target"):
        vectors = _vectors(table[name], layer)
        grams.append(make_gram(per_unit(vectors), clusters) if len(first) >= MIN_UNITS else None)
    return LayerSummary(layer, unit[first], clusters, means, grams[0], grams[1])


def _numbers(column: pa.ChunkedArray, layer: int) -> Floats:
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise AnalysisError(f"The activation summaries of layer {layer} have missing or infinite numbers.")
    return values


def _vectors(column: pa.ChunkedArray, layer: int) -> Floats:
    """(n, d) from a column of n lists."""
    lists = column.combine_chunks()
    flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    lengths = np.asarray(lists.value_lengths().to_numpy(zero_copy_only=False))
    if not flat.size or np.any(lengths != lengths[0]):
        raise AnalysisError(
            f"The mean vectors of layer {layer} are missing or of different lengths.", hint="fi-store doctor"
        )
    return flat.reshape(len(lengths), -1)


def without_grams(layer: LayerSummary) -> LayerSummary:
    """The layer with its means only, since the matrices take n x n each."""
    return LayerSummary(layer.layer, layer.units, layer.clusters, layer.means, None, None)


def check_units(layers: Sequence[LayerSummary], site: str) -> None:
    """Raises AnalysisError if two layers of one position class summarize different prompts."""
    for layer in layers:
        if not np.array_equal(layer.units, layers[0].units):
            raise AnalysisError(
                f"Layers {layers[0].layer} and {layer.layer} ({site}) summarize different prompts.",
                hint="fi-store doctor",
            )
