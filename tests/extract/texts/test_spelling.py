"""Tokens of tokenizers that write spaces and bytes differently are matched by what they decode to."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from extract.reading import map_vocabularies
from extract.texts import spelled, writing_of


def tokenizer_of(names: list[str], decoder: Any, special: str) -> Any:
    core = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    core.decoder = decoder
    core.add_special_tokens([special])
    return PreTrainedTokenizerFast(tokenizer_object=core)


PIECES = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
LETTERS = tokenizer_of(["a", "Ġa", "Ã©", "Ċ", "Ġsheep"], decoders.ByteLevel(), "<|end|>")
SPACES = tokenizer_of(["<0x0A>", "<0x61>", "▁sheep", "é", "a", "▁a", "▁goat"], PIECES, "</s>")


def test_what_tokens_decode_to() -> None:
    assert (writing_of(LETTERS), writing_of(SPACES), writing_of(object())) == ("bytes", "spaces", "plain")
    assert spelled(LETTERS) == {
        b"a": 0, b" a": 1, "é".encode(): 2, b"\n": 3, b" sheep": 4, "<|end|>": 5,
    }  # fmt: skip
    # A letter has its own token, so its byte keeps its name; a special token is no text.
    assert spelled(SPACES) == {
        b"\n": 0, "<0x61>": 1, b" sheep": 2, "é".encode(): 3, b"a": 4, b" a": 5, b" goat": 6, "</s>": 7,
    }  # fmt: skip


def test_tokenizers_that_write_differently_share_what_is_the_same_text() -> None:
    found = map_vocabularies(LETTERS, SPACES, 6, 8)
    assert found.base.shared.tolist() == [0, 1, 2, 3, 4]
    assert found.target.shared.tolist() == [4, 5, 3, 0, 2]
    assert (found.base.rest.tolist(), found.target.rest.tolist()) == ([5], [1, 6, 7])
    assert found.coverage == (
        "The vocabularies share 5 tokens: 83% of the base's and 62% of the target's. The probability of all others is "
        "compared as one."
    )
    assert map_vocabularies(LETTERS, LETTERS, 6, 6).coverage is None
