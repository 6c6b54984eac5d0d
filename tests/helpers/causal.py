"""A causal test without models: an exact dictionary of synthetic data, and answers that change as the gradients say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
import torch
from safetensors.numpy import load_file

from analyze.behaviors import AnswerPredicate, Candidate, answers_of
from analyze.causal import CausalPlan, Change, Confirmer, Reading, Request, Tests, make_plan, measure_gap
from analyze.causal.arms import Patch
from analyze.causal.controls import SideSlopes
from analyze.features import LayerEffects, measure_effects
from analyze.groups import GapOn, Group, make_groups
from fi_store.dictionaries import DictionaryConfig, PairedSae
from fi_store.store import Store, write_facts
from fi_store.store.tables import Arm, Intervention, PatchedAnswer, ProbeRequest
from fi_store.vocabulary import SIDES, Side
from tests.helpers.synthetic import (
    ANSWER_TOKENS,
    COUNTED_TOKENS,
    LAYER,
    NATS,
    PUSHED,
    SITE,
    WORDS,
    Synthetic,
    answer_rows,
    residuals_of,
)

SCALE = 2.0
PULLED = WORDS.index("the")
PLAN = AnswerPredicate("words", ("plan",))

ALPHA, THRESHOLD = 0.05, 0.03


def candidate(predicate: AnswerPredicate, side: Side = "target") -> Candidate:
    """A behavior of D as far as the causal test looks at it."""
    return Candidate(predicate, side, predicate.words, predicate.phrase, None, 5.0, 0.001, 0.0, 0.3, 9, 0)


def exact_effects(data: Synthetic, first: Side = "base") -> LayerEffects:
    """The effects of a dictionary whose latent j is the j-th direction of the data; latent 0 is the planted one."""
    d = len(data.basis)
    config = DictionaryConfig(
        *("paired_sae", SITE, LAYER, d, d, d, 4, 0, 1, SCALE, (SCALE, SCALE), 0.0, data.extraction.rows.n)
    )
    dictionary = PairedSae(
        config=config,
        w_dec=data.basis,
        w_enc=data.basis.T.contiguous(),
        b_enc=torch.zeros(d),
        b_dec=torch.zeros(d),
        threshold=torch.full((d,), 0.1),
    )
    return measure_effects(data.extraction, dictionary, data.activations, first)


def gap_on_d(data: Synthetic) -> GapOn:
    """The gap that was planted, on D."""
    units, rows = data.extraction.units, data.extraction.rows
    gap = np.bincount(rows.unit[data.planted], minlength=units.n) * NATS / (2 * COUNTED_TOKENS)
    return GapOn(units.discovery, float(gap[units.discovery].mean()))


def groups_of(data: Synthetic, effects: LayerEffects) -> list[Group]:
    return make_groups("run", [effects], data.extraction, [gap_on_d(data)])


class LinearModels:
    """Both models, as far as requests ask them: a token becomes less likely by what the gradient says of its row."""

    def __init__(self, data: Synthetic) -> None:
        self.data = data
        self.slopes = {side: SideSlopes(data.extraction.gradients(side, SITE, LAYER), side) for side in SIDES}

    def reading(self, patch: Patch | None, side: Side, units: Iterable[int]) -> Reading:
        """What a request would give."""
        rows = np.zeros(0, dtype=np.int64) if patch is None else patch.rows
        vectors = np.zeros((0, 1), dtype=np.float32) if patch is None else patch.vectors
        return self._read(rows, vectors, side, units)

    def _read(self, rows: np.ndarray, vectors: np.ndarray, side: Side, units: Iterable[int]) -> Reading:
        extraction = self.data.extraction
        nats, along = np.zeros(extraction.rows.n), np.zeros(extraction.rows.n)
        if len(rows):
            nats[rows] = (self.slopes[side][rows] * vectors).sum(axis=1) * 2 * COUNTED_TOKENS
            along[rows] = vectors @ self.data.direction.numpy()
        logprobs, pushes = {}, {}
        for unit in units:
            for author in SIDES:
                inside = answer_rows(extraction.rows, unit, author)
                closed = np.append(0.0, nats[inside])  # a row decides the token after it
                sign = 1 if author == side else -1
                logprobs[unit, author] = extraction.answers[unit, author, side].logprobs - sign * closed
                # The planted direction is taken from the target, and given to the base.
                total = float(along[inside].sum()) * (1 if side == "target" else -1)
                pushes[unit, author] = {PUSHED: total, PULLED: -total / 2}
        return Reading(logprobs, pushes)

    def answer(self, store: Store) -> None:
        """Answers all open requests of a store."""
        numbers = {prompt_id: unit for unit, prompt_id in enumerate(self.data.extraction.units.prompt_ids)}
        read: list[dict[str, Any]] = []
        written: list[dict[str, Any]] = []
        with store.session() as session:
            for request in session.scalars(sa.select(ProbeRequest).where(ProbeRequest.state == "asked")):
                side: Side = "base" if request.side == "base" else "target"
                rows, vectors, kind = np.zeros(0, dtype=np.int64), np.zeros((0, 1)), "none"
                if request.arm_id is not None:
                    arm = session.get_one(Arm, (request.arm_id, request.run_id))
                    rows, vectors = stored_vectors(store, arm)
                    kind = arm.kind
                units = [numbers[prompt_id] for prompt_id in request.prompt_ids]
                if request.kind == "read":
                    read += self._interventions(request, self._read(rows, vectors, side, units))
                else:
                    written += self._answers(request, units, plain=kind == "change")
                request.state = "answered"
            for table, rows_of_it in ((Intervention, read), (PatchedAnswer, written)):
                columns = (
                    {name: [row[name] for row in rows_of_it] for name in rows_of_it[0]} if rows_of_it else {}
                )
                write_facts(session, table, columns, replace={"request_id": ""})  # nothing is replaced

    def _interventions(self, request: ProbeRequest, reading: Reading) -> list[dict[str, Any]]:
        prompt_ids = self.data.extraction.units.prompt_ids
        made = []
        for (unit, author), values in reading.logprobs.items():
            pushes = reading.pushes[unit, author] if request.words else {}
            pushed, pulled = (
                {token: nats for token, nats in pushes.items() if nats * sign > 0} for sign in (1, -1)
            )
            made.append(
                {
                    "request_id": request.id,
                    "prompt_id": prompt_ids[unit],
                    "author": author,
                    "run_id": request.run_id,
                    "side": request.side,
                    "logprob": float(values.sum()),
                    "n_tokens": len(values),
                    "token_logprobs": values.tolist(),
                    "pushed_ids": list(pushed),
                    "pushed_nats": list(pushed.values()),
                    "pulled_ids": list(pulled),
                    "pulled_nats": list(pulled.values()),
                }
            )
        return made

    def _answers(self, request: ProbeRequest, units: list[int], *, plain: bool) -> list[dict[str, Any]]:
        """The model's own answers; `plain`: without the word of the planted behavior."""
        all_units = self.data.extraction.units
        texts = [all_units.answers[request.side][unit] for unit in units]
        return [
            {
                "request_id": request.id,
                "prompt_id": all_units.prompt_ids[unit],
                "run_id": request.run_id,
                "side": request.side,
                "text": text.replace(WORDS[PUSHED], WORDS[0]) if plain else text,
                "n_tokens": ANSWER_TOKENS,
                "finished": True,
                "answer_start": 0,
            }
            for unit, text in zip(units, texts, strict=True)
        ]


