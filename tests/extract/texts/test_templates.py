"""Rendering: whose template is used, where the user's text is, and which warnings are given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extract.models import LoadedPair
from extract.texts import canonical_first, choose_rendering
from extract.texts.templates import PLAIN_PREFIX
from fi_store.errors import ExtractionError
from tests.helpers.small_runs import loaded
from tests.helpers.tiny import TinyModels

TEXTS = ["How many sheep?", "Why?"]


def with_templates(pair: LoadedPair, base: str | None, target: str | None) -> LoadedPair:
    return replace(
        pair, base=replace(pair.base, chat_template=base), target=replace(pair.target, chat_template=target)
    )


@pytest.fixture(scope="module")
def pair(tiny_models: TinyModels) -> LoadedPair:
    return loaded(tiny_models.llama, tiny_models.llama_other)


def test_a_rendered_prompt_is_what_the_template_writes(pair: LoadedPair) -> None:
    rendering, warnings = choose_rendering(pair, TEXTS)
    rendered = rendering.render("  How many sheep? ")
    assert rendered.text == "<|im_start|>user\nHow many sheep?<|im_end|>\n<|im_start|>assistant\n"
    assert rendered.text[rendered.content_start : rendered.content_end] == "How many sheep?"
    assert warnings == []


def test_the_only_template_is_used_whichever_side_has_it(tiny_models: TinyModels) -> None:
    for base, target in (
        (tiny_models.qwen2_base, tiny_models.qwen2_target),
        (tiny_models.qwen2_target, tiny_models.qwen2_base),
    ):
        rendering, warnings = choose_rendering(loaded(base, target), TEXTS)
        assert rendering.source == ("target" if target == tiny_models.qwen2_target else "base")
        assert rendering.suffix == "<|assistant|><think>\n"
        assert warnings == []


def test_of_two_templates_the_canonical_firsts_is_used_with_a_warning(pair: LoadedPair) -> None:
    marks = {"base": "[B]{{ messages[0].content }}", "target": "[T]{{ messages[0].content }}"}
    rendering, warnings = choose_rendering(with_templates(pair, marks["base"], marks["target"]), TEXTS)
    assert rendering.source == canonical_first(pair)
    assert rendering.prefix == f"[{canonical_first(pair)[0].upper()}]"
    assert len(warnings) == 1
    assert "different chat templates" in warnings[0]


def test_without_any_template_the_plain_form_is_used(pair: LoadedPair) -> None:
    rendering, warnings = choose_rendering(with_templates(pair, None, None), TEXTS)
    assert (rendering.source, rendering.prefix) == ("none", PLAIN_PREFIX)
    assert rendering.render("Why?").text == "Question: Why?\nAnswer:"
    assert "has a chat template" in warnings[0]


def test_a_template_that_rewrites_texts_gives_a_warning(pair: LoadedPair) -> None:
    template = "<{{ messages[0].content | replace('sheep', 'goats') }}>"
    rendering, warnings = choose_rendering(with_templates(pair, template, template), TEXTS)
    assert rendering.render(TEXTS[0]).text == "<How many sheep?>"
    assert "rewrites 1 of the prompts" in warnings[0]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('a system message is needed') }}", "fails on a user message"),
        ("nothing", "0 times"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "2 times"),
    ],
)
def test_an_unusable_template_names_the_model(pair: LoadedPair, template: str, message: str) -> None:
    with pytest.raises(ExtractionError, match=message) as caught:
        choose_rendering(with_templates(pair, template, template), TEXTS)
    assert "llama" in str(caught.value)
