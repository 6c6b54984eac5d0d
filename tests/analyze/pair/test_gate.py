"""Gate 0: every mean by hand, the verdict's two bounds, swapped models, and the smallest detectable effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyze.pair import pair_gate, smallest_detectable
from analyze.pair.gate import PairBehavior, measure_behavior
from fi_store.errors import AnalysisError
from fi_store.store import Store
from fi_store.store.tables import PairGate
from tests.helpers import by_hand


def store_with(
    folder: Path, rows: list[dict[str, Any]], clusters: list[int], halves: list[str]
) -> tuple[Store, str]:
    store = by_hand.open_new(folder)
    run = by_hand.add_run(store, by_hand.model("a"), by_hand.model("b"), clusters, halves)
    by_hand.add_divergences(store, run, rows)
    return store, run


def prompt_rows(prompt: int, kl: float, better: float) -> list[dict[str, Any]]:
    """The base's text has two response tokens, the target's three; the target's KL doubles from token to token."""
    one = by_hand.divergence
    return [
        one(prompt, "base", "prompt", kl=(9, 9), agree=False),
        one(prompt, "base", "start", target=-9, kl=(kl, 3 * kl), agree=False),
        one(prompt, "base", "response", target=-1 - better, kl=(kl, kl)),
        one(prompt, "base", "response", kl=(9, 9), agree=False, last=True),
        one(prompt, "target", "response", target=-1 + better, kl=(2 * kl, 2 * kl), agree=False),
        one(prompt, "target", "response", target=-1 + 3 * better, kl=(4 * kl, 4 * kl)),
        one(prompt, "target", "response", kl=(9, 9), agree=False, last=True),
        one(prompt, "control", "start", kl=(9, 9), agree=False),
    ]


def test_the_means_by_hand(tmp_path: Path) -> None:
    levels = [1.0, 2.0, 3.0, 7.0]
    rows = [row for i, level in enumerate(levels) for row in prompt_rows(i, level, 0.1 * level)]
    store, run = store_with(tmp_path, rows, [0, 1, 2, 3], ["C", "C", "C", "D"])
    with store:
        found = measure_behavior(store, store.run(run), draws=300)
        gate = pair_gate(store, run)
        with store.session() as session:
            session.add(gate)
        stored = store.rows("select * from pair_gate")[0]
    # In multiples of kl: base's text has start (1 + 3) / 2 and 1; target's has start 2, 2 and 4. D does not count.
    per_prompt = np.array(levels[:3]) * (np.mean([2, 1]) + np.mean([2, 2, 4])) / 2
    assert float(found.kl_symmetric.estimate) == pytest.approx(per_prompt.mean())
    slack = 1e-12
    assert (
        per_prompt.min() - slack
        <= found.kl_symmetric.low
        < found.kl_symmetric.high
        <= per_prompt.max() + slack
    )
    assert float(found.agreement.estimate) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert float(found.agreement.low) == float(found.agreement.high)  # the same in every prompt
    # G: the target loses `better` on the base's text and gains the mean of 1 and 3 on its own
    assert float(found.gap.estimate) == pytest.approx(0.1 * 2.0 * (1 + 2) / 2)
    assert found.n_units == 3
    assert (stored["run_id"], stored["n_units"], stored["verdict"]) == (run, 3, "different")
    assert stored["gap"] == pytest.approx(0.3)
    assert stored["kl_low"] <= stored["kl_symmetric"] <= stored["kl_high"]


def test_swapped_models_give_the_same_gate(tmp_path: Path) -> None:
    rows = [row for i in range(5) for row in prompt_rows(i, 0.1 + i, 0.1 * i)]
    swapped = []
    for row in rows:
        other = dict(row)
        other["logprob_base"], other["logprob_target"] = row["logprob_target"], row["logprob_base"]
        other["kl_target_base"], other["kl_base_target"] = row["kl_base_target"], row["kl_target_base"]
        other["author"] = {"base": "target", "target": "base", "control": "control"}[row["author"]]
        swapped.append(other)
    gates: list[PairGate] = []
    for name, content in (("there", rows), ("back", swapped)):
        (tmp_path / name).mkdir()
        store, run = store_with(tmp_path / name, content, list(range(5)), ["C"] * 5)
        with store:
            gates.append(pair_gate(store, run))
    for name in ("gap", "gap_low", "gap_high", "kl_symmetric", "kl_low", "kl_high", "agreement"):
        assert getattr(gates[0], name) == pytest.approx(getattr(gates[1], name), abs=1e-12)


