"""How alike the two models' layers are: debiased CKA, mean token cosine and relative difference norm, per layer.

Reads the summaries that the extraction left in the store, never activations. The unit is the prompt, intervals are
over clusters of prompts: a jackknife for CKA (`analyze.cka` says why), BCa for the two means. Different widths leave
CKA alone; different depths give the whole layer x layer matrix with labels such as "b03-t05". This is description:
nothing here chooses a candidate or tests one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analyze.bootstrap import mean_interval
from analyze.cka import MIN_UNITS, Cka, Gram, cka, make_gram
from fi_store.config import METHOD
from fi_store.errors import AnalysisError
from fi_store.schema import Model, Run
from fi_store.schema_results import LayerSimilarity
from fi_store.store import Store, write_facts

Floats = npt.NDArray[np.float64]

SOURCE = "fi-store"
POSITION_CLASSES = ("prompt", "start", "response")
MEANS = ("cosine", "relative_difference")


class Similarities(NamedTuple):
    """Rows of `layer_similarity` (without `run_id`), and what could not be computed, in sentences."""

    rows: list[dict[str, Any]]
    notes: list[str]


class LayerPair(NamedTuple):
    """A layer of the base with the target's layer that it resembles most."""

    site: str
    position_class: str
    layer_base: int
    layer_target: int
    cka: float


@dataclass(frozen=True)
class _Layer:
    """One layer's summaries of one position class, a row per prompt, prompts of a cluster side by side."""

    layer: int
    units: npt.NDArray[np.int64]  # (n,)
    clusters: npt.NDArray[np.int64]  # (n,)
    means: dict[str, Floats]  # metric -> (n,); absent where the widths differ
    base: Gram | None  # of (n, d) mean vectors; None where this model has no such layer, or n < 4
    target: Gram | None


def layer_similarities(
    store: Store, run: Run, *, half: str | None = None, draws: int = METHOD.bootstrap_draws, seed: int = 0
) -> Similarities:
    """All similarities of a run's extraction, per site, position class and layer, with 95% intervals.

    A prompt's vectors and means in class `response` are the average of its two texts (base's and target's answer),
    so that length never weights a model; a prompt whose one answer is empty takes the other text alone. `cosine` is
    the mean over tokens, then texts, then prompts; `relative_difference` is mean ||t - b|| / mean ||b|| of a text,
    averaged likewise. A model with itself gives exactly 1, 1 and 0, with zero-width intervals.

    Args:
        half: only prompts of this half, "D" or "C"; all when None.
        draws, seed: of the bootstrap behind the two means.

    Raises:
        AnalysisError: there are no summaries, layers disagree about which prompts they hold, or numbers are NaN.
    """
    with store.session() as unit:
        models = [unit.get_one(Model, name) for name in (run.base_model_id, run.target_model_id)]
    same_depth = models[0].n_layers == models[1].n_layers
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for site in _sites(store, run):
        by_class: dict[str, list[_Layer]] = {}
        pairs: list[dict[str, Any]] = []
        for position_class, layer in _read_layers(store, run, site, half):
            kept = by_class.setdefault(position_class, [])
            if same_depth:
                pairs += _cka_rows([layer], [layer], site, position_class, notes, same_depth=True)
                layer = _without_grams(layer)  # n x n each: keep one layer's at a time
            kept.append(layer)
        for position_class in (name for name in POSITION_CLASSES if name in by_class):
            layers = by_class[position_class]
            _check_units(layers, site)
            if not same_depth:
                pairs += _cka_rows(layers, layers, site, position_class, notes, same_depth=False)
            rows += _mean_rows(layers, site, position_class, same_depth, draws, seed)
        rows += pairs
    if not rows:
        raise AnalysisError(
            f"Run {run.extraction_run_id} has no activation summaries{' in half ' + half if half else ''}.",
            hint=f"fi-store ingest --resume {run.extraction_run_id}",
        )
    return Similarities(rows, notes)


def write_similarity(store: Store, run_id: str) -> Similarities:
    """Computes and stores a run's own similarities, replacing earlier ones; outside files' rows stay.

    What is undefined is logged as a warning; where depths differ, the best-matching layers are logged as a choice.
    """
    run = store.run(run_id)
    found = layer_similarities(store, run, seed=run.seed)
    table = pa.Table.from_pylist([{"run_id": run.id, **row} for row in found.rows], schema=_SCHEMA)
    with store.session() as unit:
        write_facts(unit, LayerSimilarity, table, replace={"run_id": run.id, "source": SOURCE})
    for note in found.notes:
        store.event(run.id, "analyze", "warning", note)
    if any(row["layer_base"] != row["layer_target"] for row in found.rows):
        pairs = [pair._asdict() for pair in matched_layers(found.rows)]
        store.event(
            run.id, "analyze", "choice", "layers of different depths matched by CKA", detail={"pairs": pairs}
        )
    return found


def matched_layers(rows: Sequence[dict[str, Any]]) -> list[LayerPair]:
    """For every layer of the base the target's layer with the largest CKA (the first one on a tie)."""
    best: dict[tuple[str, str, int], LayerPair] = {}
    for row in rows:
        if row["metric"] != "cka" or row["source"] != SOURCE:
            continue
        key = (row["site"], row["position_class"], row["layer_base"])
        if key not in best or row["value"] > best[key].cka:
            best[key] = LayerPair(*key, row["layer_target"], row["value"])
    return list(best.values())


_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("run_id", "source", "metric", "site", "label", "position_class")]
    + [(name, pa.int32()) for name in ("layer_base", "layer_target")]
    + [(name, pa.float64()) for name in ("value", "ci_low", "ci_high")]
    + [("n_units", pa.int32())]
)


