"""What tokens decode to, so that tokenizers that write a space or a byte differently can be compared token by token."""

from __future__ import annotations

import re
from typing import Any, Literal

from transformers.convert_slow_tokenizer import bytes_to_unicode

Writing = Literal["bytes", "spaces", "plain"]
"""How a tokenizer writes its tokens: bytes as letters (as GPT-2), spaces as ▁ (as sentencepiece), or as they are."""
SPACE = "▁"
FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
"""How sentencepiece writes a byte of a character that has no token."""


def writing_of(tokenizer: Any) -> Writing:
    """How a tokenizer writes its tokens, by its decoder."""
    decoder = repr(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None))
    if "ByteLevel" in decoder:
        return "bytes"
    return "spaces" if SPACE in decoder else "plain"


def spelled(tokenizer: Any) -> dict[bytes | str, int]:
    """What each token decodes to -> its id.

    Special tokens, and a token whose text another one has already (a single byte beside its letter), keep their names:
    they are strings, and all others bytes.
    """
    writing = writing_of(tokenizer)
    special = set(getattr(tokenizer, "added_tokens_decoder", {}))
    found: dict[bytes | str, int] = {}
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: bool(FALLBACK.fullmatch(item[0])))
    for name, number in vocabulary:  # letters before bytes
        text = None if number in special else _decoded(name, writing)
        found[name if text is None or text in found else text] = number
    return found


def _decoded(name: str, writing: Writing) -> bytes | None:
    if writing == "bytes":
        letters = [_BYTES.get(letter) for letter in name]
        return bytes(letter for letter in letters if letter is not None) if None not in letters else None
    if writing == "spaces":
        byte = FALLBACK.fullmatch(name)
        return bytes([int(byte[1], 16)]) if byte else name.replace(SPACE, " ").encode()
    return name.encode()


_BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]
