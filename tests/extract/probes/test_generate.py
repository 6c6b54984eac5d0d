"""Answers under a patch, against a loop that reads the whole text again for every token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from extract.models import Reader, Ways
from extract.probes import generate
from extract.probes.generate import CLASSES
from fi_store.dictionaries import DictionaryConfig, PairedSae
from fi_store.store import Store, arm_path
from fi_store.vocabulary import SIDES, Side
from tests.extract.probes.asking import ByHand, add_arm, ask, rows_of, states
from tests.helpers.small_runs import ingested, small_config, small_suite
from tests.helpers.tiny import TinyModels

WIDTH, LENGTH, LATENTS = 32, 8, torch.tensor([1, 5, 20])


@pytest.fixture(scope="module")
def run(
    tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, str, ByHand]]:
    config = small_config(tiny_models.llama, tiny_models.llama_other, max_new_tokens=LENGTH)
    store, run_id = ingested(tmp_path_factory.mktemp("answers"), config, small_suite(5))
    dictionary().save(store.folder / "features" / "dictionary")
    yield store, run_id, ByHand(store, run_id)
    store.close()


def dictionary() -> PairedSae:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(24, WIDTH, generator=generator), dim=1)
    config = DictionaryConfig(
        "paired_sae", "resid_post", 0, WIDTH, WIDTH, 24, 24, 0, 1, 1.0, (1.0, 1.0), 0.0, 10
    )
    latents, components = (24,), (WIDTH,)
    return PairedSae(
        config,
        directions,
        directions.T.contiguous(),
        torch.zeros(latents),
        torch.zeros(components),
        torch.zeros(latents),
    )


def answers(store: Store, request_id: str) -> dict[str, dict[str, object]]:
    rows = store.rows("SELECT * FROM patched_answer WHERE request_id = $id", id=request_id)
    return {row["prompt_id"]: row for row in rows}


class Loop:
    """Greedy answers of a patched model, each token from passes over whole texts."""

    def __init__(
        self, hand: ByHand, side: Side, rows: Tensor, vectors: Tensor, *, control: Tensor | None
    ) -> None:
        self.hand, self.side, self.rows, self.vectors, self.control = hand, side, rows, vectors, control
        self.other: Side = "base" if side == "target" else "target"
        self.dictionary = dictionary()

    def answer(self, prompt_id: str, *, live: bool) -> list[int]:
        hand, side = self.hand, self.side
        sequence = hand.sequences[prompt_id, hand.job.first]
        at_row = hand.positions(prompt_id, hand.job.first, side)
        text = sequence.sides[side]
        ids = list(text.ids[: text.n_prompt])
        ends = {hand.reader(side).tokenizer.eos_token_id}
        sign = -1 if side == "target" else 1
        for _ in range(LENGTH):
            beside = hand.activations(self.other, "resid_post", 0, ids) if live else None

            def change(hidden: Tensor, beside: Tensor | None = beside) -> Tensor:
                changed = hidden.clone()
                for row, vector in zip(self.rows.tolist(), self.vectors, strict=True):
                    if row in at_row and at_row[row] < text.n_prompt:
                        changed[0, at_row[row]] += sign * vector
                if beside is not None:
                    for at in range(text.n_prompt, hidden.shape[1]):
                        changed[0, at] += sign * self.difference(hidden[0, at], beside[at])
                return changed

            with hand.hooked(side, "resid_post", 0, change):
                token = int(hand.logits(side, ids)[-1].argmax())
            if token in ends:
                break
            ids.append(token)
        return ids[text.n_prompt :]

    def difference(self, own: Tensor, other: Tensor) -> Tensor:
        by_side = {self.side: own[None], self.other: other[None]}
        first = self.hand.job.first
        second = "base" if first == "target" else "target"
        encoded = self.dictionary.encode_pair(
            (by_side[first], by_side[second]), torch.tensor([CLASSES.index("response")])
        )
        activity = {first: encoded.activity[0], second: encoded.activity[1]}
        delta = ((activity["target"] - activity["base"])[0, LATENTS]) @ self.dictionary.w_dec[LATENTS]
        return delta if self.control is None else -delta.norm() * self.control

    def check(self, store: Store, request_id: str, *, live: bool) -> None:
        tokenizer = self.hand.reader(self.side).tokenizer
        found = answers(store, request_id)
        assert found.keys() == set(self.hand.prompt_ids)
        for prompt_id, row in found.items():
            tokens = self.answer(prompt_id, live=live)
            text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            assert row["n_tokens"] == len(tokens)
            assert row["finished"] == (len(tokens) < LENGTH)
            assert row["text"] == (text if row["finished"] else text.rstrip("\ufffd"))
            assert row["side"] == self.side


@pytest.mark.parametrize("side", SIDES)
def test_without_an_arm_answers_are_those_of_the_run(run: tuple[Store, str, ByHand], side: Side) -> None:
    store, run_id, hand = run
    ask(store, run_id, f"clean {side}", side, None, hand.prompt_ids, kind="generate")
    assert hand.prober.answer() == (1, 0)
    stored = store.rows("SELECT * FROM generation WHERE author = $side", side=side)
    found = answers(store, f"clean {side}")
    for row in stored:
        for name in ("text", "n_tokens", "finished"):
            assert found[row["prompt_id"]][name] == row[name]


@pytest.mark.parametrize("side", SIDES)
def test_a_patch_of_the_prompt_is_done_while_it_is_read(run: tuple[Store, str, ByHand], side: Side) -> None:
    store, run_id, hand = run
    rows = rows_of(store, run_id, ("prompt", "start"))
    vectors = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(3))
    arm = f"known {side}"
    add_arm(store, run_id, arm, 0, rows, vectors, classes=("prompt", "start"))
    ask(store, run_id, arm, side, arm, hand.prompt_ids, kind="generate")
    assert hand.prober.answer() == (1, 0)
    Loop(hand, side, rows, vectors, control=None).check(store, arm, live=False)
    clean = {
        row["prompt_id"]: row["text"]
        for row in store.rows("SELECT * FROM generation WHERE author = $s", s=side)
    }
    assert any(row["text"] != clean[prompt_id] for prompt_id, row in answers(store, arm).items())


@pytest.mark.parametrize(("side", "alone"), [("base", False), ("target", False), ("target", True)])
def test_in_the_answer_both_models_read_on_side_by_side(
    run: tuple[Store, str, ByHand], side: Side, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One prompt at a time if the model that reads beside cannot be read otherwise."""
    store, run_id, hand = run
    if alone:
        monkeypatch.setattr(hand.prober._job.pair.base, "ways", Ways(shared=False, answered_together=False))
    sizes: list[int] = []
    real = generate.Decoding

    def decoding(reader: Reader, prompts: Sequence[Sequence[int]], *rest: Any, **named: Any) -> Any:
        sizes.append(len(prompts))
        return real(reader, prompts, *rest, **named)

    monkeypatch.setattr(generate, "Decoding", decoding)
    rows = rows_of(store, run_id, ("start", "response"))
    directions = dictionary().w_dec[LATENTS]
    coefficients = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(4))
    about = {"dictionary": "features/dictionary", "side_first": hand.job.first}
    arm, control = f"live {side} {alone}", f"control {side} {alone}"
    classes = ("start", "response")
    add_arm(
        store, run_id, arm, 0, rows, coefficients, classes=classes, directions=directions, latents=LATENTS,
        metadata=about,
    )  # fmt: skip
    direction = torch.nn.functional.normalize(torch.ones(1, WIDTH), dim=1)
    like = {"like": arm_path(run_id, arm), "sign": "-1"}
    add_arm(
        store, run_id, control, 0, rows, coefficients[:, :1], classes=classes, directions=direction, metadata=like
    )  # fmt: skip
    for each in (arm, control):
        ask(store, run_id, each, side, each, hand.prompt_ids, kind="generate")
    assert hand.prober.answer() == (2, 0)
    assert set(sizes) == {1 if alone else 5}
    Loop(hand, side, rows, coefficients @ directions, control=None).check(store, arm, live=True)
    Loop(hand, side, rows, coefficients[:, :1] @ direction, control=direction[0]).check(
        store, control, live=True
    )
    assert {row["text"] for row in answers(store, arm).values()} != {
        row["text"] for row in answers(store, control).values()
    }


