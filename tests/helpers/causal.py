"""A causal test without models: an exact dictionary of synthetic data, and answers that change as the gradients say."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import sqlalchemy as sa
import torch
from safetensors.numpy import load_file

from analyze.behaviors import AnswerPredicate, Candidate
from analyze.causal import Reading
from analyze.causal.arms import Patch
from analyze.causal.controls import side_slopes
from analyze.features import LayerEffects, measure_effects
from analyze.groups import GapOn, Group, make_groups
from fi_store.dictionaries import DictionaryConfig, PairedSae
from fi_store.store import Store
from fi_store.store.tables import Arm, Intervention, PatchedAnswer, ProbeRequest
from fi_store.vocabulary import SIDES, Side
from tests.helpers.synthetic import ANSWER_TOKENS, LAYER, PUSHED, SITE, WORDS, Synthetic, answer_rows

SCALE = 2.0
PULLED = WORDS.index("the")
PLAN = AnswerPredicate("words", ("plan",))


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
    gap = np.bincount(rows.unit[data.planted], minlength=units.n) / (2 * ANSWER_TOKENS)
    return GapOn(units.discovery, float(gap[units.discovery].mean()))


def groups_of(data: Synthetic, effects: LayerEffects) -> list[Group]:
    return make_groups("run", [effects], data.extraction, [gap_on_d(data)])


class LinearModels:
    """Both models, as far as requests ask them: a token becomes less likely by what the gradient says of its row."""

    def __init__(self, data: Synthetic) -> None:
        self.data = data
        self.slopes = side_slopes(data.extraction, SITE, LAYER)

    def reading(self, patch: Patch | None, side: Side, units: Iterable[int]) -> Reading:
        """What a request would give."""
        rows = np.zeros(0, dtype=np.int64) if patch is None else patch.rows
        vectors = np.zeros((0, 1), dtype=np.float32) if patch is None else patch.vectors
        return self._read(rows, vectors, side, units)

    def _read(self, rows: np.ndarray, vectors: np.ndarray, side: Side, units: Iterable[int]) -> Reading:
        extraction = self.data.extraction
        nats = np.zeros(extraction.rows.n)
        if len(rows):
            nats[rows] = (self.slopes[side][rows] * vectors).sum(axis=1) * 2 * ANSWER_TOKENS
        logprobs, pushes = {}, {}
        for unit in units:
            for author in SIDES:
                closed = nats[answer_rows(extraction.rows, unit, author)]
                sign = 1 if author == side else -1
                logprobs[unit, author] = extraction.answers[unit, author, side].logprobs - sign * closed
                total = float(closed.sum())
                pushes[unit, author] = {PUSHED: total, PULLED: -total / 2}
        return Reading(logprobs, pushes)

    def answer(self, store: Store) -> None:
        """Answers all open requests of a store."""
        numbers = {prompt_id: unit for unit, prompt_id in enumerate(self.data.extraction.units.prompt_ids)}
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
                    session.add_all(self._interventions(request, self._read(rows, vectors, side, units)))
                else:
                    session.add_all(self._answers(request, units, plain=kind == "change"))
                request.state = "answered"

    def _interventions(self, request: ProbeRequest, reading: Reading) -> list[Intervention]:
        prompt_ids = self.data.extraction.units.prompt_ids
        made = []
        for (unit, author), values in reading.logprobs.items():
            pushes = reading.pushes[unit, author] if request.words else {}
            pushed, pulled = (
                {token: nats for token, nats in pushes.items() if nats * sign > 0} for sign in (1, -1)
            )
            made.append(
                Intervention(
                    request_id=request.id,
                    prompt_id=prompt_ids[unit],
                    author=author,
                    run_id=request.run_id,
                    side=request.side,
                    logprob=float(values.sum()),
                    n_tokens=len(values),
                    token_logprobs=values.tolist(),
                    pushed_ids=list(pushed),
                    pushed_nats=list(pushed.values()),
                    pulled_ids=list(pulled),
                    pulled_nats=list(pulled.values()),
                )
            )
        return made

    def _answers(self, request: ProbeRequest, units: list[int], *, plain: bool) -> list[PatchedAnswer]:
        """The model's own answers; `plain`: without the word of the planted behavior."""
        all_units = self.data.extraction.units
        texts = [all_units.answers[request.side][unit] for unit in units]
        return [
            PatchedAnswer(
                request_id=request.id,
                prompt_id=all_units.prompt_ids[unit],
                run_id=request.run_id,
                side=request.side,
                text=text.replace(WORDS[PUSHED], WORDS[0]) if plain else text,
                n_tokens=ANSWER_TOKENS,
                finished=True,
            )
            for unit, text in zip(units, texts, strict=True)
        ]


def stored_vectors(store: Store, arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """The rows (r,) of a stored arm, and its vectors (r, d)."""
    tensors = load_file(store.folder / arm.path)
    vectors = tensors["coefficients"]
    return tensors["rows"], vectors @ tensors["directions"] if "directions" in tensors else vectors
