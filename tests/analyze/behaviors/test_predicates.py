"""Predicates over answers: what holds, where the spans are, and that no answer can stop the search."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.behaviors import predicates
from analyze.behaviors.predicates import (
    FORMS,
    AnswerPredicate,
    OwnAnswer,
    TooSlowError,
    language_of,
    words_of,
)

TEXTS = st.text(alphabet=st.sampled_from("ab1. \n-*|#`?{}[]()'’é中🙂"), max_size=120)


def reply(text: str, prompt: str = "", *, finished: bool = True) -> OwnAnswer:
    return OwnAnswer(text, prompt, finished)


@pytest.mark.parametrize(
    ("predicate", "text", "spans"),
    [
        (AnswerPredicate("words", ("wait", "check")), "Wait. I CHECK it.", ["Wait", "CHECK"]),
        (AnswerPredicate("words", ("wait", "check"), least=2), "Wait here.", None),
        (AnswerPredicate("words", ("check",)), "Checking is not the word.", None),
        (AnswerPredicate("sequence", ("let", "me")), "Well, let - me: let me", ["let - me", "let me"]),
        (AnswerPredicate("sequence", ("let", "me")), "letme", None),
        (AnswerPredicate("form", ("numbered_list",)), "So:\n1. a\n2) b", ["1. ", "2) "]),
        (AnswerPredicate("form", ("numbered_list",)), "In 1. Bundesliga", None),
        (AnswerPredicate("form", ("bulleted_list",)), "- one\n* two", ["- o", "* t"]),
        (AnswerPredicate("form", ("bold",)), "This is **very** bold.", ["**very**"]),
        (AnswerPredicate("form", ("json",)), ' {"a": [1]} ', [' {"a": [1]} ']),
        (AnswerPredicate("form", ("question",)), "Do you agree? ", ["? "]),
        (AnswerPredicate("form", ("refusal",)), "I'm sorry, I can't help with that.", ["I'm sorry", "I can't help"]),
        (AnswerPredicate("form", ("hedging",)), "Perhaps it rains.", ["Perhaps"]),
        (AnswerPredicate("form", ("latex",)), r"So \frac{1}{2}", [r"\frac"]),
        (AnswerPredicate("form", ("emoji",)), "Great 🙂", ["🙂"]),
        (AnswerPredicate("form", ("heading",)), "# Title", ["# T"]),
        (AnswerPredicate("form", ("table",)), "| a | b |\n", ["| a | b |"]),
        (AnswerPredicate("form", ("code_block",)), "```py\nx\n```", ["```", "```"]),
    ],
)  # fmt: skip
def test_what_holds_and_where(predicate: AnswerPredicate, text: str, spans: list[str] | None) -> None:
    one = reply(text)
    assert predicate.holds(one) == (spans is not None)
    if spans is not None:
        assert [text[start:end] for start, end in predicate.spans(one)] == spans


def test_what_is_about_the_whole_answer_has_no_spans() -> None:
    spanish = reply("Claro, y hay muchos libros sobre ello en la biblioteca.", finished=False)
    for predicate in (
        AnswerPredicate("language", ("es",)),
        AnswerPredicate("length", least=5),
        AnswerPredicate("unfinished"),
    ):
        assert predicate.holds(spanish)
        assert predicate.spans(spanish) == []
    assert not AnswerPredicate("unfinished").holds(reply("Done."))
    assert not AnswerPredicate("length", least=5).holds(reply("one two three four five"))


def test_a_short_answer_has_no_language() -> None:
    assert language_of("42") == ""
    assert language_of("The quick brown fox jumps over the lazy dog.") == "en"


def test_six_words_in_a_row_repeat_the_prompt() -> None:
    asked = "A farmer has three sheep and buys four more today."
    answer = "Well: a farmer has three sheep and buys some."
    repeats = AnswerPredicate("repetition")
    assert next(answer[a:b] for a, b in repeats.spans(reply(answer, asked))) == "a farmer has three sheep and"
    assert not repeats.holds(reply("The farmer has three sheep and more.", asked))


def test_every_form_has_a_phrase_and_stays_apart_from_plain_text() -> None:
    for name in FORMS:
        assert AnswerPredicate("form", (name,)).phrase
        assert not AnswerPredicate("form", (name,)).holds(reply("The answer is seven sheep."))
        assert not AnswerPredicate("form", (name,)).holds(reply(""))


@given(TEXTS)
def test_any_answer_is_searched(text: str) -> None:
    """Spans are inside the text and in order, whatever a model writes."""
    one = reply(text, text)
    for predicate in (
        *(AnswerPredicate("form", (name,)) for name in FORMS),
        AnswerPredicate("words", ("a", "b")),
        AnswerPredicate("repetition"),
    ):
        found = predicate.spans(one)
        assert found == sorted(found)
        assert all(0 <= start <= end <= len(text) for start, end in found)
    assert all(word == word.casefold() for word in words_of(text))


def test_a_pattern_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicates, "SECONDS", 0.05)
    slow = predicates.regex.compile(r"(?:a|aa)+$")
    monkeypatch.setitem(predicates._PATTERNS, "bold", slow)
    with pytest.raises(TooSlowError):
        AnswerPredicate("form", ("bold",)).holds(reply("a" * 5000 + "b"))