def _sites(store: Store, run: Run) -> list[str]:
    found = store.rows(
        "select distinct site from activation_summary where run_id = $run order by site",
        run=run.extraction_run_id,
    )
    return [row["site"] for row in found]


def _read_layers(store: Store, run: Run, site: str, half: str | None) -> Iterator[tuple[str, _Layer]]:
    """(position class, layer) one after another, so that only one layer's vectors are in memory."""
    layers = store.rows(
        "select distinct layer from activation_summary where run_id = $run and site = $site order by layer",
        run=run.extraction_run_id,
        site=site,
    )
    for layer in (row["layer"] for row in layers):
        table = store.arrow(
            "select s.position_class, u.unit, u.cluster, s.cosine, s.relative_difference, s.mean_base, s.mean_target"
            " from activation_summary s join run_unit u on u.run_id = s.run_id and u.prompt_id = s.prompt_id"
            " where s.run_id = $run and s.site = $site and s.layer = $layer and s.author <> 'control'"
            " and ($half::varchar is null or u.half = $half)"
            " order by s.position_class, u.cluster, u.unit, s.author",
            run=run.extraction_run_id,
            site=site,
            layer=layer,
            half=half,
        )
        names = np.asarray(table["position_class"].to_pylist(), dtype=np.str_)
        for name in POSITION_CLASSES:
            where = np.flatnonzero(names == name)
            if len(where):
                yield name, _make_layer(layer, table.slice(int(where[0]), len(where)))


def _make_layer(layer: int, table: pa.Table) -> _Layer:
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
        # A rounded cosine of two equal vectors may miss 1 by an ulp; no difference means the same direction.
        means = {
            "cosine": per_unit(np.where(relative == 0, 1.0, cosine)),
            "relative_difference": per_unit(relative),
        }
    grams: list[Gram | None] = []
    for name in ("mean_base", "mean_target"):
        vectors = _vectors(table[name], layer)
        usable = vectors is not None and len(first) >= MIN_UNITS
        grams.append(make_gram(per_unit(vectors), clusters) if usable and vectors is not None else None)
    return _Layer(layer, unit[first], clusters, means, grams[0], grams[1])


def _numbers(column: pa.ChunkedArray, layer: int) -> Floats:
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise AnalysisError(f"The activation summaries of layer {layer} lack numbers or hold infinite ones.")
    return values


def _vectors(column: pa.ChunkedArray, layer: int) -> Floats | None:
    """(rows, d) from a column of lists; None where all are empty, because this model has no such layer."""
    lists = column.combine_chunks()
    flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    lengths = np.asarray(lists.value_lengths().to_numpy(zero_copy_only=False))
    if not flat.size:
        return None
    if np.any(lengths != lengths[0]):
        raise AnalysisError(
            f"The mean vectors of layer {layer} have several lengths.", hint="fi-store doctor"
        )
    return flat.reshape(len(lengths), -1)


def _without_grams(layer: _Layer) -> _Layer:
    return _Layer(layer.layer, layer.units, layer.clusters, layer.means, None, None)


def _check_units(layers: Sequence[_Layer], site: str) -> None:
    for layer in layers:
        if not np.array_equal(layer.units, layers[0].units):
            raise AnalysisError(
                f"Layers {layers[0].layer} and {layer.layer} ({site}) summarise different prompts.",
                hint="fi-store doctor",
            )


def _cka_rows(
    bases: Sequence[_Layer],
    targets: Sequence[_Layer],
    site: str,
    position_class: str,
    notes: list[str],
    *,
    same_depth: bool,
) -> list[dict[str, Any]]:
    """One row for each pair of a base and a target layer; what is undefined goes to `notes`."""
    rows = []
    for left in bases:
        for right in targets:
            if left.base is None or right.target is None:
                if left is right and len(left.units) < MIN_UNITS:
                    notes.append(
                        f"CKA of layer {left.layer} ({site}, {position_class}) needs {MIN_UNITS} prompts."
                    )
                continue
            found = cka(left.base, right.target)
            if found is None:
                notes.append(
                    f"CKA of layers {left.layer} and {right.layer} ({site}, {position_class}) is undefined:"
                    " the vectors of one model do not vary over the prompts."
                )
                continue
            place = (site, position_class, left.layer, right.layer, same_depth)
            rows.append(_row("cka", found, len(left.units), *place))
    return rows


def _mean_rows(
    layers: Sequence[_Layer], site: str, position_class: str, same_depth: bool, draws: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of the two means: all layers are columns of one bootstrap."""
    with_means = [layer for layer in layers if layer.means]
    if not with_means:
        return []
    clusters = with_means[0].clusters
    rows = []
    for metric in MEANS:
        values = np.stack([layer.means[metric] for layer in with_means], axis=1)  # (n, layers)
        several = len(np.unique(clusters)) > 1
        interval = mean_interval(values, clusters, 0.95, draws, seed) if several else None
        for column, layer in enumerate(with_means):
            found = Cka(float(values[:, column].mean()), None, None)
            if interval is not None:
                limits = float(interval.low[column]), float(interval.high[column])
                found = Cka(float(interval.estimate[column]), *limits)
            place = (site, position_class, layer.layer, layer.layer, same_depth)
            rows.append(_row(metric, found, len(clusters), *place))
    return rows


def _row(
    metric: str,
    found: Cka,
    n_units: int,
    site: str,
    position_class: str,
    layer_base: int,
    layer_target: int,
    same_depth: bool,
) -> dict[str, Any]:
    return {
        "source": SOURCE,
        "metric": metric,
        "site": site,
        "label": str(layer_base) if same_depth else f"b{layer_base:02d}-t{layer_target:02d}",
        "position_class": position_class,
        "layer_base": layer_base,
        "layer_target": layer_target,
        "value": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "n_units": n_units,
    }
