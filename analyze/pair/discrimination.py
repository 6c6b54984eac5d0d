"""How well each prompt and each category discriminates between the models, and what a test on a category could detect.

This only describes: it uses both halves of the prompts, chooses nothing and tests nothing. It runs once the plan is
frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analyze.pair.gate import PromptBehavior, prompt_behavior, smallest_detectable
from analyze.stats import mean_interval
from fi_store.store import Store, write_facts
from fi_store.store.tables import AnalysisPlan, CategoryDiscrimination, PromptDiscrimination, Run

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]


def write_discrimination(store: Store, run: Run) -> None:
    """Replaces the run's rows of `prompt_discrimination` and `category_discrimination`; the plan must be frozen."""
    with store.session() as session:
        plan = session.get_one(AnalysisPlan, run.id).plan
    found = prompt_behavior(store, run, None)
    units = store.rows("select prompt_id, category, half from run_unit where run_id = $run", run=run.id)
    halves = {row["prompt_id"]: row["half"] for row in units}
    categories = {row["prompt_id"]: row["category"] for row in units}
    inside = _relative_difference(store, run, plan["layers"])
    relative = np.asarray([inside.get(prompt, np.nan) for prompt in found.prompt_ids])
    prompts = [
        {
            "prompt_id": prompt,
            "kl_symmetric": float(found.kl_symmetric[i]),
            "agreement": float(found.agreement[i]),
            "gap": _number(found.gap[i]),
            "relative_difference": _number(relative[i]),
        }
        for i, prompt in enumerate(found.prompt_ids)
    ]
    by_category = category_rows(
        found,
        relative,
        np.asarray([categories[prompt] for prompt in found.prompt_ids], dtype=np.str_),
        np.asarray([halves[prompt] == "C" for prompt in found.prompt_ids]),
        candidates=max(1, 2 * len(plan["changes"])),
        alpha=float(plan["alpha"]),
        seed=run.seed,
    )
    with store.session() as session:
        for table, rows in ((PromptDiscrimination, prompts), (CategoryDiscrimination, by_category)):
            write_facts(session, table, _columns(run.id, rows), replace={"run_id": run.id})


def category_rows(
    found: PromptBehavior,
    relative: Floats,
    categories: npt.NDArray[np.str_],
    confirmation: npt.NDArray[np.bool_],
    *,
    candidates: int,
    alpha: float,
    seed: int,
) -> list[Row]:
    """One row per category: means over prompts, the KL's 95% BCa interval over clusters, smallest detectable effect.

    `relative` (n,): relative difference of the activations; `categories`, `confirmation`: (n,). The smallest detectable
    effect is for a test of `candidates` groups on the category's confirmation clusters alone.
    """
    total = float(found.kl_symmetric.sum())
    rows: list[Row] = []
    for name in np.unique(categories):
        inside = categories == name
        clusters, kl = found.clusters[inside], found.kl_symmetric[inside]
        limits: tuple[float | None, float | None] = None, None
        if len(np.unique(clusters)) >= 2:
            interval = mean_interval(kl, clusters, seed=seed)
            limits = float(interval.low), float(interval.high)
        n_c = len(np.unique(found.clusters[inside & confirmation]))
        rows.append(
            {
                "category": str(name),
                "n_prompts": int(inside.sum()),
                "n_clusters": len(np.unique(clusters)),
                "n_clusters_c": n_c,
                "kl_symmetric": float(kl.mean()),
                "kl_low": limits[0],
                "kl_high": limits[1],
                "share": float(kl.sum()) / total if total > 0 else 0.0,
                "agreement": float(found.agreement[inside].mean()),
                "gap": _mean(found.gap[inside]),
                "relative_difference": _mean(relative[inside]),
                "smallest_detectable": smallest_detectable(n_c, candidates, alpha) if n_c else None,
            }
        )
    return rows


def _relative_difference(store: Store, run: Run, layers: Sequence[Sequence[Any]]) -> dict[str, float]:
    """Prompt -> mean ||t - b|| / ||b|| over its two answers and the analyzed sites and layers; no key if unknown."""
    rows = store.rows(
        "with texts as (select prompt_id, author, avg(relative_difference) as value from activation_summary"
        "  where run_id = $run and author <> 'control' and position_class in ('thinking', 'response')"
        "  and list_contains($site_layers, site || '/' || layer) group by prompt_id, author)"
        " select prompt_id, avg(value) as value from texts group by prompt_id having avg(value) is not null",
        run=run.extraction_run_id,
        site_layers=[f"{site}/{layer}" for site, layer in layers],
    )
    return {row["prompt_id"]: float(row["value"]) for row in rows}


def _mean(values: Floats) -> float | None:
    """The mean of the values that are not NaN."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _columns(run_id: str, rows: Sequence[Mapping[str, Any]]) -> Row:
    """Rows as columns for `write_facts`."""
    if not rows:
        return {}
    return {"run_id": [run_id] * len(rows), **{name: [row[name] for row in rows] for name in rows[0]}}
