"""The rows of features: one per latent, summaries by category, token-level activations, and tested effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from analyze.extraction import CLASSES, Extraction, FloatArray
from analyze.features import LayerEffects
from analyze.findings import Finding
from analyze.groups import Moved, ratio_class
from analyze.stats import log_ratio_interval
from analyze.write.keys import dictionary_id, feature_id
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side

ALL = "*"
"""Stored as the category of figures over all categories."""


def feature_columns(
    run_id: str, layers: Sequence[LayerEffects], extraction: Extraction
) -> Iterator[pa.Table]:
    """One row per latent, a layer after the other.

    Its change class follows from its ratio on C alone, in the position class where it moved most on D. "added" and
    "removed" also need a regression on residuals, so only groups get them.
    """
    for effects in layers:
        yield _features_of_layer(run_id, effects, extraction)


def _features_of_layer(run_id: str, effects: LayerEffects, extraction: Extraction) -> pa.Table:
    discovery = extraction.units.discovery
    m = effects.dictionary.config.n_latents
    theta = np.stack([effects.theta(c)[discovery].mean(axis=0) for c in range(len(CLASSES))])
    best = np.abs(theta).argmax(axis=0)
    ratio, change = _ratios(effects, extraction, best)
    alive = effects.alive
    norms = {
        reader: effects.dictionary.decoder(effects.side(reader)).norm(dim=1).double().numpy()
        for reader in SIDES
    }
    return pa.table(
        {
            "id": [feature_id(run_id, effects, j) for j in range(m)],
            "run_id": [run_id] * m,
            "dictionary_id": [dictionary_id(run_id, effects)] * m,
            "site": [effects.site] * m,
            "layer": [effects.layer] * m,
            "latent": np.arange(m),
            "alive": alive,
            "n_fire_base": effects.fires["base"],
            "n_fire_target": effects.fires["target"],
            "scale": effects.scale,
            "decoder_norm_base": norms["base"],
            "decoder_norm_target": norms["target"],
            "position_class": [CLASSES[c] if live else None for c, live in zip(best, alive, strict=True)],
            "change": change,
            "log2_ratio": [float(r) if live else None for r, live in zip(ratio, alive, strict=True)],
            "theta": [float(theta[c, j]) if alive[j] else None for j, c in enumerate(best)],
        }
    )


def _ratios(effects: LayerEffects, extraction: Extraction, best: np.ndarray) -> tuple[FloatArray, list[str]]:
    """(m,) log2 ratios on C and the change class from their intervals; dead latents are undetermined."""
    chosen = ~extraction.units.discovery
    m = len(best)
    # (units of C, m)
    base, target = (
        np.stack([effects.means[reader, c][:][chosen] for c in range(len(CLASSES))])[best, :, np.arange(m)].T
        for reader in SIDES
    )
    middle = (
        np.median(((base + target).mean(axis=0) / effects.scale / 2)[effects.alive])
        if effects.alive.any()
        else 0
    )
    epsilon = METHOD.ratio_epsilon * middle * effects.scale + 1e-9
    found = log_ratio_interval(target, base, epsilon, extraction.units.clusters[chosen])
    classes = [
        ratio_class(float(low), float(high)) if live else "undetermined"
        for low, high, live in zip(found.low, found.high, effects.alive, strict=True)
    ]
    return found.estimate, classes


def summary_columns(
    run_id: str, layers: Sequence[LayerEffects], extraction: Extraction
) -> Iterator[pa.Table]:
    """Sums of theta by feature, position class, category and half, a part after the other."""
    units = extraction.units
    categories = [ALL, *np.unique(units.categories).tolist()]
    for effects in layers:
        live = np.flatnonzero(effects.alive)
        ids = np.asarray([feature_id(run_id, effects, int(j)) for j in live], dtype=object)
        for position_class in np.unique(extraction.rows.position_class[extraction.rows.own]).tolist():
            theta = effects.theta(position_class)[:, live]
            means = {reader: effects.means[reader, position_class][:][:, live] for reader in SIDES}
            for category in categories:
                inside = np.ones(units.n, dtype=bool) if category == ALL else units.categories == category
                for half, chosen in (("D", inside & units.discovery), ("C", inside & ~units.discovery)):
                    if chosen.any():
                        key = run_id, effects, ids, live, position_class, category, half
                        inside_means = {reader: of_units[chosen] for reader, of_units in means.items()}
                        yield pa.table(_summary(*key, theta[chosen], inside_means))


def _summary(
    run_id: str,
    effects: LayerEffects,
    ids: np.ndarray,
    live: np.ndarray,
    position_class: int,
    category: str,
    half: str,
    theta: np.ndarray,
    means: Mapping[Side, np.ndarray],
) -> dict[str, Any]:
    m = len(live)
    mean = {reader: of_units.mean(axis=0) for reader, of_units in means.items()}
    wide = theta.astype(np.float64)
    return {
        "run_id": pa.array([run_id] * m),
        "feature_id": pa.array(ids, type=pa.string()),
        "layer": np.full(m, effects.layer),
        "latent": live,
        "position_class": pa.array([CLASSES[position_class]] * m),
        "category": pa.array([category] * m),
        "half": pa.array([half] * m),
        "n": np.full(m, len(theta)),
        "n_nonzero": (theta != 0).sum(axis=0),
        "mean_base": mean["base"].astype(np.float64),
        "mean_target": mean["target"].astype(np.float64),
        "sum_theta": wide.sum(axis=0),
        "sumsq_theta": np.square(wide).sum(axis=0),
        "max_abs_theta": np.abs(wide).max(axis=0),
    }


def token_columns(run_id: str, features: Mapping[tuple[int, int], LayerEffects]) -> Iterator[pa.Table]:
    """Token-level activations of (layer index, latent) -> its layer, for the rows where either model fires.

    A feature after the other, in the order of layers and latents.
    """
    for (_, latent), effects in sorted(features.items(), key=lambda item: item[0]):
        base, target = (effects.codes[side][:, np.asarray([latent])].toarray()[:, 0] for side in SIDES)
        rows = np.flatnonzero((base > 0) | (target > 0))
        yield pa.table(
            {
                "run_id": _repeated(run_id, len(rows)),
                "feature_id": _repeated(feature_id(run_id, effects, latent), len(rows)),
                "layer": np.full(len(rows), effects.layer, dtype=np.int32),
                "latent": np.full(len(rows), latent, dtype=np.int32),
                "row": rows,
                "value_base": base[rows],
                "value_target": target[rows],
            }
        )


def _repeated(value: str, n: int) -> pa.DictionaryArray:
    """A column of n times the same string, which is held once: millions of rows of one feature are common."""
    return pa.DictionaryArray.from_arrays(np.zeros(n, dtype=np.int8), [value])


def effect_rows(run_id: str, moved: Sequence[Moved], findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """How far every tested group moved on C, and the category contrasts of the findings."""
    empty: dict[str, Any] = {"run_id": run_id, "half": "C", "floor": None, "q_value": None}
    rows = [
        {
            **empty,
            "group_id": item.group.id,
            "category": ALL,
            "effect": item.theta,
            "ci_low": item.low,
            "ci_high": item.high,
            "statistic": item.statistic,
            "p_value": item.p_value,
            "p_adjusted": item.p_adjusted,
            "n_units": item.n_units,
            "n_nonzero": item.n_nonzero,
            "note": None if item.p_value is not None else "it does not vary between prompts",
        }
        for item in moved
    ]
    for finding in findings:
        rows += [
            {
                **empty,
                "group_id": finding.leader.id,
                "category": contrast.category,
                "effect": contrast.contrast,
                "ci_low": contrast.low,
                "ci_high": contrast.high,
                "statistic": contrast.statistic,
                "p_value": None,
                "p_adjusted": contrast.p_adjusted,
                "n_units": contrast.n_units,
                "n_nonzero": contrast.n_units,
                "note": None
                if contrast.p_adjusted is not None
                else f"too few prompts for a p, n = {contrast.n_units}",
            }
            for contrast in finding.categories
        ]
    return rows
