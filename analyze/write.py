"""Writes what the analysis concluded: the plan before C is opened, and all results of a run in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from analyze.effects import LayerEffects
from analyze.feature_rows import effect_columns, feature_columns, summary_columns, token_columns
from analyze.findings import Result, Tested
from analyze.group_rows import dictionary_row, group_row, member_rows
from analyze.groups import Group
from analyze.keys import group_id
from analyze.result_rows import example_rows, finding_row, name_rows
from analyze.rows import Extraction
from fi_store.config import METHOD, RunConfig
from fi_store.schema import Base, Run
from fi_store.schema_facts import Effect, FeatureActivation, FeatureSummary
from fi_store.schema_results import (
    AnalysisPlan,
    Dictionary,
    Feature,
    FeatureGroup,
    FeatureGroupMember,
    FeatureName,
    Finding,
    FindingExample,
    LayerSimilarity,
    PairGate,
)
from fi_store.store import Store, now, write_facts


def outside_similarity(store: Store, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Similarities from an outside file, beside our own."""
    with store.session() as unit:
        unit.execute(
            sa.delete(LayerSimilarity).where(
                LayerSimilarity.run_id == run_id, LayerSimilarity.source == "crosscoder-file"
            )
        )
        unit.add_all(LayerSimilarity(run_id=run_id, **row) for row in rows)


def plan(
    store: Store,
    run: Run,
    config: RunConfig,
    extraction: Extraction,
    layers: Sequence[LayerEffects],
    selected: Sequence[Group],
    detectable: float,
) -> None:
    """Freezes what goes on to C, and counts how often C of this extraction was opened before."""
    clusters, discovery = extraction.units.clusters, extraction.units.discovery
    fixed = {
        "candidates": config.candidates,
        "selected": len(selected),
        "directions": [group.direction for group in selected],
        "classes": [group.position_class for group in selected],
        "alpha": config.alpha,
        "seed": config.seed,
        "clusters_d": len(set(clusters[discovery].tolist())),
        "clusters_c": len(set(clusters[~discovery].tolist())),
        "layers": [[effects.site, effects.layer] for effects in layers],
        "floors": [[float(value) for value in effects.floors] for effects in layers],
        "shams": list(extraction.shams),
        "sign_flips": METHOD.sign_flips,
    }
    with store.session() as unit:
        mine = unit.get(AnalysisPlan, run.id)
        siblings = sa.select(Run.id).where(Run.extraction_run_id == run.extraction_run_id, Run.id != run.id)
        others = unit.scalars(
            sa.select(AnalysisPlan.opened_before).where(AnalysisPlan.run_id.in_(siblings))
        ).all()
        before = sum(count + 1 for count in others) + (mine.opened_before + 1 if mine is not None else 0)
        if mine is not None:
            unit.delete(mine)
            unit.flush()
        unit.add(
            AnalysisPlan(
                run_id=run.id,
                plan=fixed,
                opened_before=before,
                smallest_detectable=detectable,
                created_at=now(),
            )
        )


def results(
    store: Store,
    run: Run,
    config: RunConfig,
    extraction: Extraction,
    layers: Sequence[LayerEffects],
    groups: Sequence[Group],
    tested: Sequence[Tested],
    found: Sequence[Result],
    gate: PairGate,
    *,
    different: bool,
) -> None:
    """Replaces everything that was concluded about a run, in one transaction."""
    ids = {id(group): group_id(run.id, number) for number, group in enumerate(groups, start=1)}
    in_groups = sorted({(m.layer_index, m.latent) for group in groups for m in group.members})
    with store.session() as unit:
        unit.execute(sa.delete(PairGate).where(PairGate.run_id == run.id))
        unit.add(gate)
        replace = {"run_id": run.id}

        def put(table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
            columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
            write_facts(unit, table, columns, replace=replace)

        put(Dictionary, [dictionary_row(store, run.id, effects) for effects in layers])
        write_facts(unit, Feature, feature_columns(run.id, layers, extraction), replace=replace)
        write_facts(
            unit, FeatureSummary, summary_columns(run.id, layers, extraction, config.seed), replace=replace
        )
        write_facts(unit, FeatureActivation, token_columns(run.id, layers, in_groups), replace=replace)
        put(
            FeatureGroup,
            [group_row(run.id, ids[id(g)], n, g, groups, layers, tested) for n, g in enumerate(groups, 1)],
        )
        put(FeatureGroupMember, [row for g in groups for row in member_rows(run.id, ids[id(g)], g, layers)])
        write_facts(unit, Effect, effect_columns(run.id, tested, found, ids), replace=replace)
        put(FeatureName, [row for r in found for row in name_rows(run.id, ids[id(r.tested.group)], r)])
        put(
            Finding,
            [
                finding_row(run.id, ids[id(r.tested.group)], rank, r, layers, different=different)
                for rank, r in enumerate(found, start=1)
            ],
        )
        put(
            FindingExample,
            [row for r in found for row in example_rows(run.id, ids[id(r.tested.group)], r, extraction)],
        )
