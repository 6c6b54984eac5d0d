"""The planted world is as described, and its measurement runs and adds up; what it finds is not judged here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.planted import synthetic
from bench.planted.world import make_world
from bench.speed import dictionary as speed


def test_the_world_is_as_described() -> None:
    world = make_world(0, 0.10, d=32, n=64)
    assert [world.owner.count(side) for side in ("base", "target")] == [3, 3]
    assert (float(world.rates.max()), float(world.rates.min())) == pytest.approx((0.10, 0.003), rel=1e-3)
    base, target = world.rows(20_000, torch.Generator().manual_seed(1))
    assert base.shape == target.shape == (20_000, 32)
    # Shared directions cancel in the difference: both models' noise (20 dB) and the specific directions remain.
    share = float((target - base).var() / base.var())
    assert 2 * 0.01 < share < 2 * 0.01 + 0.5
    again, _ = make_world(0, 0.10, d=32, n=64).rows(20_000, torch.Generator().manual_seed(1))
    assert torch.equal(base, again)


def test_the_quick_form_counts_every_planted_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = dict.fromkeys(synthetic.KINDS, 30)
    monkeypatch.setattr(synthetic, "QUICK", replace(synthetic.QUICK, steps=steps, units=(30, 20)))
    found = synthetic.run(quick=True, work=tmp_path)
    for kind in synthetic.KINDS:
        (trial,) = found.raw[f"{kind}, 10% specific"]
        assert len(trial["planted"]) == 6
        assert 0 <= trial["recovered"] <= 1
        assert sum(one["hit"] for one in trial["planted"]) <= sum(call["true"] for call in trial["calls"])
    assert len(found.figures) == len(synthetic.KINDS) * 5
    assert all(figure.ok is None for figure in found.figures)
    # A second call reads the results of the first.
    monkeypatch.setattr(synthetic, "trial", lambda *_: pytest.fail("made again"))
    assert synthetic.run(quick=True, work=tmp_path) == found


def test_a_race_without_the_peer_still_gives_our_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed.peer, "installed", lambda: False)
    rows = torch.randn(speed.HELD_OUT + 500, 16, generator=torch.Generator().manual_seed(0))
    found = speed.race(rows, speed.Size(d=16, latents=32, k=4, batch=64, rounds=2, steps=3))
    found |= {"threads": 1, "steps": 6}
    figures = speed.figures("some", found, judged=False)
    assert [figure.name for figure in figures] == [
        "some: milliseconds a step, float32",
        "some: milliseconds a step, bfloat16",
    ]
