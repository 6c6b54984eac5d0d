"""Generates each model's own greedy answers, in batches with padding on the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import GenerationConfig

from extract.reading.prefix import prefix_cache, shared_length
from fi_store.ids import content_id

if TYPE_CHECKING:
    from extract.models import Reader


class Answer(NamedTuple):
    """An answer without special tokens. `n_tokens` does not count the end mark.

    `finished` means that the model ended the answer itself before the limit.
    """

    text: str
    n_tokens: int
    finished: bool


@torch.inference_mode()
def generate_answers(
    reader: Reader, prompts: Sequence[Sequence[int]], max_new_tokens: int, device: Any
) -> list[Answer]:
    """Greedy answers to prompts given as token ids. They are deterministic for the same batch.

    A model's own sampling settings and penalties are ignored: with them, the answer would depend on more than the
    distributions that divergences compare.
    """
    if not prompts:
        return []
    width = max(len(row) for row in prompts)
    with reader.active() as active:
        model: Any = active
        ends = end_ids(model, reader.tokenizer)
        n_shared = shared_length(prompts, min(len(row) for row in prompts) - 1)
        past = prefix_cache(model, prompts[0][:n_shared], len(prompts), device) if n_shared else None
        if past is None:
            n_shared = 0
        # Each row holds the shared tokens, then padding, then the rest of its prompt.
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        mask[:, :n_shared] = 1
        for number, row in enumerate(prompts):
            tokens = torch.tensor(row)
            ids[number, :n_shared] = tokens[:n_shared]
            ids[number, width - len(row) + n_shared :] = tokens[n_shared:]
            mask[number, width - len(row) + n_shared :] = 1
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            past_key_values=past,
            generation_config=_greedy(max_new_tokens, ends),
        )
    return [answer_of(row, ends, reader.tokenizer) for row in output[:, width:].tolist()]


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end an answer, from the model's generation settings and from the tokenizer."""
    declared = model.generation_config.eos_token_id
    found = declared if isinstance(declared, list) else [declared]
    return sorted({int(token) for token in (*found, tokenizer.eos_token_id) if token is not None})


UNIMPORTANT = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Entries of a model's configuration that do not change answers, or that a run stores elsewhere."""


def answering(reader: Reader, trust_remote_code: bool) -> str | None:
    """A hash of what determines answers besides the fingerprint: the configuration and the ids that end an answer.

    None if the repository's own code may run, because no hash covers it.
    """
    if trust_remote_code:
        return None
    config = {name: value for name, value in reader.plain.config.to_dict().items() if name not in UNIMPORTANT}
    return content_id("answering", config, end_ids(reader.plain, reader.tokenizer))


def _greedy(max_new_tokens: int, ends: list[int]) -> GenerationConfig:
    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,  # only after an end mark, where it is never read
    )


def answer_of(tokens: list[int], ends: list[int], tokenizer: Any) -> Answer:
    """The answer that a model gave as tokens, which may go on after the end mark."""
    stop = next((at for at, token in enumerate(tokens) if token in ends), None)
    kept = tokens if stop is None else tokens[:stop]
    text = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    # The limit may cut a character in half, and its remaining bytes are not text.
    return Answer(text.rstrip("\ufffd") if stop is None else text, len(kept), stop is not None)
