"""Sequences: which positions are kept, with which class, in which tokens."""

from __future__ import annotations

import pytest

from extract.texts import (
    FIRST_CLASSES,
    Format,
    Rendering,
    Tokenizers,
    build_sequence,
    build_sequences,
    choose_rendering,
    make_tokenizers,
)
from fi_store.prompts import PromptRecord
from tests.helpers.small_runs import loaded, small_suite
from tests.helpers.tiny import TinyModels

PROMPT = PromptRecord("p", "c", "How many sheep are there?", family="p", control="Tell me about the wind.")


@pytest.fixture(scope="module")
def same(tiny_models: TinyModels) -> tuple[Rendering, Tokenizers]:
    pair = loaded(tiny_models.llama, tiny_models.llama_other)
    rendering, _ = choose_rendering(pair, [PROMPT.text])
    return rendering, make_tokenizers(pair, rendering, [PROMPT.text])


@pytest.fixture(scope="module")
def different(tiny_models: TinyModels) -> tuple[Rendering, Tokenizers]:
    pair = loaded(tiny_models.qwen2_base, tiny_models.qwen2_target)
    rendering, _ = choose_rendering(pair, [PROMPT.text])
    return rendering, make_tokenizers(pair, rendering, [PROMPT.text])


def test_kept_positions_spell_the_prompt_and_the_answer(same: tuple[Rendering, Tokenizers]) -> None:
    rendering, tokenizers = same
    rendered = rendering.render(PROMPT.text)
    found = build_sequence("run", PROMPT, rendered, "base", "There are seven.", FIRST_CLASSES, tokenizers)
    decode = tokenizers.base.decode
    kept = {name: [] for name in ("prompt", "start", "response")}
    for at, name in zip(found.base.kept, found.classes, strict=True):
        kept[name].append(found.base.ids[at])
    assert decode(kept["prompt"]) == PROMPT.text
    assert decode(kept["start"]) == "\n"
    assert decode(kept["response"]) == "There are seven."
    assert decode(found.base.ids) == rendered.base.text + "There are seven."
    assert 0 not in found.base.kept
    # Each kept position has the next id of the sequence as its next token. The last has none.
    assert found.base.next_ids[-1] is None
    assert all(
        found.base.ids[at + 1] == following
        for at, following in zip(found.base.kept[:-1], found.base.next_ids[:-1], strict=True)
    )
    assert tokenizers.shared
    assert found.base == found.target


def test_an_empty_answer_keeps_prompt_and_start(same: tuple[Rendering, Tokenizers]) -> None:
    rendering, tokenizers = same
    answers = {(PROMPT.id, side): "" for side in ("base", "target")}
    first, other, control = build_sequences("run", [PROMPT], answers, rendering, tokenizers, "target")
    assert (first.author, other.author, control.author) == ("target", "base", "control")
    assert set(first.classes) == {"prompt", "start"}
    assert other.classes == []
    assert set(control.classes) == {"prompt", "start"}
    assert tokenizers.base.decode([control.base.ids[at] for at in control.base.kept[:-1]]) == PROMPT.control


def test_only_the_first_author_keeps_the_prompt_and_ids_are_reproducible(
    same: tuple[Rendering, Tokenizers],
) -> None:
    rendering, tokenizers = same
    prompts = small_suite(3).prompts
    answers = {(prompt.id, side): f"It is {side}." for prompt in prompts for side in ("base", "target")}
    found = build_sequences("run", prompts, answers, rendering, tokenizers, "base")
    assert [sequence.author for sequence in found] == [
        "base",
        "target",
        "base",
        "target",
        "control",
        "base",
        "target",
        "control",
    ]
    assert all(set(sequence.classes) == {"response"} for sequence in found if sequence.author == "target")
    again = build_sequences("run", prompts, answers, rendering, tokenizers, "base")
    assert [sequence.id for sequence in found] == [sequence.id for sequence in again]
    assert len({sequence.id for sequence in found}) == len(found)


def test_different_formats_are_aligned_on_the_characters_of_their_parts(
    different: tuple[Rendering, Tokenizers],
) -> None:
    rendering, tokenizers = different
    assert not tokenizers.shared
    rendered = rendering.render(PROMPT.text)
    assert rendered.base.text.startswith("Question: ")
    found = build_sequence("run", PROMPT, rendered, "base", "Seven sheep.", FIRST_CLASSES, tokenizers)
    kept = list(zip(found.base.kept, found.target.kept, found.classes, strict=True))
    for name, text in (("prompt", PROMPT.text), ("response", "Seven sheep.")):
        inside = [(base, target) for base, target, each in kept if each == name]
        assert tokenizers.base.decode([found.base.ids[base] for base, _ in inside]) == text
        assert tokenizers.target.decode([found.target.ids[target] for _, target in inside]) == text
    assert [found.target.ids[at] for _, at, name in kept if name == "start"] == [
        tokenizers.target.convert_tokens_to_ids("Ċ")
    ]
    # After the user's text the formats go on differently: no common next token.
    at = found.classes.index("start") - 1
    assert found.target.next_ids[at] is None
    assert found.base.next_ids[at] is not None


def test_prompt_and_answer_are_never_merged_into_one_token(same: tuple[Rendering, Tokenizers]) -> None:
    """An answer that would merge with the prompt's last token is encoded separately."""
    _, tokenizers = same
    plain = Format("none", "", " th")
    rendered = Rendering("none", "", plain, plain).render("Is it")
    alone = tokenizers.encode("base", rendered, "")
    whole = tokenizers.encode("base", rendered, "e the")
    assert whole.ids[: len(alone.ids)] == alone.ids
    assert tokenizers.base.decode(whole.ids) == "Is it the the"
    assert whole.ends[-1] == len("Is it the the")