def stored_vectors(store: Store, arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """The rows (r,) of a stored arm, and its vectors (r, d)."""
    tensors = load_file(store.folder / arm.path)
    vectors = tensors["coefficients"]
    return tensors["rows"], vectors @ tensors["directions"] if "directions" in tensors else vectors


Edit = Callable[[Request, Reading], Reading | None]


@dataclass
class Case:
    """What a test on C is made from."""

    data: Synthetic
    effects: LayerEffects
    changes: list[Change]
    behaviors: list[Candidate]
    plan: CausalPlan

    def readings(self, edit: Edit = lambda _, reading: reading) -> Mapping[Request, Reading]:
        models = LinearModels(self.data)
        found = {
            request: edit(request, models.reading(request.patch, request.side, request.units))
            for request in self.plan.requests.values()
        }
        return {request: reading for request, reading in found.items() if reading is not None}

    def test(self, edit: Edit = lambda _, reading: reading, plan: CausalPlan | None = None) -> Tests:
        return self.confirmer(self.readings(edit), plan).test(ALPHA, THRESHOLD)

    def confirmer(self, readings: Mapping[Request, Reading], plan: CausalPlan | None = None) -> Confirmer:
        extraction = self.data.extraction
        gap = measure_gap(extraction)
        return Confirmer(
            plan or self.plan, readings, gap, extraction, answers_of(extraction.units), self.behaviors
        )


def case_of(data: Synthetic, first: Side = "base", *, behavior: int | None = 0) -> Case:
    effects = exact_effects(data, first)
    group = groups_of(data, effects)[0]
    planted = replace(group, members=tuple(replace(m, weight=1.0) for m in group.members if m.latent == 0))
    noise = replace(group, id="noise", members=(replace(planted.members[0], latent=7),), share=0.1)
    changes = [Change((planted,), behavior), Change((noise,), None)]
    side: Side = "target" if first == "base" else "base"
    units = data.extraction.units
    known = measure_gap(data.extraction).known
    plan = make_plan(
        "run",
        changes,
        [effects],
        residuals_of(data),
        data.extraction,
        units=np.flatnonzero(known & ~units.discovery),
        also=np.flatnonzero(units.discovery)[:5],
        threshold=THRESHOLD,
        seed=0,
    )
    return Case(data, effects, changes, [candidate(PLAN, side)], plan)
