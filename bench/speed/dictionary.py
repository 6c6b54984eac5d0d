"""Races our BatchTopK trainer against dictionary-learning's: step times, and explained variance after equal steps.

All trainers see the same batches in the same order. Each round takes a few steps of every
trainer in turn, and the median over rounds of the ratio of step times is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from analyze.fit import FitOptions
from analyze.fit.training import RowSource, Trainer
from bench.results import Figure, PartResult
from bench.speed import activations, peer

GOALS = {"float32": 1.5, "bfloat16": 4.0}
"""How many times as fast as the peer (which uses float32) each of our precisions should be."""
TOLERANCE = 0.005
HELD_OUT = 4096
EPOCH_SEED = 2
NAMES = {"float32": "equal precision", "bfloat16": "as shipped"}


@dataclass(frozen=True)
class Size:
    """How much is run."""

    d: int = 576
    latents: int = 4608
    k: int = 32
    batch: int = 2048
    rounds: int = 8
    steps: int = 30  # per round
    rows: int = 24_576
    directions: int = 4096


QUICK = Size(d=64, latents=256, k=8, batch=256, rounds=2, steps=5, rows=6144, directions=256)


@dataclass
class Contender:
    """A trainer with its step times."""

    step: Callable[[int, torch.Tensor], object]
    parameters: Callable[[], tuple[torch.Tensor, ...]]
    scale: float = 1.0  # the rows are multiplied by it for this trainer
    rounds: list[float] = field(default_factory=list)  # median seconds of a step, one per round


def ours(mean: torch.Tensor, dtype: torch.dtype, size: Size) -> Contender:
    """Our trainer, on batches that it is given."""
    batches: list[torch.Tensor] = []
    source = RowSource(size.rows, mean, lambda _picked: batches[-1], dtype)
    steps = size.rounds * size.steps
    options = FitOptions("none", 0, size.latents, size.k, steps, size.batch, seed=0)
    trainer = Trainer(source, options)

    def step(number: int, x: torch.Tensor) -> None:
        batches[:] = [x]
        trainer.step(number)

    return Contender(step, lambda: trainer.parameters)


def theirs(size: Size) -> Contender:
    """The peer's trainer, on rows of mean squared norm 1, as in its own training script."""
    trainer = peer.make_trainer(size.d, size.latents, size.k, size.rounds * size.steps)
    return Contender(trainer.update, lambda: peer.parameters(trainer), scale=size.d**-0.5)


def race(rows: torch.Tensor, size: Size) -> dict[str, Any]:
    """Trains all contenders in turn on the same batches; returns seconds per step by round and explained variance."""
    train, held_out = rows[:-HELD_OUT], rows[-HELD_OUT:]
    random = torch.Generator().manual_seed(EPOCH_SEED)
    contenders = {name: ours(train.mean(0), getattr(torch, name), size) for name in GOALS}
    if peer.installed():
        contenders["peer"] = theirs(size)
    for number in range(size.rounds):
        picks = [torch.randint(len(train), (size.batch,), generator=random) for _ in range(size.steps)]
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            seconds = []
            for index, picked in enumerate(picks):
                x = train[picked] * contenders[name].scale
                started = time.perf_counter()
                contenders[name].step(number * size.steps + index, x)
                seconds.append(time.perf_counter() - started)
            contenders[name].rounds.append(median(seconds))
    explained = {
        name: explained_variance(contender.parameters(), held_out * contender.scale, size.k)
        for name, contender in contenders.items()
    }
    return {
        "seconds": {name: contender.rounds for name, contender in contenders.items()},
        "explained": explained,
    }


def explained_variance(parameters: tuple[torch.Tensor, ...], x: torch.Tensor, k: int) -> float:
    """1 - residual / total variance in float32 with the k * n largest codes of the n rows, the same for everyone."""
    w_enc, b_enc, w_dec, b_dec = parameters
    codes = ((x - b_dec) @ w_enc + b_enc).relu()
    smallest = codes.flatten().topk(k * len(x), sorted=False).values.min()
    residual = x - torch.where(codes >= smallest, codes, 0) @ w_dec - b_dec
    return float(1 - residual.square().sum() / (x - x.mean(0)).square().sum())


def figures(data: str, found: dict[str, Any], *, judged: bool) -> list[Figure]:
    """The figures of a race against the goals; without the peer, only our own step times."""
    seconds, explained = found["seconds"], found["explained"]
    made = [
        Figure(
            f"{data}: milliseconds a step, {name}",
            1e3 * median(values),
            "ms",
            "",
            None,
            f"{found['threads']} threads; explained variance {explained[name]:.4f}",
        )
        for name, values in seconds.items()
    ]
    for name, goal in GOALS.items() if "peer" in seconds else ():
        ratios = [theirs / own for theirs, own in zip(seconds["peer"], seconds[name], strict=True)]
        gain = explained[name] - explained["peer"]
        made.append(
            Figure(
                f"{data}: speed against dictionary-learning, {NAMES[name]}",
                median(ratios),
                "times",
                f">= {goal}",
                median(ratios) >= goal if judged else None,
                f"ours in {name}; rounds {min(ratios):.2f} to {max(ratios):.2f}",
            )
        )
        made.append(
            Figure(
                f"{data}: explained variance minus dictionary-learning's, {NAMES[name]}",
                gain,
                "",
                f">= -{TOLERANCE}",
                gain >= -TOLERANCE if judged else None,
                f"ours {explained[name]:.4f}, theirs {explained['peer']:.4f} after {found['steps']} steps",
            )
        )
    return made


def measure(*, quick: bool) -> PartResult:
    """The figures of both races."""
    size = QUICK if quick else Size()
    if not peer.installed():
        print(f"dictionary-learning is not installed, so its rows are left out. To install it: {peer.HOW}")
    sets = {"planted": activations.planted(size.rows, size.d, directions=size.directions)}
    if not quick:
        sets["SmolLM2-135M"] = activations.real(size.rows)
    raw: dict[str, Any] = {}
    made: list[Figure] = []
    for data, rows in sets.items():
        found = race(rows, size)
        found |= {"threads": torch.get_num_threads(), "steps": size.rounds * size.steps}
        raw[data] = found
        made += figures(data, found, judged=not quick)
    return PartResult(made, raw)
