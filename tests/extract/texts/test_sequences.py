"""Sequences: which positions are kept, with which class, in which tokens."""

from __future__ import annotations

import pytest

from extract.texts import (
    FIRST_CLASSES,
    Answer,
    Format,
    Marks,
    Rendering,
    Tokenizers,
    answer_of,
    answer_start,
    build_sequence,
    build_sequences,
    choose_rendering,
    make_tokenizers,
)
from fi_store.prompts import PromptRecord
from tests.helpers.small_runs import loaded, small_suite
from tests.helpers.tiny import TinyModels

PROMPT = PromptRecord("p", "c", "How many sheep are there?", family="p", control="Tell me about the wind.")


def answer(text: str, ids: tuple[int, ...] | None = None) -> Answer:
    return Answer(text, 0, True, ids)


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
    found = build_sequence(
        "run", PROMPT, rendered, "base", answer("There are seven."), FIRST_CLASSES, tokenizers
    )
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
    answers = {(PROMPT.id, side): answer("") for side in ("base", "target")}
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
    answers = {
        (prompt.id, side): answer(f"It is {side}.") for prompt in prompts for side in ("base", "target")
    }
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
    found = build_sequence("run", PROMPT, rendered, "base", answer("Seven sheep."), FIRST_CLASSES, tokenizers)
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


def test_an_author_reads_the_tokens_that_it_wrote(same: tuple[Rendering, Tokenizers]) -> None:
    """Both models have the same tokenizer, so the other one reads them too."""
    rendering, tokenizers = same
    rendered = rendering.render(PROMPT.text)
    letters = tokenizers.base.convert_tokens_to_ids(list("the\u0120sheep"))  # never split like this again
    eta = tokenizers.base("\u00ef", add_special_tokens=False)["input_ids"]  # two bytes
    hidden = tokenizers.base.convert_tokens_to_ids("<|endoftext|>")
    ids = (*letters[:3], hidden, *letters[3:], *eta)
    before = tokenizers.encode("base", rendered, "").ids[-1]
    written = answer_of(ids, [], tokenizers.base, before, ())
    assert (written.text, written.ids) == ("the sheep\u00ef", ids)
    found = build_sequence("run", PROMPT, rendered, "base", written, FIRST_CLASSES, tokenizers)
    assert tuple(found.base.ids[found.base.n_prompt :]) == ids
    assert found.base == found.target
    kept = [at - found.base.n_prompt for at, name in zip(found.base.kept, found.classes, strict=True)
            if name == "response"]  # fmt: skip
    assert kept == [0, 1, 2, 4, 5, 6, 7, 8, 9, 11]  # neither the hidden token nor half a character
    assert found.base.answer_ends == [1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 10]


def test_another_tokenizer_reads_the_text_and_the_drift_is_known(
    different: tuple[Rendering, Tokenizers],
) -> None:
    rendering, tokenizers = different
    rendered = rendering.render(PROMPT.text)
    letters = tuple(tokenizers.target.convert_tokens_to_ids(list("the")))
    usual = tuple(tokenizers.target("the", add_special_tokens=False)["input_ids"])
    assert usual != letters
    found = build_sequence(
        "run", PROMPT, rendered, "target", answer("the", letters), FIRST_CLASSES, tokenizers
    )
    assert tuple(found.target.ids[found.target.n_prompt :]) == letters
    assert tuple(found.base.ids[found.base.n_prompt :]) == usual
    drifts = [tokenizers.drifts("target", rendered, answer("the", ids)) for ids in (letters, usual)]
    assert drifts == [True, False]


def test_a_thought_has_a_position_class_of_its_own(same: tuple[Rendering, Tokenizers]) -> None:
    rendering, tokenizers = same
    rendered = rendering.render(PROMPT.text)
    text = "<think>\nThe answer is 15. No.</think>\n\n8"
    found = build_sequence("run", PROMPT, rendered, "base", answer(text), FIRST_CLASSES, tokenizers)
    parts = {
        name: tokenizers.base.decode(
            [
                found.base.ids[at]
                for at, each in zip(found.base.kept, found.classes, strict=True)
                if each == name
            ]
        )
        for name in ("thinking", "response")
    }
    assert parts == {"thinking": text[:-1], "response": "8"}


@pytest.mark.parametrize(
    ("text", "opened", "start"),
    [
        ("Seven.", False, 0),
        ("<think>a</think> b", False, 17),
        ("a</think>\n\nb", True, 11),
        ("[[t]]a[[/t]]b", False, 12),
        ("<think>a", False, None),
        ("a", True, None),
        ("a </think>b", False, 10),  # opened by what no template says
        ("It writes <think> and </think>.", False, 0),
        ("", True, None),
        ("", False, 0),
    ],
)
def test_the_answer_begins_after_the_thought(text: str, opened: bool, start: int | None) -> None:
    marks = (Marks("[[t]]", "[[/t]]"), Marks("<think>", "</think>"))
    assert answer_start(text, Format("target", "", "", thinking=marks, opened=opened)) == start
