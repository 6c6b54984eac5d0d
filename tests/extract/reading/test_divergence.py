"""Divergences against a slow reference in float64, and with padded or different vocabularies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.reading import BLOCK_ROWS, VocabularyMap, map_vocabularies
from extract.reading.divergence import REST_FLOOR, diverge
from fi_store.errors import ExtractionError


class Words:
    """A tokenizer reduced to its vocabulary."""

    def __init__(self, *words: str) -> None:
        self.words = {word: number for number, word in enumerate(words)}

    def get_vocab(self) -> dict[str, int]:
        return self.words


def plain(count: int) -> VocabularyMap:
    words = Words(*(f"w{number}" for number in range(count)))
    return map_vocabularies(words, words, count, count)


def logits(rows: int, count: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, count, generator=torch.Generator().manual_seed(seed)) * 3


@given(st.integers(1, BLOCK_ROWS + 5), st.integers(2, 50), st.integers(0, 1000))
@settings(max_examples=40)
def test_divergences_equal_a_slow_reference(rows: int, count: int, seed: int) -> None:
    base, target = logits(rows, count, seed), logits(rows, count, seed + 1)
    following = [(seed + row) % count if row % 3 else None for row in range(rows)]
    found = diverge(base, target, following, following, plain(count))
    for row in range(rows):
        log_b = np.asarray(base[row].double() - base[row].double().logsumexp(0))
        log_t = np.asarray(target[row].double() - target[row].double().logsumexp(0))
        promoted = np.exp(log_t) * (log_t - log_b)
        suppressed = np.exp(log_b) * (log_b - log_t)
        assert float(found.kl_target_base[row]) == pytest.approx(promoted.sum(), abs=1e-5)
        assert float(found.kl_base_target[row]) == pytest.approx(suppressed.sum(), abs=1e-5)
        assert bool(found.agree[row]) == (log_b.argmax() == log_t.argmax())
        assert found.promoted_kl.shape[1] == min(20, count)
        np.testing.assert_allclose(found.promoted_kl[row], np.sort(promoted)[::-1][:20], atol=1e-5)
        np.testing.assert_allclose(promoted[found.promoted_ids[row]], found.promoted_kl[row], atol=1e-5)
        np.testing.assert_allclose(suppressed[found.suppressed_ids[row]], found.suppressed_kl[row], atol=1e-5)
        if following[row] is None:
            assert math.isnan(float(found.logprob_base[row]))
        else:
            assert float(found.logprob_base[row]) == pytest.approx(log_b[following[row]], abs=1e-5)
            assert float(found.logprob_target[row]) == pytest.approx(log_t[following[row]], abs=1e-5)


def test_equal_logits_do_not_diverge() -> None:
    same = logits(5, 40, 0)
    found = diverge(same, same.clone(), [0] * 5, [0] * 5, plain(40))
    assert found.kl_target_base.tolist() == found.kl_base_target.tolist() == [0.0] * 5
    assert found.agree.all()


def test_swapping_the_models_swaps_every_column() -> None:
    base, target = logits(7, 40, 0), logits(7, 40, 1)
    there = diverge(base, target, [3] * 7, [3] * 7, plain(40))
    back = diverge(target, base, [3] * 7, [3] * 7, plain(40))
    assert torch.equal(there.kl_target_base, back.kl_base_target)
    assert torch.equal(there.logprob_base, back.logprob_target)
    assert torch.equal(there.promoted_ids, back.suppressed_ids)
    assert torch.equal(there.promoted_kl, back.suppressed_kl)
    assert torch.equal(there.agree, back.agree)


def test_padded_logits_are_left_out() -> None:
    words = Words("a", "b", "c")
    vocabulary = map_vocabularies(words, words, 5, 4)
    base, target = logits(4, 5, 0), logits(4, 4, 1)
    base[:, 3:], target[:, 3:] = 50.0, 60.0  # would take almost all of the probability
    found = diverge(base, target, [0] * 4, [0] * 4, vocabulary)
    wanted = diverge(base[:, :3], target[:, :3], [0] * 4, [0] * 4, plain(3))
    for left, right in zip(found, wanted, strict=True):
        assert torch.equal(left, right)


def test_tokens_are_matched_by_string_and_the_rest_is_one_bucket() -> None:
    base_words, target_words = Words("a", "b", "old", "older"), Words("new", "b", "a")
    vocabulary = map_vocabularies(base_words, target_words, 4, 3)
    assert vocabulary.base.shared.tolist() == [0, 1]
    assert vocabulary.target.shared.tolist() == [2, 1]
    base = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    target = torch.tensor([[0.5, 0.3, 0.2]]).log()
    found = diverge(base, target, [0], [2], vocabulary)
    p_b, p_t = np.array([0.1, 0.2, 0.7]), np.array([0.2, 0.3, 0.5])
    assert float(found.kl_target_base[0]) == pytest.approx((p_t * np.log(p_t / p_b)).sum(), abs=1e-6)
    assert float(found.kl_base_target[0]) == pytest.approx((p_b * np.log(p_b / p_t)).sum(), abs=1e-6)
    assert float(found.logprob_base[0]) == pytest.approx(np.log(0.1), abs=1e-6)
    assert float(found.logprob_target[0]) == pytest.approx(np.log(0.2), abs=1e-6)
    assert (float(found.rest_base[0]), float(found.rest_target[0])) == pytest.approx((0.7, 0.5), abs=1e-6)
    assert not found.agree[0]  # the most likely tokens are 'older' and 'new'
    assert set(found.promoted_ids[0].tolist()) == {0, 1}


def test_the_divergence_is_finite_if_only_one_model_has_a_rest() -> None:
    vocabulary = map_vocabularies(Words("a", "b"), Words("a", "b", "new"), 2, 3)
    base, target = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.25, 0.5]]).log()
    found = diverge(base, target, [None], [None], vocabulary)
    expected = 0.5 * math.log(0.25 / 0.5) + 0.5 * (math.log(0.5) - REST_FLOOR)
    assert float(found.kl_target_base[0]) == pytest.approx(expected, abs=1e-5)
    assert math.isfinite(float(found.kl_base_target[0]))


def test_bfloat16_logits_are_compared_in_float32() -> None:
    base, target = logits(3, 30, 0).bfloat16(), logits(3, 30, 1).bfloat16()
    found = diverge(base, target, [0] * 3, [0] * 3, plain(30))
    wanted = diverge(base.float(), target.float(), [0] * 3, [0] * 3, plain(30))
    assert torch.equal(found.kl_target_base, wanted.kl_target_base)
    torch.testing.assert_close(found.logprob_base, wanted.logprob_base)


def test_vocabularies_without_a_common_token_are_refused() -> None:
    with pytest.raises(ExtractionError, match="no token in common"):
        map_vocabularies(Words("a"), Words("b"), 1, 1)
