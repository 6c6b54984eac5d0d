"""Reads both answers to some prompts with one model, under any number of patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from extract.job import Job
from extract.probes.arms import Arm, load_arm
from extract.reading import (
    CleanReading,
    NotFiniteError,
    Patch,
    Scoring,
    Unit,
    answer_texts,
    by_unit,
    layers_below,
    read_clean,
    reader_of,
    row_numbers,
)
from fi_store.errors import ExtractionError
from fi_store.vocabulary import PositionClass, Side

PUSHED_TOKENS = 50
"""How many of the tokens that a patch pushes most, and how many of those it pulls most, are kept of an answer."""


@dataclass(frozen=True)
class Request:
    """A request of the analysis with the arm that it names. Without an arm, the model is left as it is."""

    id: str
    kind: str
    side: Side
    prompt_ids: tuple[str, ...]
    words: bool
    arm_id: str | None
    path: Path | None
    site: str
    layer: int  # as the patched model numbers it
    beside: int  # the other model's layer at the same depth
    position_classes: frozenset[PositionClass]

    def load(self, job: Job) -> Arm | None:
        """The arm, if there is one.

        Raises:
            ExtractionError: it is not in the store, or cannot be used with the model.
        """
        if self.arm_id is None:
            return None
        if self.path is None:
            raise ExtractionError(f"The arm {self.arm_id} is not in the store.", hint="fi-store analyze")
        reader = reader_of(job.pair, self.side)
        if not 0 <= self.layer < reader.n_layers:
            raise ExtractionError(f"{reader.reference.text} has no layer {self.layer} to patch.")
        return load_arm(self.path, self.site, self.layer, reader.d_model)


class Pushed(NamedTuple):
    """Tokens by p log(p / p patched), summed over an answer, in nats: the largest above and the smallest below 0."""

    pushed_ids: list[int]
    pushed_nats: list[float]
    pulled_ids: list[int]
    pulled_nats: list[float]


NOTHING = Pushed([], [], [], [])


class PatchedReading(NamedTuple):
    """One answer as a patched model reads it: log p of each counted token (n,) float64 in nats."""

    request_id: str
    prompt_id: str
    author: Side
    token_logprobs: Tensor
    pushed: Pushed


def patch_for(arm: Arm, side: Side, rows: Tensor) -> Patch:
    """What an arm does to a model at some rows of the extraction (n,): out of the target, into the base."""
    patched, vectors = arm.vectors(rows)
    return Patch(arm.site, arm.layer, patched.nonzero()[:, 0], -vectors if side == "target" else vectors)


def read_patched(
    job: Job,
    side: Side,
    units: Sequence[Unit],
    requests: Sequence[Request],
    scorings: Mapping[Side, Scoring],
    failed: dict[str, str],
) -> Iterator[PatchedReading]:
    """Reads both answers of a batch of units, once without a patch and once under each request's.

    A request whose arm cannot be used, or makes values that are not finite, is added to `failed` with the reason.

    Raises:
        NotFiniteError: the model gives values that are not finite without a patch.
    """
    whole = answer_texts(units, side, scorings)
    # The last token of a prompt is the start, which is patched often and read with the answers.
    texts = replace(whole, stems=[max(1, stem - 1) for stem in whole.stems])
    reading = read_clean(
        reader_of(job.pair, side),
        texts,
        scorings[side],
        job.pair.device,
        skipped=frozenset(
            layers_below(each.site, each.layer) for each in requests if each.arm_id is not None
        ),
        keep_logits=any(request.words for request in requests),
    )
    rows = row_numbers(units)
    for request in requests:
        try:
            logprobs, pushed = _under(reading, request, job, rows)
        except ExtractionError as error:
            failed[request.id] = str(error)
            continue
        words = [NOTHING] * len(logprobs) if pushed is None else _largest(pushed, job, side)
        for unit, values, number in zip(
            units, by_unit(units, logprobs), range(0, len(words), 2), strict=True
        ):
            both = words[number], words[number if unit.equal else number + 1]
            for sequence, value, word in zip(unit.sequences, values, both, strict=True):
                yield PatchedReading(
                    request.id, sequence.prompt_id, cast("Side", sequence.author), value, word
                )


def _under(
    reading: CleanReading, request: Request, job: Job, rows: Tensor
) -> tuple[list[Tensor], Tensor | None]:
    """log p of each text's tokens and what is pushed (n_texts, V), under a request's patch.

    Raises:
        ExtractionError: the patch cannot be used, or makes values that are not finite.
    """
    arm = request.load(job)
    if arm is None:
        return reading.token_logprobs, None
    output = reading.patched(patch_for(arm, request.side, rows), words=request.words)
    found = [*output.token_logprobs, *([] if output.pushed is None else [output.pushed])]
    if not all(bool(torch.isfinite(values).all()) for values in found):
        raise NotFiniteError(
            f"A patch of the {request.side} (layer {arm.layer}, {arm.site}) makes values that are not finite."
        )
    return output.token_logprobs, output.pushed


def _largest(pushed: Tensor, job: Job, side: Side) -> list[Pushed]:
    """The largest and smallest sums of each text, from (n_texts, V), for tokens that both models have.

    Ids are the base's, as in `token_divergence`.
    """
    own = (job.vocabulary.base if side == "base" else job.vocabulary.target).shared
    shared = pushed[:, own.to(pushed.device)]
    count = min(PUSHED_TOKENS, shared.shape[1])
    up, down = shared.topk(count), shared.topk(count, largest=False)
    ids = job.vocabulary.base.shared
    found = []
    for high, at_high, low, at_low in zip(
        up.values.cpu(), up.indices.cpu(), down.values.cpu(), down.indices.cpu(), strict=True
    ):
        above, below = high > 0, low < 0
        found.append(
            Pushed(
                ids[at_high[above]].tolist(),
                high[above].tolist(),
                ids[at_low[below]].tolist(),
                low[below].tolist(),
            )
        )
    return found