def test_an_arm_that_cannot_go_on_fails_by_itself(run: tuple[Store, str, ByHand]) -> None:
    store, run_id, hand = run
    rows = rows_of(store, run_id, ("response",))
    add_arm(store, run_id, "mute", 0, rows, torch.zeros(len(rows), WIDTH), classes=("response",))
    huge = torch.full((5, 1), 1e30)
    add_arm(
        store,
        run_id,
        "broken",
        0,
        rows_of(store, run_id, ("start",)),
        huge,
        directions=huge[:1].expand(1, WIDTH),
    )
    for arm in ("mute", "broken"):
        ask(store, run_id, arm, "target", arm, hand.prompt_ids, kind="generate")
    ask(store, run_id, "again", "target", None, hand.prompt_ids, kind="generate")
    assert hand.prober.answer() == (1, 2)
    reasons = {row["id"]: row["reason"] for row in store.rows("SELECT id, reason FROM probe_request")}
    assert "does not tell how it goes on" in reasons["mute"]
    assert "not finite" in reasons["broken"]
    assert states(store, run_id)["again"] == "answered"


def test_a_patch_of_thoughts_is_made_while_the_model_thinks_and_one_of_answers_is_not(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    """The template opens the thought, and these models never close it."""
    template = tmp_path / "opened.jinja"
    turn = "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    opened = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    template.write_text(f"{{% for message in messages %}}{turn}{{% endfor %}}{opened}", encoding="utf-8")
    config = small_config(
        tiny_models.llama, tiny_models.llama_other, max_new_tokens=LENGTH, chat_template=str(template)
    )
    store, run_id = ingested(tmp_path, config, small_suite(3))
    with store:
        dictionary().save(store.folder / "features" / "dictionary")
        hand = ByHand(store, run_id)
        rows = rows_of(store, run_id, ("thinking",))
        assert len(rows) > 0
        about = {"dictionary": "features/dictionary", "side_first": hand.job.first}
        for name in ("thinking", "response"):
            coefficients, directions = torch.zeros(len(rows), 3), dictionary().w_dec[LATENTS]
            arm = (0, rows, coefficients)
            add_arm(
                store,
                run_id,
                name,
                *arm,
                classes=(name,),
                directions=directions,
                latents=LATENTS,
                metadata=about,
            )
        for name in ("thinking", "response", None):
            ask(store, run_id, str(name), "target", name, hand.prompt_ids, kind="generate")
        assert hand.prober.answer() == (3, 0)
        Loop(hand, "target", rows, torch.zeros(len(rows), WIDTH), control=None).check(
            store, "thinking", live=True
        )
        texts = {
            name: [row["text"] for row in answers(store, name).values()]
            for name in ("thinking", "response", "None")
        }
    assert texts["response"] == texts["None"] != texts["thinking"]


def test_models_with_different_tokenizers_cannot_read_side_by_side(
    tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = small_config(tiny_models.qwen2_base, tiny_models.qwen2_target)
    store, run_id = ingested(tmp_path_factory.mktemp("tokenizers"), config, small_suite(3))
    with store:
        hand = ByHand(store, run_id)
        rows = rows_of(store, run_id, ("start", "response"))
        for name, classes in (("start", ("start",)), ("response", ("start", "response"))):
            add_arm(store, run_id, name, 0, rows, torch.ones(len(rows), WIDTH), classes=classes)
            ask(store, run_id, name, "base", name, hand.prompt_ids, kind="generate")
        assert hand.prober.answer() == (1, 1)
        assert states(store, run_id) == {"start": "answered", "response": "failed"}
        assert len(answers(store, "start")) == 3