def test_with_an_empty_answer_the_other_text_counts_alone(tmp_path: Path) -> None:
    rows = [row for i in range(3) for row in prompt_rows(i, 1.0, 0.1) if (i, row["author"]) != (1, "target")]
    store, run = store_with(tmp_path, rows, [0, 1, 2], ["C"] * 3)
    with store:
        found = measure_behavior(store, store.run(run), draws=100)
    both, base_only = (1.5 + 8 / 3) / 2, 1.5
    assert float(found.kl_symmetric.estimate) == pytest.approx((2 * both + base_only) / 3)
    assert float(found.gap.estimate) == pytest.approx((2 * 0.15 + 0.1) / 3)


def behavior(tmp_path: Path, kl: list[float], disagree: int) -> PairBehavior:
    rows = []
    for prompt, level in enumerate(kl):
        rows.append(by_hand.divergence(prompt, "base", "start", kl=(level, level)))
        for number in range(10):
            agree = not (prompt < disagree and number == 0)
            rows.append(by_hand.divergence(prompt, "base", "response", kl=(level, level), agree=agree))
    store, run = store_with(tmp_path, rows, list(range(len(kl))), ["C"] * len(kl))
    with store:
        return measure_behavior(store, store.run(run), draws=500)


@pytest.mark.parametrize(
    ("kl", "disagree", "verdict"),
    [
        ([0.0] * 6, 0, "no_behavioral_difference"),
        ([0.01, 0.012, 0.009, 0.011, 0.01, 0.01], 2, "no_behavioral_difference"),
        ([0.021] * 6, 0, "different"),
        # The mean is 0.017, but the upper limit exceeds 0.02.
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.1], 0, "different"),
        ([0.01] * 6, 4, "different"),  # agreement 1 - 4/66
    ],
)
def test_the_verdict_needs_both_bounds(tmp_path: Path, kl: list[float], disagree: int, verdict: str) -> None:
    found = behavior(tmp_path, kl, disagree)
    assert found.verdict == verdict


def test_a_pair_of_equal_models_gives_zero_without_width(tmp_path: Path) -> None:
    found = behavior(tmp_path, [0.0] * 4, 0)
    for interval, value in ((found.gap, 0), (found.kl_symmetric, 0), (found.agreement, 1)):
        assert (float(interval.low), float(interval.estimate), float(interval.high)) == (value, value, value)


def test_refusals(tmp_path: Path) -> None:
    one_token = [
        row
        for i in range(3)
        for row in (
            by_hand.divergence(i, "base", "start"),
            by_hand.divergence(i, "base", "response", last=True),
        )
    ]
    cases = [
        (prompt_rows(0, 1, 1), [0, 1], "fewer than two families"),
        (prompt_rows(0, 1, 1) + prompt_rows(1, 1, 1), [4, 4], "fewer than two families"),
        (one_token, [0, 1, 2], "answers of two tokens or more in fewer"),
    ]
    for number, (rows, clusters, part) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        store, run = store_with(folder, rows, clusters, ["C"] * len(clusters))
        with store, pytest.raises(AnalysisError, match=part):
            pair_gate(store, run)


def test_smallest_detectable_effect() -> None:
    """The figures of the method, then the claim itself by simulation.

    A Bonferroni z test at n = 255, K = 30 on data with exactly that mean: power 0.80 with SE 0.009 over 2,000 data
    sets, and slightly lower for the t test's wider tails: 0.76 to 0.84 is at least 4 SE on either side.
    """
    assert smallest_detectable(36, 30) == pytest.approx(0.66, abs=0.005)
    assert smallest_detectable(255, 30) == pytest.approx(0.25, abs=0.005)
    effect = smallest_detectable(255, 30)
    data = np.random.default_rng(0).normal(effect, 1, size=(2000, 255))
    statistic = data.mean(axis=1) / data.std(axis=1, ddof=1) * np.sqrt(255)
    assert 0.76 <= np.mean(statistic > 3.1437) <= 0.84  # z(1 - 0.05 / 60)
    for wrong in ((0, 1, 0.05, 0.8), (9, 0, 0.05, 0.8), (9, 1, 0.0, 0.8), (9, 1, 0.05, 1.0)):
        with pytest.raises(AnalysisError, match="detectable"):
            smallest_detectable(*wrong)
