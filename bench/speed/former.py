"""How answers were generated before: one padded batch, transformers' loop, keys and values joined at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from extract.models import Reader
from extract.reading import end_ids
from extract.reading.prefix import prefix_cache, shared_length
from extract.texts import Answer, answer_of


@torch.inference_mode()
def generate_answers(reader: Reader, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[Answer]:
    """Greedy answers to prompts given as token ids, on the CPU."""
    width = max(map(len, prompts))
    with reader.active() as active:
        model: Any = active
        ends = end_ids(reader)
        shared = shared_length(prompts, min(map(len, prompts)) - 1)
        past = prefix_cache(reader, prompts[0][:shared], len(prompts), "cpu") if shared else None
        ids, mask = torch.zeros(2, len(prompts), width, dtype=torch.long)
        mask[:, :shared] = 1
        for number, row in enumerate(prompts):
            tokens = torch.tensor(row)
            ids[number, :shared] = tokens[:shared]
            ids[number, width - len(row) + shared :] = tokens[shared:]
            mask[number, width - len(row) + shared :] = 1
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
        )
        output = model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=past, generation_config=settings
        )
    return [
        answer_of(row, ends, reader.tokenizer, prompt[-1], reader.shown)
        for row, prompt in zip(output[:, width:].tolist(), prompts, strict=True)
    ]
