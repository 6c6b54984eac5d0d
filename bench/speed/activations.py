"""The rows that both trainers learn from: those of a planted world, and real ones of the bundled model."""

from __future__ import annotations

import torch

from bench.planted.world import make_world
from extract.models import Loading, find_source, parse_reference
from fi_store.prompts import load_suite

LAYER = 17
MAX_TOKENS = 256


def planted(n: int, d: int, *, directions: int) -> torch.Tensor:
    """(n, d) rows of the base of a world (`bench/planted/world.py`), scaled to a mean square of 1."""
    rows, _target = make_world(0, 0.05, d=d, n=directions).rows(
        n, torch.Generator().manual_seed(1), block=2048
    )
    return rows / rows.square().mean().sqrt()


def real(n: int) -> torch.Tensor:
    """(n, 576) residuals of SmolLM2-135M-Instruct after layer 17 on the shipped prompts, scaled to a mean square of 1.

    The first token of each text is left out: its norm is a hundred times that of the others.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = find_source(parse_reference("bundled:smollm2"), Loading(None, False, lambda _note: None))
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    model = AutoModelForCausalLM.from_pretrained(source.folder, dtype=torch.float32)
    parts: list[torch.Tensor] = []
    count = 0
    with torch.inference_mode():
        for prompt in load_suite().prompts:
            text = "\n".join(part for part in (prompt.text, prompt.control) if part)
            ids = tokenizer(text, return_tensors="pt").input_ids[:, :MAX_TOKENS]
            states = model(ids, output_hidden_states=True, use_cache=False).hidden_states[LAYER + 1][0, 1:]
            parts.append(states.clone())
            count += len(states)
            if count >= n:
                break
    rows = torch.cat(parts)[:n].clone()  # a normal tensor, outside inference mode
    return rows / rows.square().mean().sqrt()
