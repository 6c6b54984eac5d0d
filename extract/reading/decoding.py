"""Reads prompts at once and then goes on token by token, while an edit looks at or changes one site's activations."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from extract.reading.hooks import Edit, Readable, edited, narrowed
from fi_store.errors import ExtractionError


class Decoding:
    """Some texts that one model reads, padded on the left so that they all go on in the same column.

    `starts` are the columns in which the prompts begin.
    """

    def __init__(
        self, reader: Readable, prompts: Sequence[Sequence[int]], device: torch.device | str
    ) -> None:
        self.reader, self.device = reader, device
        width = max(map(len, prompts))
        self.starts = [width - len(prompt) for prompt in prompts]
        self._prompts = torch.zeros(len(prompts), width, dtype=torch.long)
        self._mask = torch.zeros(len(prompts), width, dtype=torch.long)
        for number, (start, prompt) in enumerate(zip(self.starts, prompts, strict=True)):
            self._prompts[number, start:] = torch.tensor(prompt)
            self._mask[number, start:] = 1
        self._cache: Any = None

    def begin(self, edit: Edit | None = None) -> Tensor:
        """Reads the prompts; returns the logits (n, V) of what follows."""
        return self._read(self._prompts, edit)

    def go_on(self, tokens: Tensor, edit: Edit | None = None) -> Tensor:
        """Reads one more token of each text (n,); returns the logits (n, V) of what follows."""
        self._mask = torch.cat([self._mask, torch.ones(len(tokens), 1, dtype=torch.long)], 1)
        return self._read(tokens[:, None], edit)

    @torch.inference_mode()
    def _read(self, ids: Tensor, edit: Edit | None) -> Tensor:
        last = torch.arange(len(ids)), torch.full((len(ids),), ids.shape[1] - 1)
        with self.reader.active() as model, edited(self.reader, edit):
            options = {}
            if "position_ids" in inspect.signature(model.forward).parameters:
                positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
                options["position_ids"] = positions.to(self.device)
            with narrowed(model, ids.shape, last) as was_narrowed:
                output = model(
                    input_ids=ids.to(self.device),
                    attention_mask=self._mask.to(self.device),
                    past_key_values=self._cache,
                    use_cache=True,
                    **options,
                )
        self._cache = getattr(output, "past_key_values", None)
        if self._cache is None:
            raise ExtractionError(
                f"{self.reader.reference.text} keeps no keys and values, so it cannot answer under a patch."
            )
        logits: Tensor = output.logits[0] if was_narrowed() else output.logits[:, -1]
        return logits
