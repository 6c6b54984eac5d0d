"""Shams: the spectrum of the difference without its content, scaled to the pair, gone without a trace afterwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extract.job import prepare
from extract.models import LoadedPair
from extract.reading import read_alone
from extract.shams.sham import (
    AIM,
    TOLERANCE,
    Sham,
    ShamError,
    bisect,
    built_sham,
    calibrate,
    measure_pair,
    relative_difference,
    why_no_sham,
)
from extract.shams.shuffle import Shuffle
from extract.texts import ReadSequence, build_sequences, canonical_first
from fi_store.config import RunConfig
from tests.helpers.small_runs import loaded, small_suite
from tests.helpers.tiny import TinyModels

SITES = ("resid_post",)


def sequences_for(pair: LoadedPair) -> list[ReadSequence]:
    suite = small_suite(3)
    job = prepare(pair, RunConfig(base_model="a", target_model="b"), suite)
    answers = {(prompt.id, side): "It is seven." for prompt in suite.prompts for side in ("base", "target")}
    return build_sequences("run", suite.prompts, answers, job.rendering, job.tokenizers, job.first)


@given(st.integers(0, 50), st.integers(0, 3))
def test_shuffling_keeps_the_spectrum_and_moves_everything_else(seed: int, number: int) -> None:
    delta = torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    shuffle = Shuffle(seed, number)
    moved = shuffle("layer.weight", delta)
    torch.testing.assert_close(torch.linalg.svdvals(moved), torch.linalg.svdvals(delta))
    assert torch.equal(moved, shuffle("layer.weight", delta))
    # Another name, number or seed draws other signs and orders: equal with odds of at most 1 in 6! 9! 2^13.
    assert not torch.equal(moved, shuffle("other.weight", delta))
    assert not torch.equal(moved, Shuffle(seed, number + 1)("layer.weight", delta))
    assert not torch.equal(moved, Shuffle(seed + 1, number)("layer.weight", delta))


def test_shuffling_factors_is_shuffling_their_product() -> None:
    b, a = torch.randn(6, 2), torch.randn(2, 9)
    shuffle = Shuffle(0, 0)
    torch.testing.assert_close(
        shuffle.along("m", "rows", b, 0) @ shuffle.along("m", "columns", a, 1), shuffle("m", b @ a)
    )


PAIRS = {
    "plain and adapter": ("llama", "adapter"),
    "adapter and plain": ("adapter", "llama"),
    "two adapters": ("adapter", "adapter_second"),
    "two full models": ("llama", "llama_other"),
    "padded vocabularies": ("qwen2_base", "qwen2_target"),
}


@pytest.mark.parametrize("names", PAIRS.values(), ids=PAIRS.keys())
def test_a_sham_moves_as_far_as_the_pair_and_leaves_nothing(
    tiny_models: TinyModels, names: tuple[str, str]
) -> None:
    pair = loaded(getattr(tiny_models, names[0]), getattr(tiny_models, names[1]))
    assert why_no_sham(pair) is None
    sequences = sequences_for(pair)
    first = canonical_first(pair)
    before = {
        side: read_alone(getattr(pair, side), side, sequences, SITES, "cpu") for side in ("base", "target")
    }
    modules = {name for name, _ in pair.base.model.named_modules()}
    with built_sham(pair, seed=0, number=0) as sham:
        found = calibrate(sham, measure_pair(pair, sequences))
        moved = read_alone(sham.reader, first, sequences, SITES, "cpu")
        other = "target" if first == "base" else "base"
        assert found.pair == pytest.approx(relative_difference(before[first], before[other]), rel=1e-4)
        assert relative_difference(before[first], moved) == pytest.approx(found.pair, rel=TOLERANCE)
        assert found.sham == pytest.approx(relative_difference(before[first], moved), rel=1e-4)
        sham.set_scale(0.0)  # nothing left of the difference: the anchor itself
        still = read_alone(sham.reader, first, sequences, SITES, "cpu")
        assert relative_difference(before[first], still) < 1e-5
    assert {name for name, _ in pair.base.model.named_modules()} == modules
    for side in ("base", "target"):
        after = read_alone(getattr(pair, side), side, sequences, SITES, "cpu")
        assert all(torch.equal(rows, after[key]) for key, rows in before[side].items())


@pytest.mark.parametrize(
    "names", [("llama", "adapter"), ("adapter", "adapter_second"), ("llama", "llama_other")]
)
def test_a_sham_does_not_depend_on_which_model_is_called_base(
    tiny_models: TinyModels, names: tuple[str, str]
) -> None:
    readings = []
    for left, right in (names, names[::-1]):
        pair = loaded(getattr(tiny_models, left), getattr(tiny_models, right))
        with built_sham(pair, seed=3, number=1) as sham:
            readings.append(read_alone(sham.reader, canonical_first(pair), sequences_for(pair), SITES, "cpu"))
    assert all(torch.equal(rows, readings[1][key]) for key, rows in readings[0].items())


def test_pairs_that_can_have_no_sham_say_why(tiny_models: TinyModels) -> None:
    assert why_no_sham(loaded(tiny_models.llama, tiny_models.llama)) == "the models are the same"
    assert why_no_sham(loaded(tiny_models.llama, tiny_models.llama_wide)) == "the architectures differ"
    assert why_no_sham(loaded(tiny_models.llama, tiny_models.qwen2_base)) == "the architectures differ"
    quantized = loaded(tiny_models.llama, tiny_models.llama_other)
    quantized.quantization = "int8"
    assert "int8" in str(why_no_sham(quantized))


def test_a_pair_that_does_not_move_cannot_be_matched(tiny_models: TinyModels) -> None:
    pair = loaded(tiny_models.llama, tiny_models.adapter)
    with torch.no_grad():
        for name, weight in pair.target.model.named_parameters():
            if "lora_B" in name:
                weight.zero_()
    with pytest.raises(ShamError, match="equal"):
        measure_pair(pair, sequences_for(pair))


def test_the_next_sham_starts_at_the_scale_of_the_one_before(tiny_models: TinyModels) -> None:
    pair = loaded(tiny_models.llama, tiny_models.llama_other)
    yardstick = measure_pair(pair, sequences_for(pair))
    tried: list[float] = []
    with built_sham(pair, 0, 0) as sham:
        noted = Sham(sham.reader, lambda scale: (tried.append(scale), sham.set_scale(scale))[1])
        found = calibrate(noted, yardstick)
        first = tried.copy()
        tried.clear()
        assert calibrate(noted, yardstick, found.scale) == found
    assert first[0] == 1.0
    assert tried[0] == found.scale
    assert len(tried) == 2  # one trial, and set for good


@given(st.floats(1e-3, 1e3), st.floats(0.3, 3.0), st.floats(0.01, 0.5), st.floats(1e-3, 1e3))
def test_bisection_reaches_any_growing_curve(unit: float, power: float, goal: float, start: float) -> None:
    def reached(scale: float) -> float:
        return min(2.0, (scale / unit) ** power) if scale < 1e3 * unit else float("inf")

    _, found = bisect(reached, goal, start)
    assert abs(found / goal - 1) <= AIM
