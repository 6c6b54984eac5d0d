"""How alike the two models' layers are: debiased CKA, mean token cosine and relative difference norm, per layer.

It reads the summaries that the extraction wrote to the store, never activations. Values are means over prompts;
intervals are over clusters of prompts: a jackknife for CKA (`cka.py` says why), BCa for the two means. Models of
different widths get only CKA; layers of models of different depths are paired as `fi_store.layers` says, with labels
such as "b03-t05". This only describes: it neither chooses nor tests candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from analyze.pair.cka import MIN_UNITS, Similarity, cka
from analyze.pair.summaries import LayerSummary, check_units, read_layers, sites, without_grams
from analyze.stats import mean_interval
from fi_store.errors import AnalysisError
from fi_store.layers import Depths
from fi_store.method import METHOD
from fi_store.store import Store, write_facts
from fi_store.store.tables import LayerSimilarity, Model, Run
from fi_store.vocabulary import POSITION_CLASSES

SOURCE = "fi-store"
MEANS = ("cosine", "relative_difference")


class Similarities(NamedTuple):
    """Rows of `layer_similarity` (without `run_id`), and sentences about what could not be computed."""

    rows: list[dict[str, Any]]
    notes: list[str]


def layer_similarities(
    store: Store, run: Run, *, half: str | None = None, draws: int = METHOD.bootstrap_draws, seed: int = 0
) -> Similarities:
    """All similarities of a run's extraction, per site, position class and layer, with 95% intervals.

    A prompt's vectors and means in class `response` average its two texts (the base's and the target's answer), so a
    longer answer never counts more. If one answer is empty, the other text counts alone. `cosine` is the mean over
    tokens, then texts, then prompts; `relative_difference` is mean ||t - b|| / mean ||b|| of a text, averaged the same
    way. A model with itself gives exactly 1, 1 and 0, with zero-width intervals.

    Args:
        half: only prompts of this half, "D" or "C"; None for all.
        draws, seed: for the bootstrap of the two means.

    Raises:
        AnalysisError: there are no summaries, layers summarize different prompts, or numbers are NaN.
    """
    with store.session() as session:
        models = [session.get_one(Model, name) for name in (run.base_model_id, run.target_model_id)]
    depths = Depths(models[0].n_layers, models[1].n_layers)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for site in sites(store, run):
        by_class: dict[str, list[LayerSummary]] = {}
        pairs: list[dict[str, Any]] = []
        for position_class, layer in read_layers(store, run, site, half):
            pairs += _cka_rows(layer, site, position_class, depths, notes)
            # The Gram matrices take n x n each: those of one layer are held at a time.
            by_class.setdefault(position_class, []).append(without_grams(layer))
        for position_class in (name for name in POSITION_CLASSES if name in by_class):
            layers = by_class[position_class]
            check_units(layers, site)
            rows += _mean_rows(layers, site, position_class, depths, draws, seed)
        rows += pairs
    if not rows:
        raise AnalysisError(
            f"Run {run.extraction_run_id} has no activation summaries{' in half ' + half if half else ''}.",
            hint=store.command("ingest", "--resume", run.extraction_run_id),
        )
    return Similarities(rows, notes)


def write_similarity(store: Store, run_id: str) -> Similarities:
    """Computes and stores a run's own similarities, replacing earlier ones; rows of outside files stay.

    Undefined values are logged as warnings.
    """
    run = store.run(run_id)
    found = layer_similarities(store, run, seed=run.seed)
    table = pa.Table.from_pylist([{"run_id": run.id, **row} for row in found.rows], schema=_SCHEMA)
    with store.session() as session:
        write_facts(session, LayerSimilarity, table, replace={"run_id": run.id, "source": SOURCE})
    for note in found.notes:
        store.event(run.id, "analyze", "warning", note)
    return found


_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("run_id", "source", "metric", "site", "label", "position_class")]
    + [(name, pa.int32()) for name in ("layer_base", "layer_target")]
    + [(name, pa.float64()) for name in ("value", "ci_low", "ci_high")]
    + [("n_units", pa.int32())]
)


def _cka_rows(
    layer: LayerSummary, site: str, position_class: str, depths: Depths, notes: list[str]
) -> list[dict[str, Any]]:
    """The row of a layer's CKA; none, with a sentence in `notes`, where it is undefined."""
    name = depths.label(layer.layer)
    if layer.base is None or layer.target is None:
        if len(layer.units) < MIN_UNITS:
            notes.append(f"CKA of layer {name} ({site}, {position_class}) needs {MIN_UNITS} prompts.")
        return []
    found = cka(layer.base, layer.target)
    if found is None:
        notes.append(
            f"CKA of layer {name} ({site}, {position_class}) is undefined: one model's vectors do not vary over the "
            "prompts."
        )
        return []
    return [_row("cka", found, len(layer.units), site, position_class, layer.layer, depths)]


def _mean_rows(
    layers: Sequence[LayerSummary], site: str, position_class: str, depths: Depths, draws: int, seed: int
) -> list[dict[str, Any]]:
    """The rows of the two means; all layers are columns of one bootstrap."""
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
            found = Similarity(float(values[:, column].mean()), None, None)
            if interval is not None:
                limits = float(interval.low[column]), float(interval.high[column])
                found = Similarity(float(interval.estimate[column]), *limits)
            rows.append(_row(metric, found, len(clusters), site, position_class, layer.layer, depths))
    return rows


def _row(
    metric: str,
    found: Similarity,
    n_units: int,
    site: str,
    position_class: str,
    layer: int,
    depths: Depths,
) -> dict[str, Any]:
    return {
        "source": SOURCE,
        "metric": metric,
        "site": site,
        "label": depths.label(layer),
        "position_class": position_class,
        "layer_base": depths.own("base", layer),
        "layer_target": depths.own("target", layer),
        "value": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "n_units": n_units,
    }
