"""Decides whether an extraction goes backward: checks both models' gradients against finite differences first."""

from __future__ import annotations

import torch

from extract.chunks import sample_sequences
from extract.job import Attribution, Job
from extract.reading import (
    NotFiniteError,
    Shift,
    answer_texts,
    find_units,
    read_answers,
    reader_of,
    scoring_of,
)
from fi_store.vocabulary import SIDES, Side

STEPS = (0.003, 0.02, 0.1)
"""Changes of A (nats) that the gradient predicts for the steps that are tried: small ones drown in rounding, large ones
in curvature."""
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
        except (RuntimeError, NotImplementedError, TypeError, AttributeError, NotFiniteError) as failure:
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

    The step goes along a random direction that is tilted halfway towards the gradient (across it, nothing would rise
    above rounding) at all kept positions, half of it forward and half back. The best of a few lengths counts.
    """
    sequences = sample_sequences(job, job.suite.prompts[:1])
    answers = [(sequence.prompt_id, author) for sequence in sequences for author in SIDES]
    units, _ = find_units(sequences, dict.fromkeys(answers, True))
    scorings = {each: scoring_of(reader_of(job.pair, each), each, job.vocabulary) for each in SIDES}
    reader, texts = reader_of(job.pair, side), answer_texts(units, side, scorings)
    layer = reader.n_layers // 2
    weights = torch.tensor(texts.weights, dtype=torch.float64)

    def read(shift: Shift | None) -> tuple[float, torch.Tensor | None]:
        output = read_answers(
            reader,
            texts,
            ("resid_post",),
            scorings[side],
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
    return min(errors)
