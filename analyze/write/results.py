"""Writes what an analysis concluded: the plan before C is opened, then all results of a run in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from analyze.behaviors import Behavior, Candidate, smallest_testable
from analyze.extraction import Extraction, IntArray
from analyze.features import LayerEffects
from analyze.findings import Result, Tested
from analyze.groups import Group, Scope, with_companions
from analyze.sham_runs import ShamRun
from analyze.write.behaviors import behavior_row, rate_rows
from analyze.write.features import effect_columns, feature_columns, summary_columns, token_columns
from analyze.write.findings import example_rows, finding_row, name_rows
from analyze.write.groups import dictionary_row, group_rows, member_rows, scaling_rows, sham_row
from analyze.write.keys import group_id
from analyze.write.requests import splice_requests
from fi_store.config import RunConfig
from fi_store.method import METHOD
from fi_store.store import Store, now, write_facts
from fi_store.store.tables import (
    AnalysisPlan,
    Base,
    BehaviorRate,
    Dictionary,
    Effect,
    Feature,
    FeatureActivation,
    FeatureGroup,
    FeatureGroupMember,
    FeatureName,
    FeatureSummary,
    Finding,
    FindingExample,
    Intervention,
    LatentScaling,
    LayerSimilarity,
    PairGate,
    ProbeRequest,
    Run,
    ShamResult,
)
from fi_store.store.tables import Behavior as BehaviorRow
from fi_store.vocabulary import DIFFERENT


def write_outside_similarity(store: Store, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the similarities from an outside file; our own stay."""
    with store.session() as session:
        session.execute(
            sa.delete(LayerSimilarity).where(
                LayerSimilarity.run_id == run_id, LayerSimilarity.source == "crosscoder-file"
            )
        )
        session.add_all(LayerSimilarity(run_id=run_id, **row) for row in rows)


def write_plan(
    store: Store,
    run: Run,
    config: RunConfig,
    extraction: Extraction,
    layers: Sequence[LayerEffects],
    selected: Sequence[Group],
    scopes: Sequence[Scope],
    behaviors: Sequence[Candidate],
    detectable: float,
) -> None:
    """Freezes what will be tested on C, and counts how often this extraction's C was opened before."""
    clusters, discovery = extraction.units.clusters, extraction.units.discovery
    fixed = {
        "candidates": config.candidates,
        "selected": len(selected),
        "directions": [group.direction for group in selected],
        "members": [
            [[m.layer_index, m.latent, m.weight * m.sign] for m in group.members] for group in selected
        ],
        "classes": [group.position_class for group in selected],
        "alpha": config.alpha,
        "seed": config.seed,
        "clusters_d": len(set(clusters[discovery].tolist())),
        "clusters_c": len(set(clusters[~discovery].tolist())),
        "layers": [[effects.site, effects.layer] for effects in layers],
        "reach": [[float(value) for value in effects.candidate_floors] for effects in layers],
        "floors": [[float(value) for value in effects.floors] for effects in layers],
        "scoped_floors": [[float(value) for value in effects.scoped] for effects in layers],
        "scopes": [list(scope) for scope in scopes],
        "behaviors": [candidate.predicate.to_json() for candidate in behaviors],
        "smallest_behavior": _smallest_behavior(len(behaviors), clusters[~discovery], config.alpha),
        "shams": list(extraction.shams),
        "sign_flips": METHOD.sign_flips,
    }
    with store.session() as session:
        earlier = session.get(AnalysisPlan, run.id)
        siblings = sa.select(Run.id).where(Run.extraction_run_id == run.extraction_run_id, Run.id != run.id)
        others = session.scalars(
            sa.select(AnalysisPlan.opened_before).where(AnalysisPlan.run_id.in_(siblings))
        ).all()
        before = max([*others, *([earlier.opened_before] if earlier is not None else [])], default=-1) + 1
        if earlier is not None:
            session.delete(earlier)
            session.flush()
        session.add(
            AnalysisPlan(
                run_id=run.id,
                plan=fixed,
                opened_before=before,
                smallest_detectable=detectable,
                created_at=now(),
            )
        )


