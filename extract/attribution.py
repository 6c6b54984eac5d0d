"""Decides whether an extraction goes backward: checks both models' gradients against finite differences first."""

from __future__ import annotations

import torch

from extract.chunks import sample_sequences
from extract.job import Attribution, Job
from extract.reading import (
    AnswerTexts,
    NotFiniteError,
    Scoring,
    Shift,
    answer_texts,
    find_units,
    read_answers,
    reader_of,
    scorings_of,
)
from extract.texts import ReadSequence
from fi_store.vocabulary import SIDES, Side

STEPS = (0.4, 0.1, 0.01)
"""Changes of A (nats) that the gradient predicts for the steps that are tried in turn: large ones stand out from
rounding, small ones from curvature."""
TOLERANCES = {"fp32": 0.05, "bf16": 0.3, "fp16": 0.3, "int8": 0.5, "nf4": 0.3}
"""Largest relative error of a prediction, by what rounds: int8 also rounds what flows into every product."""


def decide_attribution(job: Job) -> Attribution:
    """Whether gradients are computed. A model without usable gradients is a reason not to, never an error."""
    if job.config.attribution == "off":
        return Attribution(False, "Attribution is off, as requested.")
    errors = []
    for side in SIDES:
        name = reader_of(job.pair, side).reference.text
        try:
            error = gradient_error(job, side)
        except (RuntimeError, NotFiniteError) as failure:
            first = next(iter(str(failure).strip().splitlines()), type(failure).__name__).rstrip(".")
            return Attribution(
                False, f"Attribution is off: {name} cannot be read backward ({first}).", failed=True
            )
        if not error <= tolerance(job):
            return Attribution(
                False,
                f"Attribution is off: the gradients of {name} differ from finite differences by {error:.0%}.",
                failed=True,
            )
        errors.append(error)
    reason = f"Attribution is on: gradients agree with finite differences within {max(0.001, *errors):.1%}."
    widths = [reader_of(job.pair, side).d_model for side in SIDES]
    if widths[0] != widths[1]:
        reason += (
            f" The models' widths differ ({widths[0]} and {widths[1]}), so whole layers have no attribution."
        )
    return Attribution(True, reason)


def tolerance(job: Job) -> float:
    """The largest relative error that still counts as agreement."""
    names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
    return max(TOLERANCES[names[job.dtype]], TOLERANCES.get(job.pair.quantization, 0.0))


def gradient_error(job: Job, side: Side) -> float:
    """The relative error of what a model's gradient predicts for a step in the middle layer, on one prompt.

    At all kept positions the step goes along a random direction that is tilted halfway towards the gradient (across
    it, nothing would rise above rounding), half of it forward and half back. The first length at which the two agree
    counts, or the best.
    """
    texts, scoring = sample_texts(job, sample_sequences(job, job.suite.prompts[:1]), side)
    reader = reader_of(job.pair, side)
    layer = reader.n_layers // 2
    weights = torch.tensor(texts.weights, dtype=torch.float64)

    def read(shift: Shift | None) -> tuple[float, torch.Tensor | None]:
        output = read_answers(
            reader,
            texts,
            ("resid_post",),
            scoring,
            job.pair.device,
            gradients=shift is None,
            shift=shift,
        )
        return float(output.logprobs @ weights), output.gradients.get(("resid_post", layer))

    gradient = read(None)[1]
    if gradient is None or not bool(gradient.any()):
        return 1.0
    noise = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0)).to(gradient)
    direction = gradient / gradient.norm() + noise / noise.norm()
    direction /= direction.norm()
    slope = float((gradient * direction).sum())
    errors = []
    for expected in STEPS:
        half = Shift(layer, direction * (expected / slope / 2))
        change = read(half)[0] - read(Shift(layer, -half.values))[0]
        errors.append(abs(change / expected - 1))
        if errors[-1] <= tolerance(job):
            break
    return min(errors)


def sample_texts(job: Job, sequences: list[ReadSequence], side: Side) -> tuple[AnswerTexts, Scoring]:
    """Sample sequences as one model reads them backward, and how its predictions are read."""
    ended = {(sequence.prompt_id, author): True for sequence in sequences for author in SIDES}
    scorings = scorings_of(job.pair, job.vocabulary)
    return answer_texts(find_units(sequences, ended), side, scorings), scorings[side]
