"""Tokens of prompts and answers: special tokens in them are plain pieces, whatever the kind of tokenizer."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from extract.texts.rendering import SideText
from extract.texts.templates import Format, Marks
from extract.texts.tokens import Codec
from tests.helpers.tiny import TEXT, core_tokenizer

SPECIAL = ["<s>", "<|user|>", "<|end|>"]
FORMAT = Format("base", "<|user|>", "<|end|>\n", "<|end|>")
KINDS = ("byte-level", "metaspace", "metaspace first", "prepended", "unigram")


@cache
def tokenizer(kind: str) -> Any:
    """A tokenizer of each kind that treats the beginning of a text in its own way."""
    if kind == "byte-level":
        made = core_tokenizer()
    else:
        made = Tokenizer(
            models.Unigram() if kind == "unigram" else models.BPE(unk_token=None, fuse_unk=False)
        )
        if kind == "prepended":
            made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            scheme = "first" if kind == "metaspace first" else "always"
            made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        made.decoder = decoders.Metaspace()
        alphabet = sorted({*TEXT.replace(" ", "▁"), *"<|>/&", "▁", "\n"})
        kwargs = {"vocab_size": 300, "initial_alphabet": alphabet, "show_progress": False}
        trainer: Any = (
            trainers.UnigramTrainer(**kwargs, special_tokens=SPECIAL, unk_token="<s>")
            if kind == "unigram"
            else trainers.BpeTrainer(**kwargs)
        )
        made.train_from_iterator(TEXT.split("\n"), trainer)
    made.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="<|end|>")


def prompt(text: str) -> SideText:
    start = len(FORMAT.prefix)
    return SideText(FORMAT.prefix + text + FORMAT.suffix, start, start + len(text))


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_of_a_user_or_of_an_answer_are_plain_pieces(kind: str) -> None:
    tokens = tokenizer(kind)
    codec = Codec(tokens, FORMAT, "tiny", bos=True)
    text = "Write <|end|> and <s>"
    found = codec.encode(prompt(text), "the <|user|> is")
    assert codec.controls_in(text) == ["<s>", "<|end|>"]
    first, user, end = tokens.convert_tokens_to_ids(SPECIAL)
    assert [number for number in found.ids if number in (first, user, end)] == [first, user, end]
    assert found.ends[found.n_prompt - 1] == len(prompt(text).text)
    assert found.ends[-1] == len(prompt(text).text + "the <|user|> is")
    # What stands before and after them is read as without them.
    without = codec.encode(prompt("Write nothing"), "the ")
    assert found.ids[:3] == without.ids[:3]


@pytest.mark.parametrize("kind", KINDS)
def test_sections_give_the_tokens_of_the_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(tokenizer(kind), FORMAT, "tiny", bos=True)
    given = prompt("Explain why the glass of water falls"), "the train leaves"
    whole = codec.encode(*given)
    monkeypatch.setattr(codec, "controls_in", lambda _: ["as if there were one"])
    assert codec.encode(*given) == whole


def test_line_breaks_among_the_added_tokens_are_text() -> None:
    """As in Gemma's tokenizer, beside a format that writes them, too."""
    made = core_tokenizer()
    made.add_special_tokens(SPECIAL)
    made.add_tokens(["\n", "\n\n"])
    codec = Codec(PreTrainedTokenizerFast(tokenizer_object=made), FORMAT, "tiny", bos=False)
    text = "One.\n\nTwo <|end|>\nThree."
    found = codec.encode(prompt(text), "Four.\n")
    assert codec.controls_in(text) == ["<|end|>"]
    written = [made.id_to_token(number) for number in found.ids]
    assert [token for token in written if token.startswith("\n")] == ["\n\n", "\n", "\n", "\n"]


def test_the_last_token_of_an_unfinished_answer_is_of_the_thought_or_of_what_follows_it() -> None:
    tokens = tokenizer("byte-level")
    written = Format("base", "<|user|>", "<|end|>\n", "<|end|>", thinking=(Marks("<think>", "</think>"),))
    codec = Codec(tokens, written, "tiny", bos=True)
    before = tokens.convert_tokens_to_ids("<|end|>")
    ids = tokens("<think>Two and two.</think>\n\nFour.", add_special_tokens=False).input_ids
    classes = [codec.class_of_last(ids[: at + 1], before) for at in range(len(ids))]
    close = next(at for at in range(len(ids)) if "</think>" in tokens.decode(ids[: at + 1]))
    after = tokens.decode(ids[close + 1 :])
    assert after.strip() == "Four."
    opened = next(at for at in range(len(ids)) if "<think>" in tokens.decode(ids[: at + 1]))
    assert set(classes[opened : close + 1]) == {"thinking"}
    assert set(classes[-2:]) == {"response"}
    plain = tokens("Two and two.", add_special_tokens=False).input_ids
    assert {codec.class_of_last(plain[: at + 1], before) for at in range(len(plain))} == {"response"}
