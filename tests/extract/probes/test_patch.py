"""Patched readings of a run's answers, against whole texts read by hand, and against identities."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from fi_store.store import Store
from fi_store.vocabulary import SIDES, Side
from tests.extract.probes.asking import (
    ByHand,
    add_arm,
    ask,
    ingested_answers,
    readings,
    rows_of,
    shard,
    states,
)
from tests.helpers.tiny import TinyModels

PAIRS = {"adapter": ("llama", "adapter"), "two tokenizers": ("qwen2_base", "qwen2_target")}
WIDTH = 32
CLASSES = {
    "prompt": ("prompt",),
    "start": ("start",),
    "response": ("response",),
    "all": ("prompt", "start", "response"),
}


@pytest.fixture(scope="module", params=PAIRS)
def run(
    request: pytest.FixtureRequest, tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, str, ByHand]]:
    base, target = (getattr(tiny_models, name) for name in PAIRS[request.param])
    with pytest.MonkeyPatch.context() as patch:
        store, run_id = ingested_answers(
            tmp_path_factory.mktemp("patches"), base, target, patch, sites=("resid_post", "attn_out")
        )
    yield store, run_id, ByHand(store, run_id)
    store.close()


def clean(store: Store, side: str) -> dict[tuple[str, str], dict[str, object]]:
    rows = store.rows("SELECT * FROM answer_logprob WHERE reader = $side", side=side)
    return {(row["prompt_id"], row["author"]): row for row in rows}


def test_without_an_arm_readings_are_those_of_the_extraction(run: tuple[Store, str, ByHand]) -> None:
    store, run_id, hand = run
    for side in SIDES:
        ask(store, run_id, f"clean {side}", side, None, hand.prompt_ids)
    assert hand.prober.answer() == (2, 0)
    for side in SIDES:
        found, stored = readings(store, f"clean {side}"), clean(store, side)
        assert found.keys() == stored.keys()
        for key, row in found.items():
            assert row["token_logprobs"] == pytest.approx(stored[key]["token_logprobs"], abs=1e-4)
            assert row["logprob"] == pytest.approx(sum(row["token_logprobs"]), abs=1e-4)
            assert row["n_tokens"] == stored[key]["n_tokens"] == len(row["token_logprobs"])
            assert (row["side"], row["pushed_ids"], row["pulled_nats"]) == (side, [], [])


def test_stored_tokens_are_those_of_the_answers(run: tuple[Store, str, ByHand]) -> None:
    store, _, hand = run
    texts = {(row["prompt_id"], row["author"]): row for row in store.rows("SELECT * FROM generation")}
    for side in SIDES:
        for key, row in clean(store, side).items():
            ends = row["token_ends"]
            assert isinstance(ends, list)
            assert len(ends) == row["n_tokens"] == len(row["token_logprobs"])  # type: ignore[arg-type]
            assert ends == sorted(ends)
            text = hand.sequences[key].sides[side]
            tokens = len(text.ids) - text.n_prompt
            assert ends[tokens:] in ([], [len(texts[key]["text"])])
            tokenizer = hand.job.tokenizers.base if side == "base" else hand.job.tokenizers.target
            for at, end in enumerate(ends[:tokens], text.n_prompt + 1):
                assert tokenizer.decode(text.ids[text.n_prompt : at]) == texts[key]["text"][:end]


@pytest.mark.parametrize("site", ["resid_post", "attn_out"])
@pytest.mark.parametrize("classes", CLASSES)
def test_patches_do_what_a_hook_on_the_whole_text_does(
    run: tuple[Store, str, ByHand], classes: str, site: str
) -> None:
    store, run_id, hand = run
    rows = rows_of(store, run_id, CLASSES[classes])
    directions = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1))
    coefficients = torch.randn(len(rows), 2, generator=torch.Generator().manual_seed(2))
    for layer in (0, 1):
        arm = f"{classes} {site} {layer}"
        add_arm(
            store,
            run_id,
            arm,
            layer,
            rows,
            coefficients,
            site=site,
            classes=CLASSES[classes],
            directions=directions,
        )
        for side in SIDES:
            ask(store, run_id, f"{arm} {side}", side, arm, hand.prompt_ids)
    assert hand.prober.answer() == (4, 0)
    vectors, moved = coefficients @ directions, 0.0
    for layer in (0, 1):
        for side in SIDES:
            stored = clean(store, side)
            for (prompt_id, author), row in readings(store, f"{classes} {site} {layer} {side}").items():
                expected = hand.patched(side, site, layer, rows, vectors, prompt_id, author)
                found = torch.tensor(row["token_logprobs"])
                torch.testing.assert_close(found[: len(expected)], expected, rtol=1e-3, atol=1e-3)
                before = torch.tensor(stored[prompt_id, author]["token_logprobs"])
                moved = max(moved, float((found - before).abs().max()))
    assert moved > 0.1


@pytest.mark.parametrize("run", ["adapter"], indirect=True)
def test_without_the_whole_difference_the_target_reads_as_the_base(
    run: tuple[Store, str, ByHand],
) -> None:
    """The adapter leaves the norm and the head as they are, so the last layer decides everything."""
    store, run_id, hand = run
    rows = rows_of(store, run_id, ("start", "response"))
    sides = [shard(store, run_id, side, "resid_post", 1)[rows] for side in SIDES]
    add_arm(store, run_id, "whole", 1, rows, sides[1] - sides[0], classes=("start", "response"))
    for side in SIDES:
        ask(store, run_id, f"whole {side}", side, "whole", hand.prompt_ids, words=True)
    assert hand.prober.answer() == (2, 0)
    for side, other in (SIDES, SIDES[::-1]):
        stored = clean(store, other)
        for key, row in readings(store, f"whole {side}").items():
            assert row["token_logprobs"] == pytest.approx(stored[key]["token_logprobs"], abs=1e-3)
    # So A of the patched target is -A of the base.
    lengths = {key: row["n_tokens"] for key, row in clean(store, "base").items()}
    read = readings(store, "whole target")
    for gap in store.rows("SELECT * FROM answer_gap"):
        own, others = (
            read[gap["prompt_id"], author]["logprob"] / lengths[gap["prompt_id"], author]
            for author in ("target", "base")
        )
        assert (own - others) / 2 == pytest.approx(-gap["gap_base"], abs=1e-3)


def test_pushed_tokens_sum_up_what_the_patch_does_to_predictions(run: tuple[Store, str, ByHand]) -> None:
    store, run_id, hand = run
    rows = rows_of(store, run_id, ("start",))
    values = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(5))
    add_arm(store, run_id, "words", 1, rows, values)
    for side in SIDES:
        ask(store, run_id, f"words {side}", side, "words", hand.prompt_ids, words=True)
    assert hand.prober.answer() == (2, 0)
    known = {row["token_id"] for row in store.rows("SELECT token_id FROM run_token")}
    for side in SIDES:
        own = (hand.job.vocabulary.base if side == "base" else hand.job.vocabulary.target).shared
        for (prompt_id, author), row in readings(store, f"words {side}").items():
            text = hand.sequences[prompt_id, author].sides[side]
            before, after = _next_tokens(hand, side, prompt_id, author, rows, values)
            terms = (before.exp() * (before - after))[own]  # nothing else is patched but the start
            up = terms.topk(50)
            assert row["pushed_nats"] == sorted(row["pushed_nats"], reverse=True)
            assert row["pulled_nats"] == sorted(row["pulled_nats"])
            assert all(value > 0 for value in row["pushed_nats"])
            assert all(value < 0 for value in row["pulled_nats"])
            shared = hand.job.vocabulary.base.shared
            if len(text.ids) == text.n_prompt:  # an empty answer counts the start only
                assert row["pushed_nats"][:5] == pytest.approx(up.values[:5].tolist(), abs=1e-4)
                assert row["pushed_ids"][0] == int(shared[up.indices[0]])
            assert known >= {*row["pushed_ids"], *row["pulled_ids"]}


def _next_tokens(
    hand: ByHand, side: Side, prompt_id: str, author: str, rows: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(V,) log-probabilities of what follows the start, without and with the patch."""
    text = hand.sequences[prompt_id, author].sides[side]
    where = hand.positions(prompt_id, author, side)
    ids = text.ids[: text.n_prompt]
    sign = -1 if side == "target" else 1

    def change(hidden: torch.Tensor) -> torch.Tensor:
        changed = hidden.clone()
        for row, vector in zip(rows.tolist(), values, strict=True):
            if row in where:
                changed[0, where[row]] += sign * vector
        return changed

    before = hand.logits(side, ids)
    with hand.hooked(side, "resid_post", 1, change):
        after = hand.logits(side, ids)
    return hand.log_softmax(side, before)[-1], hand.log_softmax(side, after)[-1]


def test_all_requests_are_answered(run: tuple[Store, str, ByHand]) -> None:
    store, run_id, hand = run
    assert set(states(store, run_id).values()) == {"answered"}
    assert hand.prober.answer() == (0, 0)