def _smallest_behavior(n_tests: int, clusters: IntArray, alpha: float) -> float | None:
    """The smallest difference in rate that C could confirm for a behavior; None if it could confirm none."""
    share = smallest_testable(n_tests, alpha) / len(set(clusters.tolist()))
    return share if share <= 1 else None


@dataclass(frozen=True)
class Conclusions:
    """What an analysis found, ready to be written."""

    groups: Sequence[Group]  # all, in the order of D
    tested: Sequence[Tested]  # on C
    results: Sequence[Result]  # the confirmed ones, in their final order
    behaviors: Sequence[Behavior]  # in the order of D
    gate: PairGate
    shams: Sequence[ShamRun]
    recurrences: Mapping[int, float]  # id(group) -> share of the other seeds; empty with one seed
    alpha: float

    @property
    def different(self) -> bool:
        """Whether the models behave differently: gate 0 says so, or a behavior was confirmed (a rare one leaves the
        means of gate 0 small)."""
        return self.gate.verdict == DIFFERENT or any(found.confirmed(self.alpha) for found in self.behaviors)


def write_results(
    store: Store,
    run: Run,
    config: RunConfig,
    extraction: Extraction,
    layers: Sequence[LayerEffects],
    conclusions: Conclusions,
) -> None:
    """Replaces all conclusions about a run, in one transaction."""
    groups = with_companions(conclusions.groups)
    ids = {id(group): group_id(run.id, number) for number, group in enumerate(groups, start=1)}
    in_groups = sorted({(m.layer_index, m.latent) for group in groups for m in group.members})
    ranked = [
        (rank, ids[id(result.tested.group)], result)
        for rank, result in enumerate(conclusions.results, start=1)
    ]
    with store.session() as session:

        def put(table: type[Base], rows: Sequence[Mapping[str, Any]] | Mapping[str, Any] | pa.Table) -> None:
            if not isinstance(rows, Mapping | pa.Table):
                rows = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
            write_facts(session, table, rows, replace={"run_id": run.id})

        session.execute(sa.delete(PairGate).where(PairGate.run_id == run.id))
        session.add(conclusions.gate)
        numbered = list(enumerate(conclusions.behaviors, start=1))
        put(BehaviorRow, [behavior_row(run.id, at, found, config.alpha) for at, found in numbered])
        put(BehaviorRate, [row for at, found in numbered for row in rate_rows(run.id, at, found)])
        put(ShamResult, [sham_row(run.id, sham) for sham in conclusions.shams])
        put(Dictionary, [dictionary_row(store, run.id, effects) for effects in layers])
        put(ProbeRequest, splice_requests(run.id, layers, extraction))
        put(Intervention, [])  # answers to an earlier analysis's requests
        put(Feature, feature_columns(run.id, layers, extraction))
        put(LatentScaling, scaling_rows(run.id, layers))
        put(FeatureSummary, summary_columns(run.id, layers, extraction, config.seed))
        put(FeatureActivation, token_columns(run.id, layers, in_groups))
        put(
            FeatureGroup, group_rows(run.id, groups, ids, layers, conclusions.tested, conclusions.recurrences)
        )
        put(
            FeatureGroupMember,
            [row for group in groups for row in member_rows(run.id, ids[id(group)], group, layers)],
        )
        put(Effect, effect_columns(run.id, conclusions.tested, conclusions.results, ids))
        put(
            Finding,
            [
                finding_row(run.id, key, rank, result, layers, different=conclusions.different)
                for rank, key, result in ranked
            ],
        )
        put(FeatureName, [row for _, key, result in ranked for row in name_rows(run.id, key, result)])
        put(
            FindingExample,
            [row for _, key, result in ranked for row in example_rows(run.id, key, result, extraction)],
        )
