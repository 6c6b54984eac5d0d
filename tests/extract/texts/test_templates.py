"""Rendering: whose template is used and why, what is learned from it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from extract.models import LoadedPair
from extract.texts import Marks, Rendering, Wishes, choose_rendering, make_tokenizers
from extract.texts.templates import PLAIN_PREFIX, THINK
from fi_store.config import make_config
from fi_store.errors import ConfigError, ExtractionError, UsageError
from fi_store.vocabulary import Side
from tests.helpers.small_runs import loaded
from tests.helpers.tiny import CHATML, TURNS, TinyModels

TEXTS = ["How many sheep?", "Why?"]
PLAIN = "{{ messages[-1].content }}!"
NEEDS_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('no system message') }}{% endif %}"
    "{{ messages[0].content }}|{{ messages[1].content }}"
)
THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}[[think]]{{ m.reasoning_content }}[[/think]] {% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if thinking is defined and not thinking %}[[think]][[/think]]{% endif %}{% endif %}"
)


def with_templates(pair: LoadedPair, base: str | None, target: str | None) -> LoadedPair:
    return replace(
        pair, base=replace(pair.base, chat_template=base), target=replace(pair.target, chat_template=target)
    )


@pytest.fixture(scope="module")
def pair(tiny_models: TinyModels) -> LoadedPair:
    return loaded(tiny_models.llama, tiny_models.llama_other)


@pytest.fixture(scope="module")
def unlike(tiny_models: TinyModels) -> LoadedPair:
    """The base has no template and knows none of the special tokens of the target's."""
    return loaded(tiny_models.qwen2_base, tiny_models.qwen2_target)


def test_a_rendered_prompt_is_what_the_template_writes(pair: LoadedPair) -> None:
    rendering, warnings = choose_rendering(pair, TEXTS)
    rendered = rendering.render("  How many sheep? ")
    assert rendered.base == rendered.target
    text, start, end = rendered.base
    assert text == "<|im_start|>user\nHow many sheep?<|im_end|>\n<|im_start|>assistant\n"
    assert text[start:end] == "How many sheep?"
    assert rendering.base.end == "<|im_end|>"
    assert warnings == []


@pytest.mark.parametrize(
    ("base", "target", "choice", "prefix"),
    [
        (None, None, "none", PLAIN_PREFIX),
        (None, CHATML, "target", "<|im_start|>user\n"),
        (CHATML, None, "base", "<|im_start|>user\n"),
        ("[B]" + PLAIN, "[T]" + PLAIN, "target", "[T]"),
    ],
)
def test_a_template_that_both_tokenizers_know_is_used_for_both(
    pair: LoadedPair, base: str | None, target: str | None, choice: str, prefix: str
) -> None:
    rendering, warnings = choose_rendering(with_templates(pair, base, target), TEXTS)
    assert (rendering.choice, rendering.base.prefix, rendering.base) == (choice, prefix, rendering.target)
    assert warnings == []
    assert Rendering.restored(rendering.stored()) == rendering


def test_unknown_special_tokens_leave_each_model_its_own_format(unlike: LoadedPair) -> None:
    swapped = replace(unlike, base=unlike.target, target=unlike.base)
    cases: list[tuple[LoadedPair, Side, Side]] = [
        (unlike, "base", "target"),
        (swapped, "target", "base"),
    ]
    for pair, plain, templated in cases:
        rendering, warnings = choose_rendering(pair, TEXTS)
        assert rendering.choice == "own"
        assert f"does not know <|end|>, <|user|>, <|assistant|> of the {templated}'s" in rendering.reason
        assert rendering.formats[plain].prefix == PLAIN_PREFIX
        assert rendering.formats[templated].suffix == "<|assistant|><think>\n"
        assert warnings == []
    forced, warnings = choose_rendering(unlike, TEXTS, "target")
    assert forced.base.prefix == "<|user|>"
    assert "The base does not know <|end|>, <|user|>, <|assistant|>" in warnings[0]


def test_the_choice_is_the_users(pair: LoadedPair) -> None:
    both = with_templates(pair, "[B]" + PLAIN, "[T]" + PLAIN)
    found = {
        choice: choose_rendering(both, TEXTS, choice)[0]
        for choice in ("base", "target", "own", "none", PLAIN)
    }
    assert {name: (each.base.prefix, each.target.prefix) for name, each in found.items()} == {
        "base": ("[B]", "[B]"), "target": ("[T]", "[T]"), "own": ("[B]", "[T]"),
        "none": (PLAIN_PREFIX, PLAIN_PREFIX), PLAIN: ("", ""),
    }  # fmt: skip
    with pytest.raises(UsageError, match="has no chat template"):
        choose_rendering(with_templates(pair, None, PLAIN), TEXTS, "base")


