"""What the patches of a run closed, against what attribution predicts, and the test's own null."""

from __future__ import annotations

from typing import Any

import numpy as np
from safetensors.numpy import load_file

from analyze.causal import measure_gap
from analyze.causal.arms import Patch
from analyze.causal.controls import Controls, draw_controls
from analyze.extraction import CLASSES, Extraction, FloatArray, load_extraction
from analyze.features import measure_effects
from analyze.stats import ratio_interval
from bench.planted.runs import Runs
from fi_store.config import RunConfig
from fi_store.dictionaries import load_dictionary
from fi_store.method import METHOD
from fi_store.store import Store, dictionary_path
from fi_store.store.tables import Run
from fi_store.vocabulary import SIDES, Side

CHANGES = """
select distinct arm.id, arm.kind, arm.group_id, arm.site, arm.layer, arm.position_classes, arm.path
from arm join arm_effect effect on effect.run_id = arm.run_id and effect.arm_id = arm.id
where arm.run_id = $run and arm.kind = 'change' and effect.attributed is not null order by arm.id
"""
"""The arms of the changes at their tested layers."""

ATTRIBUTED = """
select effect.attributed, effect.share
from arm join arm_effect effect on effect.run_id = arm.run_id and effect.arm_id = arm.id
where arm.run_id = $run and arm.kind = 'change' and effect.attributed is not null order by arm.id, effect.side
"""

WHOLE = """
with whole as (
    select arm.site, arm.layer, arm.n_rows, arm.position_classes, request.prompt_ids, avg(effect.share) as share
    from arm
    join arm_effect effect on effect.run_id = arm.run_id and effect.arm_id = arm.id
    join probe_request request on request.run_id = arm.run_id and request.arm_id = arm.id
     and request.side = effect.side and request.kind = 'read'
    where arm.run_id = $run and arm.kind = 'whole'
    group by all order by arm.layer desc, arm.n_rows desc limit 1
),
prompts as (select unnest(prompt_ids) as prompt_id from whole),
source as (select extraction_run_id as run_id from run where id = $run),
passed as (
    select sum(attribution) as nats from attribution join source using (run_id) join prompts using (prompt_id), whole
    where attribution.site = whole.site and attribution.layer = whole.layer
      and list_contains(whole.position_classes, attribution.position_class)
),
gaps as (select sum(gap) as nats from answer_gap join source using (run_id) join prompts using (prompt_id))
select whole.layer, whole.share, passed.nats / gaps.nats as attributed from whole, passed, gaps
"""
"""The whole difference at the last analyzed layer: its share by patches (mean of both sides) and by attribution."""


def predictions(runs: Runs, run_id: str) -> dict[str, Any]:
    """Shares of the gap by attribution and by exact patches: of every tested change and side, and of a whole layer."""
    return {"changes": runs.rows(ATTRIBUTED, run_id), "whole": runs.rows(WHOLE, run_id)}


def gone(finding: dict[str, Any]) -> dict[str, float] | None:
    """The shares of a behavior's difference in rate that are gone from generated answers, by what was patched.

    None without generated answers, or if those without a patch do not have the behavior more often than the other
    model's.
    """
    clean = finding["rate_clean"]
    if clean is None or finding["rate_base"] is None:
        return None
    difference = clean - min(finding["rate_base"], finding["rate_target"])
    rates = {"patch": finding["rate_patched"], "control": finding["rate_control"]}
    known = {name: rate for name, rate in rates.items() if rate is not None}
    return {name: (clean - rate) / difference for name, rate in known.items()} if difference > 0 else None


def control_findings(store: Store, run_id: str) -> list[dict[str, Any]]:
    """For each tested change and side: how many control draws would be findings if they were the change.

    All is scored by attribution, the other draws stay the controls. What a draw closes of a behavior is not known
    without a pass, so only the share of the gap can make it a finding.
    """
    run = store.run(run_id)
    extraction = load_extraction(store, run)
    found = []
    for row in store.rows(CHANGES, run=run_id):
        controls = _controls(store, run, row, extraction)
        for side in SIDES:
            _, on_d = controls.score(side, discovery=True)
            strong = int(np.argsort(on_d, kind="stable")[round(METHOD.control_level * (len(on_d) - 1))])
            count = _passing(draws_by_unit(controls, side, extraction), strong, extraction, run)
            found.append({"arm": row["id"], "side": side, "draws": len(on_d), "findings": count})
    return found


def _controls(store: Store, run: Run, row: dict[str, Any], extraction: Extraction) -> Controls:
    """The control draws of a change, as its analysis drew them."""
    site, layer = row["site"], row["layer"]
    both = {side: extraction.activations(side, site, layer) for side in SIDES}
    dictionary = load_dictionary(store.folder / dictionary_path(run.id, site, layer))
    anchor = next(side for side in SIDES if (side == "base") == (run.canonical_first == "base"))
    tensors = load_file(store.folder / row["path"])
    patch = Patch(
        kind=row["kind"],
        effects=measure_effects(extraction, dictionary, both, anchor),
        classes=tuple(CLASSES.index(name) for name in row["position_classes"]),
        rows=tensors["rows"],
        coefficients=tensors["coefficients"],
        directions=tensors["directions"],
        group_id=row["group_id"],
        latents=tensors["latents"],
    )
    seed = RunConfig(**run.config).seed
    return draw_controls(patch, both, extraction, seed)


def draws_by_unit(controls: Controls, side: Side, extraction: Extraction) -> FloatArray:
    """(n, draws) nats that attribution assigns to each draw in each unit of C; 0 in the units of D."""
    patch, on_c = controls.patch, ~controls.discovery
    rows = patch.rows[on_c]
    lengths = patch.lengths[on_c]
    slopes = np.zeros((extraction.units.n, controls.directions.shape[1]))
    np.add.at(slopes, extraction.rows.unit[rows], lengths[:, None] * controls.slopes[side][rows])
    return np.asarray(slopes @ controls.directions.T * controls.signs(side))


def _passing(draws: FloatArray, strong: int, extraction: Extraction, run: Run) -> int:
    """How many of the draws (n, draws) pass the test against the others, as a change alone would have to."""
    config = RunConfig(**run.config)
    gap = measure_gap(extraction)
    units = np.flatnonzero(gap.known & ~extraction.units.discovery)
    nats, total = draws[units], gap.total[units]
    closed = nats.sum(axis=0)
    p = (len(closed) - np.searchsorted(np.sort(closed), closed)) / len(closed)
    enough = (closed >= config.feature_threshold * total.sum()) & (closed >= METHOD.gap_minimum * len(units))
    passing = np.flatnonzero((p <= config.alpha) & enough)
    if len(passing) == 0:
        return 0
    excess = nats[:, passing] - nats[:, [strong]]
    gaps = np.repeat(total[:, None], len(passing), axis=1)
    above = ratio_interval(excess, gaps, extraction.units.clusters[units]).low > 0
    return int(above.sum())
