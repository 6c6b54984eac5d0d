"""The part of `store_factory` that writes an analysis's results: gate, plan, groups, names, findings, effects."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa

from fi_store.store import write_facts
from fi_store.store.tables import behaviors as b
from fi_store.store.tables import facts
from fi_store.store.tables import results as r
from fi_store.store.tables import runs as s
from tests.helpers.factory_causes import CauseRows
from tests.helpers.planted import CATEGORIES, HOSTILE, LAYERS, LED, N_FINDINGS, WORDS, Planted


class ResultRows(CauseRows):
    """Results of one run."""

    started: dt.datetime

    def _results(self) -> None:
        same = self.kind == "same"
        with self.store.session() as session:
            session.add(
                r.PairGate(
                    run_id=self.run_id,
                    gap=0.002 if same else 1.21,
                    gap_low=-0.001 if same else 0.94,
                    gap_high=0.004 if same else 1.52,
                    kl_symmetric=0.003 if same else 0.74,
                    kl_low=0.002 if same else 0.58,
                    kl_high=0.005 if same else 0.93,
                    agreement=0.991 if same else 0.62,
                    n_units=self.halves.count("C"),
                    verdict="no_behavioral_difference" if same else "different",
                )
            )
            session.add(
                r.AnalysisPlan(
                    run_id=self.run_id,
                    plan={
                        "candidates": 12,
                        "changes": [] if same else [{"leader": group} for group, *_ in self.groups[:N_FINDINGS]],
                        "control_draws": 999,
                        "alpha": 0.05,
                        "seed": 0,
                        "clusters_d": self.halves.count("D"),
                        "clusters_c": self.halves.count("C"),
                        "layers": [["resid_post", layer] for layer in LAYERS],
                        "smallest_behavior": 0.09,
                    },
                    opened_before=0,
                    smallest_detectable=0.66,
                    created_at=self.started,
                )
            )
            for number, (group_id, planted, members) in enumerate(self.groups):
                session.add_all(self._group(number, group_id, planted, members))
            if not same:
                session.add_all(self._behaviors())
        self._effects(same)

    def _behaviors(self) -> list[s.Base]:
        """Three differences that were confirmed, one that was not, one that was too rare to test.

        The first finding carries 'Step 1', the second 'Therefore', and nothing carries 'shelf'.
        """
        n = self.halves.count("C")
        made: list[s.Base] = []
        for number, (phrase, base, target, p) in enumerate(
            (
                ("Step 1", 0.05, 0.96, 1e-9),
                ("so", 0.05, 0.2, 0.4),
                ("oven", 0.05, 0.1, None),
                ("shelf", 0.8, 0.05, 1e-7),
                ("Therefore", 0.05, 0.9, 1e-8),
            ),
            1,
        ):
            own = phrase.casefold().split()
            kind = "sequence" if len(own) > 1 else "words"
            shown = f"{HOSTILE[number]} {phrase}" if self.hostile else phrase
            made.append(
                b.Behavior(
                    run_id=self.run_id,
                    number=number,
                    side="target" if target > base else "base",
                    kind=kind,
                    predicate={"kind": kind, "value": own, "least": 1},
                    phrase=shown,
                    words=[shown],
                    concept=None,
                    title=f"Answers with '{shown}'",
                    sentence=f"Answers with '{shown}': {target:.0%} of the target's held-out answers, "
                    f"{base:.0%} of the base's.",
                    z=5.0 if target > base else -5.0,
                    p_discovery=0.001,
                    base_discovery=base,
                    target_discovery=target,
                    ahead_discovery=9,
                    behind_discovery=0,
                    base=base,
                    base_low=base - 0.03,
                    base_high=base + 0.07,
                    target=target,
                    target_low=target - 0.05,
                    target_high=target + 0.02,
                    n_clusters=n,
                    ahead=round(max(base, target) * n),
                    behind=0,
                    tested=p is not None,
                    p_value=p,
                    p_adjusted=p,
                    confirmed=p is not None and p <= 0.05,
                )
            )
        made.append(
            b.BehaviorRate(
                run_id=self.run_id,
                number=1,
                category=CATEGORIES[0],
                n_clusters=n,
                base=0.05,
                base_low=0.01,
                base_high=0.2,
                target=0.9,
                target_low=0.7,
                target_high=0.97,
            )
        )
        return made

    def _group(
        self, number: int, group_id: str, p: Planted, members: list[tuple[str, int, int]]
    ) -> list[s.Base]:
        size = 0.02 if self.kind == "same" else 1.0
        name = f"{HOSTILE[number % len(HOSTILE)]} {p.name}" if self.hostile else p.name
        promoted = [*p.promoted, *([HOSTILE[number % len(HOSTILE)]] if self.hostile else [])]
        low, high = sorted((p.theta * size * 0.7, p.theta * size * 1.3))
        made: list[s.Base] = [
            r.FeatureGroup(
                id=group_id,
                run_id=self.run_id,
                number=number + 1,
                position_class=p.position_class,
                layers=list(p.layers),
                n_features=len(members),
                attributed=2.0 / (number + 1),
                share=0.3 / (number + 1),
                selected=number < len(self.groups) - 1,
                leader_id=self.groups[0][0] if number == LED and not self.version_1 else None,
                recurrence=0.75,
            ),
            r.FeatureName(
                run_id=self.run_id,
                group_id=group_id,
                number=0,
                phrase=name,
                predicate={"kind": "next_token_in", "tokens": list(p.promoted)},
                method="lexical",
                auc_d=0.81,
                auc_random=0.93,
                auc_random_low=0.86,
                auc_hard=0.74,
                auc_hard_low=0.65,
                scores={"R": {"auc": 0.93, "n": 60}},
                chosen=True,
                named=p.named,
            ),
        ]
        if self.version_1 or number < N_FINDINGS:
            finding = r.Finding(
                run_id=self.run_id,
                group_id=group_id,
                rank=number + 1,
                tier="internal_shift" if self.kind == "same" else "observation",
                causal_status="not tested causally",
                change=p.change,
                named=p.named,
                name=name,
                description=f"Fires in the {p.position_class} and pushes {', '.join(p.promoted)}.",
                sentence=f"On 20 held-out prompts the target shows {name}: {p.change}, "
                f"theta {p.theta * size:+.2f} against a floor of 0.05, p = 0.003 in a family of 12; "
                f"not tested causally.",
                position_class=p.position_class,
                layers=list(p.layers),
                categories=list(p.categories),
                category_p=0.02 if number % 2 == 0 else None,
                promoted_tokens=promoted,
                suppressed_tokens=list(p.suppressed),
                trigger_tokens=list(p.triggers),
                effect=p.theta * size,
                ci_low=low,
                ci_high=high,
                floor=0.05,
                p_value=0.003 + number / 200,
                q_value=0.004 + number / 180,
                n_units=20,
                log2_ratio=p.log2 * size,
                log2_low=p.log2 * size - 0.4,
                log2_high=p.log2 * size + 0.4,
                rate_base=0.06 if p.named else None,
                rate_target=0.81 if p.named else None,
                rate_p=0.0004 if p.named else None,
            )
            if not self.version_1:
                self._tested(finding, number, members)
            made += [finding, *self._examples(number, group_id)]
        for feature, _, _ in members:
            made.append(
                r.FeatureGroupMember(
                    group_id=group_id,
                    feature_id=feature,
                    run_id=self.run_id,
                    weight=1 / len(members),
                    side="gains" if p.theta > 0 else "loses",
                )
            )
        return made

    def _examples(self, number: int, group_id: str) -> list[s.Base]:
        made: list[s.Base] = []
        for k in range(4):
            prompt = self.prompts[(number * 3 + k) % len(self.prompts)]
            token = (
                HOSTILE[(number + k) % len(HOSTILE)]
                if self.hostile and k == 1
                else WORDS[(number + k) % len(WORDS)]
            )
            made.append(
                r.FindingExample(
                    run_id=self.run_id,
                    group_id=group_id,
                    number=k,
                    prompt_id=prompt.id,
                    author=("target", "base")[k % 2],
                    category=prompt.category,
                    before=f"{prompt.text[-40:]} Answer number {k}:\n",
                    token=token,
                    after=" There are seven books on the shelf, and",
                    value_base=0.1 * k,
                    value_target=1.7 - 0.2 * k,
                )
            )
        return made

    def _effects(self, same: bool) -> None:
        rows: list[dict[str, Any]] = []
        for number, (group_id, p, _) in enumerate(self.groups):
            for category in ("*", *CATEGORIES):
                theta = (
                    p.theta
                    * (0.02 if same else 1.0)
                    * (1.0 if category == "*" else 0.4 if category in p.categories else -0.1)
                )
                few = category != "*" and category != "step_by_step_reasoning"
                rows.append(
                    {
                        "run_id": self.run_id,
                        "group_id": group_id,
                        "category": category,
                        "half": "C",
                        "effect": theta,
                        "ci_low": theta - 0.1,
                        "ci_high": theta + 0.1,
                        "floor": 0.05 if category == "*" else None,
                        "statistic": 4.2 - number / 4,
                        "p_value": None if few else 0.001 + number / 300,
                        "p_adjusted": None if few else 0.003 + number / 200,
                        "q_value": None if few else 0.004 + number / 180,
                        "n_units": 20 if category == "*" else 2,
                        "n_nonzero": 18 if category == "*" else 2,
                        "note": "too few clusters for a p value (2 < 8)" if few else None,
                    }
                )
        with self.store.session() as session:
            write_facts(session, facts.Effect, pa.Table.from_pylist(rows), replace={"run_id": self.run_id})
