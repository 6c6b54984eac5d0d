"""The part of `store_factory` that writes the causal test: arms, requests, answers under a patch, shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fi_store.ids import content_id
from fi_store.store.tables import causes as c
from fi_store.store.tables import results as r
from fi_store.store.tables import runs as s
from fi_store.vocabulary import SIDES, TESTED
from fi_store.wording import count
from tests.helpers.factory_features import FeatureRows
from tests.helpers.planted import HOSTILE, LAYERS, LED, N_FINDINGS, PLANTED

EXPLAINED = (
    "The findings explain 64% of the difference between the models (95% limits 51% and 77%), on the side where the "
    "target is patched."
)
EXPLAINED_DETAIL = {"explained": 0.64, "low": 0.51, "high": 0.77}
BEHAVIORS = {0: 1, 1: 5}
"""The index of a finding -> the number of the behavior that it carries; the others go with none."""
GENERATED = 8
"""Prompts that were answered under a patch, for findings with a behavior."""


def whole_share(layer: int, position_class: str) -> float:
    """The share of the gap that the whole difference closes at a layer and class."""
    return 0.9 * (layer + 1) / (LAYERS[-1] + 1) * (0.6 if position_class == "start" else 0.4)


def change_share(number: int, layer: int) -> float:
    """The share that a finding's features close at a layer."""
    return whole_share(layer, PLANTED[number].position_class) * 0.8 / (number + 1)


