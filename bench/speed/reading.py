"""Times reading and answering on the bundled model, against bare forward passes and the former way to answer.

All ratios are of turns in one process: each round runs both contenders, and the median of the rounds' ratios counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from bench.results import Figure, PartResult
from bench.speed import former
from extract.answers import Answers
from extract.chunks import sequences_of
from extract.job import Job, prepare
from extract.models import load_pair
from extract.reading import (
    BATCH_TOKENS,
    answer_texts,
    batch_units,
    find_units,
    generate_answers,
    read_answers,
    read_batch,
    scorings_of,
)
from extract.reading.batch import Batch
from extract.texts import Answer
from fi_store.config import make_config
from fi_store.prompts import load_suite
from fi_store.vocabulary import SIDES

MODEL = "bundled:smollm2"
SITES = ("resid_post",)
AS_GIVEN = 16
"""Texts in a batch of the bare forward passes over the real workload."""


def measure(*, quick: bool) -> PartResult:
    """The figures of reading and answering. A quick form judges nothing."""
    job = _job(4 if quick else 32, 4 if quick else 48)
    rounds = 1 if quick else 5
    raw = {
        "uniform": _race(rounds, *_uniform(job, 32 if quick else 128)),
        "workload": _race(rounds, *_workload(job)),
        "answering": _race(rounds, *_answering(job)),
    }
    return PartResult(
        [
            _figure(
                "all layers with logits, uniform lengths: bare pass over ours", raw["uniform"], 0.97, quick
            ),
            _figure("real workload: bare passes as given over ours", raw["workload"], 2.0, quick),
            _figure("answering: ours over the former way", raw["answering"], 0.6, quick, most=True),
        ],
        raw,
    )


def _job(n_prompts: int, n_tokens: int) -> Job:
    pair = load_pair(MODEL, MODEL, device="cpu", quantization="bf16", note=lambda _: None)
    suite = load_suite()
    step = max(1, len(suite.prompts) // n_prompts)
    suite = replace(suite, prompts=suite.prompts[::step][:n_prompts])
    config = make_config(
        base_model=MODEL, target_model=MODEL, device="cpu", quantization="bf16", max_new_tokens=n_tokens
    )
    return prepare(pair, config, suite)


def _race(rounds: int, first: Callable[[], object], second: Callable[[], object]) -> dict[str, Any]:
    """Seconds of both by round, after one turn of each that is not counted."""
    seconds: dict[str, list[float]] = {"first": [], "second": []}
    for number in range(rounds + 1):
        for name, run in (("first", first), ("second", second)):
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _figure(name: str, raw: dict[str, Any], goal: float, quick: bool, *, most: bool = False) -> Figure:
    ratios = [first / second for first, second in zip(raw["first"], raw["second"], strict=True)]
    value = median(ratios)
    reached = value <= goal if most else value >= goal
    detail = f"rounds {min(ratios):.2f} to {max(ratios):.2f}; {torch.get_num_threads()} threads"
    return Figure(
        name, value, "times", f"{'<=' if most else '>='} {goal}", None if quick else reached, detail
    )


def _uniform(job: Job, length: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A bare forward pass over random texts of one length, and ours with all layers and all logits."""
    reader = job.pair.base
    ids = torch.randint(1000, 40_000, (8, length), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids.tolist(), [list(range(length))] * len(ids), [length] * len(ids), "cpu")

    @torch.inference_mode()
    def bare() -> None:
        with reader.active() as model:
            model(input_ids=ids, use_cache=False)

    return bare, lambda: read_batch(reader, batch, SITES, logits=True)


def _workload(job: Job) -> tuple[Callable[[], object], Callable[[], object]]:
    """Bare forward passes over prompts with both answers, padded in the order given, and ours.

    The bundled model's own answers to neighboring prompts stand for the two models' answers.
    """
    answers = _answers(job)
    texts: Answers = {}
    for number, prompt in enumerate(job.suite.prompts):
        for side, at in zip(SIDES, (number, number - 1), strict=True):
            texts[prompt.id, side] = Answer(answers[at], 0, True)
    sequences = [
        each for each in sequences_of("run", job, job.suite.prompts, texts) if each.author != "control"
    ]
    units = find_units(sequences, dict.fromkeys(texts, True))
    scorings, reader = scorings_of(job.pair, job.vocabulary), job.pair.base

    @torch.inference_mode()
    def bare() -> None:
        for start in range(0, len(sequences), AS_GIVEN):
            rows = [sequence.base.ids for sequence in sequences[start : start + AS_GIVEN]]
            ids, mask = torch.zeros(2, len(rows), max(map(len, rows)), dtype=torch.long)
            for number, row in enumerate(rows):
                ids[number, : len(row)] = torch.tensor(row)
                mask[number, : len(row)] = 1
            with reader.active() as model:
                model(input_ids=ids, attention_mask=mask, use_cache=False)

    def ours() -> None:
        for batch in batch_units(units, BATCH_TOKENS):
            read = answer_texts(batch, "base", scorings)
            read_answers(reader, read, SITES, scorings["base"], "cpu", gradients=False, logits=True)

    return bare, ours


def _answering(job: Job) -> tuple[Callable[[], object], Callable[[], object]]:
    """Our way to answer, and the former one."""
    reader, length, prompts = job.pair.base, job.config.max_new_tokens, _prompts(job)
    return (
        lambda: generate_answers(reader, prompts, length, "cpu"),
        lambda: former.generate_answers(reader, prompts, length),
    )


def _prompts(job: Job) -> list[list[int]]:
    return [
        job.tokenizers.encode("base", job.rendering.render(prompt.text), "").ids
        for prompt in job.suite.prompts
    ]


def _answers(job: Job) -> list[str]:
    found = generate_answers(job.pair.base, _prompts(job), job.config.max_new_tokens, "cpu")
    return [answer.text for answer in found]