def test_each_model_reads_its_own_first_token_once(unlike: LoadedPair, pair: LoadedPair) -> None:
    rendering, _ = choose_rendering(unlike, TEXTS)
    begin = unlike.target.tokenizer.convert_tokens_to_ids("<|begin|>")
    ids = make_tokenizers(unlike, rendering, TEXTS).encode("target", rendering.render("Why?"), "").ids
    assert (ids[0], ids.count(begin)) == (begin, 1)
    assert "<|begin|>" not in rendering.target.prefix
    # Written as text it is the same token; what begins every turn is none.
    literal, _ = choose_rendering(unlike, TEXTS, TURNS.replace("{{ bos_token }}", "<|begin|>"))
    assert (literal.base.prefix, literal.target.bos) == ("<|user|>", True)
    chatml, _ = choose_rendering(pair, TEXTS)
    assert (chatml.base.prefix, chatml.base.bos) == ("<|im_start|>user\n", False)


def test_the_end_of_a_turn_ends_answers_of_both_models(pair: LoadedPair) -> None:
    template = (
        "{% for m in messages %}{{ m.content }}"
        "{% if m.role == 'assistant' %} <|endoftext|>{% endif %}{% endfor %}"
    )
    rendering, _ = choose_rendering(pair, TEXTS, template)
    codecs = make_tokenizers(pair, rendering, TEXTS).codecs
    assert rendering.base.end == "<|endoftext|>"
    assert {codec.ends for codec in codecs.values()} == {(384,)}


def test_wishes_are_in_every_prompt(pair: LoadedPair) -> None:
    rendering, _ = choose_rendering(pair, TEXTS, "auto", Wishes("Be brief.", None, "Well,"))
    assert rendering.render("Why?").base.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nWell,"
    )
    plain, _ = choose_rendering(pair, TEXTS, "none", Wishes("Be brief.", None, "Well,"))
    assert plain.render("Why?").base.text == "Be brief.\n\nQuestion: Why?\nAnswer: Well,"


def test_marks_of_thoughts_are_learned_from_the_template(pair: LoadedPair) -> None:
    config = make_config(base_model="a", target_model="b", template_arg=("thinking=false",))
    rendering, _ = choose_rendering(pair, TEXTS, THINKS)
    assert rendering.base.thinking == (Marks("[[think]]", "[[/think]]"), THINK)
    assert not rendering.base.opened
    silent, _ = choose_rendering(pair, TEXTS, THINKS, Wishes.of(config))
    assert silent.base.suffix.endswith("assistant\n[[think]][[/think]]")
    assert not silent.base.opened
    opened, _ = choose_rendering(pair, TEXTS, CHATML.replace("assistant\n", "assistant\n<think>\n"))
    assert opened.base.opened


def test_a_template_that_rewrites_texts_gives_a_warning(pair: LoadedPair) -> None:
    template = "<{{ messages[0].content | replace('sheep', 'goats') }}>"
    rendering, warnings = choose_rendering(with_templates(pair, template, template), TEXTS)
    assert rendering.render(TEXTS[0]).base.text == "<How many sheep?>"
    assert "rewrites 1 of the prompts" in warnings[0]


@pytest.mark.parametrize(
    ("template", "wishes", "message", "hint"),
    [
        (NEEDS_SYSTEM, Wishes(), "fails on a user message: no system message", "--system-prompt"),
        ("nothing {# #}", Wishes(), "0 times", "none"),
        ("{{ messages[0].content }}{{ messages[0].content }}", Wishes(), "2 times", "none"),
        ("{% if %}", Wishes(), "syntax error in line 1", "--chat-template"),
        (PLAIN, Wishes("Be brief."), "does not write a system prompt", "--system-prompt"),
        (PLAIN, Wishes(None, {"enable": True}), "enable: the chat template of .* knows no", "--template-arg"),
        ("{{ 1 // 0 }}", Wishes(), "fails on a user message", "none"),
    ],
)
def test_an_unusable_template_is_one_sentence(
    pair: LoadedPair, template: str, wishes: Wishes, message: str, hint: str
) -> None:
    with pytest.raises((ExtractionError, UsageError), match=message) as caught:
        choose_rendering(with_templates(pair, template, template), TEXTS, "auto", wishes)
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) == 1


def test_a_template_that_needs_a_system_prompt_works_with_one(pair: LoadedPair) -> None:
    rendering, _ = choose_rendering(pair, TEXTS, NEEDS_SYSTEM, Wishes("Be brief."))
    assert rendering.render("Why?").base.text == "Be brief.|Why?"


def test_options_about_formats_are_checked_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "good.jinja").write_text(PLAIN, encoding="utf-8")
    (tmp_path / "bad.jinja").write_text("Hello", encoding="utf-8")
    models = {"base_model": "a", "target_model": "b"}
    assert make_config(**models, chat_template=str(tmp_path / "good.jinja")).chat_template == PLAIN
    for options, message in (
        ({"chat_template": "tarqet"}, "no readable file"),
        ({"chat_template": str(tmp_path / "bad.jinja")}, "no Jinja template"),
        ({"template_arg": ("enable_thinking",)}, "NAME=VALUE"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_config(**models, **options)
