"""Writes what an analysis concluded: the plan before C is opened, then all results of a run in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from analyze.behaviors import Behavior, Candidate, smallest_testable
from analyze.causal import CausalPlan, Change, Tests
from analyze.extraction import Extraction, IntArray
from analyze.features import LayerEffects
from analyze.findings import Explained, Finding
from analyze.groups import Group, Moved
from analyze.write.behaviors import behavior_row, rate_rows
from analyze.write.causes import arm_effect_rows, behavior_share_rows
from analyze.write.features import effect_rows, feature_columns, summary_columns, token_columns
from analyze.write.findings import example_rows, finding_row, name_rows
from analyze.write.groups import dictionary_row, group_rows, member_rows, scaling_rows
from fi_store.config import RunConfig
from fi_store.method import METHOD
from fi_store.store import Store, append_event, now, write_facts
from fi_store.store.tables import (
    AnalysisPlan,
    ArmEffect,
    Base,
    BehaviorRate,
    BehaviorShare,
    Dictionary,
    Effect,
    Feature,
    FeatureActivation,
    FeatureGroup,
    FeatureGroupMember,
    FeatureName,
    FeatureSummary,
    FindingExample,
    LatentScaling,
    LayerSimilarity,
    PairGate,
    Run,
)
from fi_store.store.tables import Behavior as BehaviorRow
from fi_store.store.tables import Finding as FindingRow


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
    plan: CausalPlan | None,
    obstacle: str | None,
    behaviors: Sequence[Candidate],
    detectable: float,
) -> None:
    """Freezes what will be tested on C, and counts how often this extraction's C was opened before.

    `obstacle`: why no cause is tested, as a sentence.
    """
    clusters, discovery = extraction.units.clusters, extraction.units.discovery
    fixed = {
        "candidates": config.candidates,
        "changes": plan.to_json(layers) if plan is not None else [],
        "obstacle": obstacle,
        "alpha": config.alpha,
        "feature_threshold": config.feature_threshold,
        "seed": config.seed,
        "clusters_d": len(set(clusters[discovery].tolist())),
        "clusters_c": len(set(clusters[~discovery].tolist())),
        "layers": [[effects.site, effects.layer] for effects in layers],
        "behaviors": [candidate.predicate.to_json() for candidate in behaviors],
        "smallest_behavior": _smallest_behavior(len(behaviors), clusters[~discovery], config.alpha),
        "control_draws": METHOD.control_draws,
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


@dataclass(frozen=True, eq=False)
class Conclusions:
    """What an analysis found, ready to be written."""

    gate: PairGate
    behaviors: Sequence[Behavior]  # in the order of D
    groups: Sequence[Group]  # all, in the order of D
    changes: Sequence[Change]  # in the order of D; empty without a causal test
    moved: Sequence[Moved]  # the groups that were patched
    tests: Tests | None
    findings: Sequence[Finding]  # in the order in which they are told
    recurrences: Mapping[str, float]  # group's id -> share of the other seeds; empty with one seed
    explained: Explained | None

    def leaders(self) -> dict[str, str]:
        """Group's id -> the id of the group that leads its change, or the finding that its change repeats."""
        found = {group.id: change.leader.id for change in self.changes for group in change.groups}
        found |= {group.id: finding.leader.id for finding in self.findings for group in finding.groups}
        return found


def write_results(
    store: Store,
    run: Run,
    extraction: Extraction,
    layers: Sequence[LayerEffects],
    conclusions: Conclusions,
    alpha: float,
) -> None:
    """Replaces all conclusions about a run, in one transaction."""
    groups, findings, tests = conclusions.groups, conclusions.findings, conclusions.tests
    in_groups = {(group.index, member.latent): group.effects for group in groups for member in group.members}
    in_tests = {
        group.id
        for tested in (tests.changes if tests is not None else ())
        for group in tested.planned.change.groups
    }
    read = extraction.units.clusters[tests.units] if tests is not None else np.zeros(0, dtype=np.int64)
    numbers = {id(behavior): number for number, behavior in enumerate(conclusions.behaviors, start=1)}
    with store.session() as session:

        def put(table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
            columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
            write_facts(session, table, columns, replace={"run_id": run.id})

        def put_all(table: type[Base], parts: Iterator[pa.Table]) -> None:
            write_facts(session, table, parts, replace={"run_id": run.id})

        session.execute(sa.delete(PairGate).where(PairGate.run_id == run.id))
        session.add(conclusions.gate)
        numbered = list(enumerate(conclusions.behaviors, start=1))
        put(BehaviorRow, [behavior_row(run.id, at, found, alpha) for at, found in numbered])
        put(BehaviorRate, [row for at, found in numbered for row in rate_rows(run.id, at, found)])
        put(Dictionary, [dictionary_row(store, run.id, effects) for effects in layers])
        put_all(Feature, feature_columns(run.id, layers, extraction))
        put(LatentScaling, scaling_rows(run.id, layers))
        put_all(FeatureSummary, summary_columns(run.id, layers, extraction))
        put_all(FeatureActivation, token_columns(run.id, in_groups))
        put(
            FeatureGroup,
            group_rows(run.id, groups, conclusions.leaders(), in_tests, conclusions.recurrences),
        )
        put(FeatureGroupMember, [row for group in groups for row in member_rows(run.id, group)])
        put(ArmEffect, arm_effect_rows(run.id, tests) if tests is not None else [])
        put(BehaviorShare, behavior_share_rows(run.id, tests) if tests is not None else [])
        put(Effect, effect_rows(run.id, conclusions.moved, findings))
        put(
            FindingRow,
            [
                finding_row(run.id, rank, finding, numbers.get(id(finding.behavior)), read)
                for rank, finding in enumerate(findings, start=1)
            ],
        )
        put(FeatureName, [row for finding in findings for row in name_rows(run.id, finding)])
        put(
            FindingExample, [row for finding in findings for row in example_rows(run.id, finding, extraction)]
        )
        explained = conclusions.explained
        if explained is not None:
            append_event(
                *(session, run.id, "analyze", "choice", explained.sentence),
                value=explained.share,
                detail={"explained": explained.share, "low": explained.low, "high": explained.high},
            )
