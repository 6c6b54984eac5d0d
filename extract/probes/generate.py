"""Greedy answers under a patch.

What a patch does to the prompt is known beforehand and is done while the prompt is read. In the answer it depends on
what is written, so both models read on side by side, and the arm's features are encoded at every step from what
arrives at the patched layer: nothing below it is changed, so that is the clean state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from extract.job import Job
from extract.probes.arms import Arm, ControlPatch, FeaturePatch, live_patch
from extract.probes.patch import Request, patch_for
from extract.reading import (
    Decoding,
    Edit,
    NotFiniteError,
    Unit,
    add_vectors,
    end_ids,
    reader_of,
    write_on,
)
from extract.texts import Answer, answer_of
from fi_store.errors import ExtractionError
from fi_store.vocabulary import POSITION_CLASSES, SIDES, Side

CLASSES = tuple(POSITION_CLASSES)
"""The position classes in the order of their indices."""


def generate_patched(job: Job, folder: Path, units: Sequence[Unit], request: Request) -> list[Answer]:
    """The answers of one model to the units' prompts under a request's patch. `folder` is the store's.

    Raises:
        ExtractionError: the patch cannot be used in answers, or makes values that are not finite.
        AnalysisError: the arm's dictionary cannot be read.
    """
    arm, side = request.load(job), request.side
    live: FeaturePatch | ControlPatch | None = None
    if arm is not None and {"thinking", "response"} & request.position_classes:
        if not job.tokenizers.shared:
            raise ExtractionError(
                "Models with different tokenizers or formats cannot read an answer side by side."
            )
        live = live_patch(folder, arm)
    readers = (job.pair.base, job.pair.target) if live else (reader_of(job.pair, side),)
    together = all(reader.ways.answered_together for reader in readers)
    parts = [units] if together else [[unit] for unit in units]
    return [answer for part in parts for answer in _answers(job, part, request, arm, live)]


def _answers(
    job: Job,
    units: Sequence[Unit],
    request: Request,
    arm: Arm | None,
    live: FeaturePatch | ControlPatch | None,
) -> list[Answer]:
    """The answers to some prompts in one batch."""
    side = request.side
    reader = reader_of(job.pair, side)
    own = _decoding(job, side, units)
    beside = None if arm is None or live is None else _Beside(job, side, arm, live, units, request)
    ends = end_ids(reader)
    try:
        logits = own.begin(None if arm is None else _at_prompts(own, arm, side, units))
        if beside is None:
            written = write_on(own, logits, ends)
        else:
            written = write_on(own, logits, ends, beside.edit, beside.decoding)
    except NotFiniteError as error:
        raise NotFiniteError(
            f"A patch of the {side} (layer {request.layer}, {request.site}) makes values that are not finite."
        ) from error
    return [
        answer_of(tokens, ends, reader.tokenizer, unit.prompt_ids(side)[-1], reader.shown)
        for unit, tokens in zip(units, written, strict=True)
    ]


def _decoding(job: Job, side: Side, units: Sequence[Unit]) -> Decoding:
    """The units' prompts as one model reads them. What it reads apart has no row that can be patched."""
    limit = min(min(unit.sequences[0].sides[side].kept, default=0) for unit in units)
    prompts = [unit.prompt_ids(side) for unit in units]
    return Decoding(
        reader_of(job.pair, side), prompts, job.config.max_new_tokens, job.pair.device, limit=limit
    )


def _at_prompts(decoding: Decoding, arm: Arm, side: Side, units: Sequence[Unit]) -> Edit:
    """Patches the rows of prompts and starts while the prompts are read."""
    at: list[tuple[int, int, int]] = []  # text, column, row of the extraction
    for number, unit in enumerate(units):
        text = unit.sequences[0].sides[side]
        at += [
            (number, decoding.column(number, position), unit.first_rows[0] + row)
            for row, position in enumerate(text.kept)
            if position < text.n_prompt
        ]
    texts, columns, rows = torch.tensor(at, dtype=torch.long).reshape(-1, 3).T
    patch = patch_for(arm, side, rows)
    texts, columns = texts[patch.rows], columns[patch.rows]

    def change(hidden: Tensor) -> Tensor:
        return add_vectors(hidden, texts, columns, patch.values)

    return Edit(arm.site, arm.layer, change)


class _Beside:
    """The other model, which reads the same answers unpatched, so that features can be encoded from both."""

    def __init__(
        self,
        job: Job,
        side: Side,
        arm: Arm,
        live: FeaturePatch | ControlPatch,
        units: Sequence[Unit],
        request: Request,
    ) -> None:
        self.side, self.arm, self.live, self.request = side, arm, live, request
        self.other = SIDES[1 - SIDES.index(side)]
        self.codec, self.befores = job.tokenizers.codecs[side], [unit.prompt_ids(side)[-1] for unit in units]
        self.decoding = _decoding(job, self.other, units)
        self.decoding.begin()

    def edit(self, written: Mapping[int, list[int]]) -> Edit:
        """Reads the newest token of what each answer, by its number, has written; returns what is done to them in the
        patched model."""
        tokens = torch.tensor([ids[-1] for ids in written.values()])
        names = [self.codec.class_of_last(ids, self.befores[number]) for number, ids in written.items()]
        classes = torch.tensor([CLASSES.index(name) for name in names])
        acting = torch.tensor([name in self.request.position_classes for name in names])
        seen: list[Tensor] = []

        def keep(hidden: Tensor) -> Tensor:
            seen.append(hidden[:, 0])
            return hidden

        self.decoding.go_on(tokens, Edit(self.arm.site, self.request.beside, keep))

        def change(hidden: Tensor) -> Tensor:
            vectors = self.live.vectors({self.side: hidden[:, 0], self.other: seen[0]}, classes)
            signed = -vectors if self.side == "target" else vectors
            rows = acting.nonzero()[:, 0]
            return add_vectors(hidden, rows, torch.zeros_like(rows), signed[rows])

        return Edit(self.arm.site, self.arm.layer, change)