class CauseRows(FeatureRows):
    """The causal test of one run."""

    prompts: list[s.Prompt]
    hostile: bool

    def _tested(self, finding: r.Finding, number: int, members: Sequence[tuple[str, int, int]]) -> None:
        """Fills in what only a finding of this version has, and takes out what only version 1 has."""
        planted, layer = PLANTED[number], PLANTED[number].layers[0]
        share, behavior = change_share(number, layer), BEHAVIORS.get(number)
        finding.tier, finding.causal_status = "finding", TESTED
        finding.floor = finding.q_value = None
        finding.sentence = (
            f"{finding.name}: {count(len(planted.layers), 'feature')} from layer {layer} on; set to the base's values "
            f"they close {share:.0%} of the difference between the models (control 1%)."
        )
        finding.effect, finding.ci_low, finding.ci_high = share, share - 0.04, share + 0.05
        finding.share_closed, finding.share_low, finding.share_high = share, share - 0.04, share + 0.05
        finding.words = [*planted.promoted, *([HOSTILE[number]] if self.hostile else [])]
        finding.phrase = HOSTILE[number] if self.hostile else planted.promoted[0]
        finding.share_control = 0.01
        finding.ceiling = whole_share(layer, planted.position_class)
        finding.side, finding.layer, finding.change_inside = "target", layer, planted.change
        finding.features = [feature for feature, at, _ in members if at == layer]
        finding.behavior = behavior
        if behavior is not None:
            finding.rate_base, finding.rate_target = 0.05, 0.96
            finding.rate_patched, finding.rate_clean, finding.rate_control = 0.125, 1.0, 0.875
            finding.n_generated, finding.share_behavior = GENERATED, 0.6 / (number + 1)

    def _causes(self) -> None:
        if self.version_1:
            return
        with self.store.session() as session:
            for row in self._cause_rows():
                session.add(row)

    def _cause_rows(self) -> Iterator[s.Base]:
        for layer in LAYERS:
            for name in ("start", "response"):
                for kind, part in (("whole", 1.0), ("dictionary", 0.85), ("mean_shift", 0.6)):
                    yield from self._arm(kind, None, layer, name, whole_share(layer, name) * part)
        for number, (group_id, planted, _) in enumerate(self.groups):
            if number == LED or number == len(self.groups) - 1:
                continue
            name = planted.position_class
            for layer in planted.layers:
                found = number < N_FINDINGS
                share = change_share(number, layer) if found else 0.004
                tested = layer == planted.layers[0]
                yield from self._arm("change", group_id, layer, name, share, 0.001 if tested else None)
            yield from self._arm("control", group_id, planted.layers[0], name, 0.01)
            yield self._arm_row("group", group_id, planted.layers[0], name)
            if number in BEHAVIORS:
                yield self._share(group_id, BEHAVIORS[number], 0.6 / (number + 1), 0.2)
                yield from self._answers(group_id, planted.layers[0], name)
        yield self._share(self.groups[0][0], 4, 0.08, 0.12)

    def _arm_id(self, kind: str, group_id: str | None, layer: int, position_class: str) -> str:
        return content_id("arm", self.run_id, kind, group_id or "", layer, position_class)

    def _arm_row(self, kind: str, group_id: str | None, layer: int, position_class: str) -> c.Arm:
        arm_id = self._arm_id(kind, group_id, layer, position_class)
        return c.Arm(
            id=arm_id,
            run_id=self.run_id,
            kind=kind,
            group_id=group_id,
            site="resid_post",
            layer=layer,
            position_classes=[position_class],
            n_rows=40,
            n_directions=0 if group_id is None else 2,
            path=f"arms/{self.run_id}/{arm_id}.safetensors",
        )

    def _arm(
        self,
        kind: str,
        group_id: str | None,
        layer: int,
        position_class: str,
        share: float,
        p: float | None = None,
    ) -> Iterator[s.Base]:
        """An arm that was read in both models, on two prompts, with its effects; the base's side closes a bit less."""
        arm = self._arm_row(kind, group_id, layer, position_class)
        yield arm
        for side, part in zip(SIDES, (0.9, 1.0), strict=True):
            yield c.ArmEffect(
                run_id=self.run_id,
                arm_id=arm.id,
                side=side,
                closed=share * part * 0.6,
                share=share * part,
                share_low=share * part - 0.02,
                share_high=share * part + 0.02,
                attributed=share if kind == "change" else None,
                p_value=p,
                p_adjusted=None if p is None else p * 10,
                n_units=self.halves.count("C"),
            )
            yield from self._read(arm.id, side)

    def _request(self, kind: str, side: str, arm_id: str, prompts: list[str]) -> c.ProbeRequest:
        return c.ProbeRequest(
            id=content_id("probe", kind, side, arm_id),
            run_id=self.run_id,
            kind=kind,
            side=side,
            arm_id=arm_id,
            prompt_ids=prompts,
            words=False,
            state="answered",
            reason=None,
        )

    def _read(self, arm_id: str, side: str) -> Iterator[s.Base]:
        request = self._request("read", side, arm_id, [self._held_out[0].id])
        yield request
        yield c.Intervention(
            request_id=request.id,
            prompt_id=self._held_out[0].id,
            author="target",
            run_id=self.run_id,
            side=side,
            logprob=-26.0,
            n_tokens=2,
            token_logprobs=[-12.0, -14.0],
            pushed_ids=[0, 3],
            pushed_nats=[0.4, 0.1],
            pulled_ids=[1],
            pulled_nats=[-0.2],
        )

    @property
    def _held_out(self) -> list[s.Prompt]:
        return [prompt for prompt, half in zip(self.prompts, self.halves, strict=True) if half == "C"]

    def _answers(self, group_id: str, layer: int, position_class: str) -> Iterator[s.Base]:
        """The target's answers with the change taken out, and with the control's directions instead."""
        prompts = self._held_out[:GENERATED]
        for kind in ("change", "control"):
            arm_id = self._arm_id(kind, group_id, layer, position_class)
            request = self._request("generate", "target", arm_id, [prompt.id for prompt in prompts])
            yield request
            for number, prompt in enumerate(prompts):
                text = (
                    f"You have {number} books left on the shelf."
                    if kind == "change"
                    else "Step 1: Therefore …"
                )
                yield c.PatchedAnswer(
                    request_id=request.id,
                    prompt_id=prompt.id,
                    run_id=self.run_id,
                    side="target",
                    text=f"{HOSTILE[number % len(HOSTILE)]} {text}" if self.hostile else text,
                    n_tokens=12,
                    finished=True,
                    answer_start=0,
                )

    def _share(self, group_id: str, behavior: int, share: float, width: float) -> c.BehaviorShare:
        values: dict[str, Any] = {"share": share, "share_low": share - width, "share_high": share + width}
        return c.BehaviorShare(
            run_id=self.run_id,
            group_id=group_id,
            behavior=behavior,
            side="target",
            n_units=self.halves.count("C"),
            **values,
        )
