"""A model's answer: the ids that it wrote, their text, and where in it the thought ends and the answer begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from extract.texts.templates import Format


class Answer(NamedTuple):
    """An answer without special tokens, but with the marks of a thought. `n_tokens` does not count the end mark.

    `finished` means that the model ended the answer itself before the limit. `ids` are the tokens that the model wrote,
    without the end mark; None for a text that no model wrote token by token.
    """

    text: str
    n_tokens: int
    finished: bool
    ids: tuple[int, ...] | None = None


def answer_of(
    tokens: Sequence[int], ends: Collection[int], tokenizer: Any, before: int, shown: Collection[int]
) -> Answer:
    """The answer that a model gave as tokens, which may go on after the end mark.

    `before` is the last token of its prompt: some tokenizers drop a space at the beginning of a text. `shown` are the
    special tokens that are a part of the text.
    """
    stop = next((at for at, token in enumerate(tokens) if token in ends), None)
    written = tokens if stop is None else tokens[:stop]
    # A padded vocabulary has numbers that are no tokens. They stand for no text, and have no probability.
    kept = tuple(token for token in written if tokenizer.convert_ids_to_tokens(token) is not None)
    hidden = hidden_ids(tokenizer, shown)
    text = decoded_after(tokenizer, before, [token for token in kept if token not in hidden])
    # The limit may cut a character in half, and its remaining bytes are not text.
    return Answer(text.rstrip("\ufffd") if stop is None else text, len(written), stop is not None, kept)


def hidden_ids(tokenizer: Any, shown: Collection[int]) -> set[int]:
    """The special tokens that are left out of a text."""
    added = tokenizer.added_tokens_decoder
    return {int(number) for number, token in added.items() if token.special} - set(shown)


def decoded_after(tokenizer: Any, before: int, ids: Sequence[int]) -> str:
    """The text of some tokens in the middle of a text, after the token `before`."""
    first, whole = (
        tokenizer.decode(each, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        for each in ([before], [before, *ids])
    )
    if whole.startswith(first):
        return str(whole[len(first) :])
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def character_spans(
    tokenizer: Any, ids: Sequence[int], text: str, before: int, shown: Collection[int]
) -> list[tuple[int, int]]:
    """The first and the end character of each token of an answer with this text. Hidden tokens have none.

    Tokens that only together are whole characters all have the characters of their group.
    """
    hidden = hidden_ids(tokenizer, shown)
    spans = [(0, 0)] * len(ids)
    known, open_, at = [before], [], 0  # tokens that are text already, numbers of those that are not yet
    for number, token in enumerate(ids):
        if token not in hidden:
            open_.append(number)
            piece = decoded_after(tokenizer, known[-1], [ids[each] for each in open_])
            if not piece.endswith("\ufffd"):
                spans[open_[0] : number + 1] = [(at, min(at + len(piece), len(text)))] * (
                    number + 1 - open_[0]
                )
                at = min(at + len(piece), len(text))
                known, open_ = [token], []
                continue
        spans[number] = (at, at)
    return spans


def answer_start(text: str, written: Format) -> int | None:
    """Where in what a model wrote the answer begins: 0 without a thought, None if the thought was never closed."""
    opening = text.lstrip()
    opened = written.opened or any(opening.startswith(marks.open) for marks in written.thinking)
    closed = [at for marks in written.thinking if (at := text.find(marks.close)) >= 0]
    if not closed:
        return None if opened else 0
    close = min(closed)
    mark = max((marks.close for marks in written.thinking if text.startswith(marks.close, close)), key=len)
    # A thought without a mark before it was opened by something else; a later one is talked about.
    if not opened and any(0 <= text.find(marks.open) < close for marks in written.thinking):
        return 0
    rest = text[close + len(mark) :]
    return len(text) - len(rest.lstrip())
