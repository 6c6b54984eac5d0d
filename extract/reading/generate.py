"""Generates each model's own greedy answers, in batches of prompts of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from extract.reading.batch import plan_batches
from extract.reading.decoding import Decoding, Rereading, write_on
from extract.reading.prefix import may_share
from extract.texts import Answer, answer_of
from fi_store.ids import content_id

if TYPE_CHECKING:
    from extract.models import Reader

ANSWER_TOKENS = 8192
"""The limit on a batch's padded tokens, those of the answers included: their keys and values are kept in memory."""


def generate_answers(
    reader: Reader, prompts: Sequence[Sequence[int]], max_new_tokens: int, device: Any
) -> list[Answer]:
    """Greedy answers to prompts given as token ids. They are deterministic for the same prompts.

    A model's own settings for generation are ignored: with them, the answer would depend on more than the
    distributions that divergences compare.
    """
    ends = end_ids(reader)
    answers: dict[int, Answer] = {}
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    together = reader.ways.answered_together or not reader.ways.cached
    for numbers in plan_batches(lengths, [1] * len(prompts), ANSWER_TOKENS if together else 1):
        written = _write([prompts[number] for number in numbers], reader, max_new_tokens, ends, device)
        answers |= {
            number: answer_of(tokens, ends, reader.tokenizer, prompts[number][-1], reader.shown)
            for number, tokens in zip(numbers, written, strict=True)
        }
    return [answers[number] for number in range(len(prompts))]


def _write(
    prompts: Sequence[Sequence[int]], reader: Reader, max_new_tokens: int, ends: list[int], device: Any
) -> list[list[int]]:
    """The tokens that a model writes after some prompts; they may go on after an end mark."""
    if not reader.ways.cached:
        rereading = Rereading(reader, prompts, max_new_tokens, device)
        return write_on(rereading, rereading.begin(), ends)
    if may_share(reader):
        decoding = Decoding(reader, prompts, max_new_tokens, device)
        logits = decoding.begin()
        if decoding.plain:
            return write_on(decoding, logits, ends)
    return _write_with_transformers(prompts, reader, max_new_tokens, ends, device)


@torch.inference_mode()
def _write_with_transformers(
    prompts: Sequence[Sequence[int]],
    reader: Reader,
    max_new_tokens: int,
    ends: list[int],
    device: Any,
    *processors: LogitsProcessor,
) -> list[list[int]]:
    """The same for a model with a sliding window or a recurrent state, which transformers knows how to carry on."""
    width = max(map(len, prompts))
    ids, mask = torch.zeros(2, len(prompts), width, dtype=torch.long)
    for number, prompt in enumerate(prompts):
        ids[number, width - len(prompt) :] = torch.tensor(prompt)
        mask[number, width - len(prompt) :] = 1
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,  # only after an end mark, where it is never read
    )
    with reader.active() as active, _no_own_settings(active) as model:
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=settings,
            logits_processor=LogitsProcessorList(processors),
        )
    return output[:, width:].tolist()  # type: ignore[no-any-return]


def forced_logits(reader: Reader, texts: Sequence[Sequence[int]], n_new: int, device: Any) -> Tensor:
    """The predictions (n_texts, n_new, V) with which a model that keeps keys and values would have written the last
    `n_new` tokens of some texts in one batch."""
    prompts, forced = [text[:-n_new] for text in texts], torch.tensor([text[-n_new:] for text in texts])
    if may_share(reader):
        decoding = Decoding(reader, prompts, n_new, device)
        logits = [decoding.begin()]
        if decoding.plain:
            logits += [decoding.go_on(tokens) for tokens in forced[:, :-1].T]
            return torch.stack(logits, 1)
    forcing = _Forcing(forced)
    _write_with_transformers(prompts, reader, n_new, [], device, forcing)
    return torch.stack(forcing.logits, 1)


class _Forcing(LogitsProcessor):
    """Lets a model write given tokens (n_texts, n_new), and keeps what it predicted at each."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens, self.logits = tokens, list[Tensor]()

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        column = self.tokens[:, len(self.logits)].to(scores.device)
        self.logits.append(scores.clone())
        return torch.full_like(scores, -torch.inf).scatter_(1, column[:, None], 0.0)


@contextmanager
def _no_own_settings(model: Any) -> Iterator[Any]:
    """Hides the model's settings while the context is open: transformers takes from them what a call leaves open."""
    own = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield model
    finally:
        model.generation_config = own


def end_ids(reader: Reader) -> list[int]:
    """The ids that end an answer: of the model's generation settings, its tokenizer and the format of its prompts."""
    plain: Any = reader.plain
    declared = plain.generation_config.eos_token_id
    found = declared if isinstance(declared, list) else [declared]
    tokenizer: Any = reader.tokenizer
    every = (*found, tokenizer.eos_token_id, *reader.turn_ends)
    return sorted({int(token) for token in every if token is not None})


UNIMPORTANT = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Entries of a model's configuration that do not change answers, or that a run stores elsewhere."""


def answering(reader: Reader, trust_remote_code: bool) -> str | None:
    """A hash of what determines answers besides the fingerprint: the configuration, the ids that end an answer, and how
    the model is read.

    None if the repository's own code may run, because no hash covers it.
    """
    if trust_remote_code:
        return None
    config = {name: value for name, value in reader.plain.config.to_dict().items() if name not in UNIMPORTANT}
    return content_id("answering", config, end_ids(reader), asdict(reader.ways))
