"""Greedy decoding with one model: prompts are read at once, then every text goes on token by token until it ends.

Texts are padded so that all go on in the same column. What all prompts open with is read once, keys and values are
appended in place, and texts that have ended leave the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from extract.reading.batch import Batch
from extract.reading.hooks import Edit, NotFiniteError, edited, narrowed, read_batch
from extract.reading.prefix import prefix_cache, shareable, shared_length
from extract.reading.sites import Readable
from fi_store.errors import ExtractionError


class Writing(Protocol):
    """Some texts that one model goes on with. At most `n_new` tokens are added to each; if `plain`, texts may leave."""

    reader: Readable
    n_new: int
    plain: bool

    def go_on(self, tokens: Tensor, edit: Edit | None = None) -> Tensor: ...
    def keep(self, going: Tensor) -> Tensor: ...


class Decoding:
    """Some texts that one model reads together. At most `n_new` tokens are added to each.

    What they open with, at most `limit` tokens, is read when the object is made. `plain` says, after the prompts were
    read, whether the model keeps plain keys and values; texts may leave only then.

    Raises:
        ExtractionError: the model keeps no keys and values that can be relied on.
    """

    def __init__(
        self,
        reader: Readable,
        prompts: Sequence[Sequence[int]],
        n_new: int,
        device: torch.device | str,
        *,
        limit: int | None = None,
    ) -> None:
        self.reader, self.device, self.n_new = reader, device, n_new
        self.plain = False
        self._refuse_unless(reader.ways.cached)
        count, width, shortest = len(prompts), max(map(len, prompts)), min(map(len, prompts)) - 1
        self._shared = shared_length(prompts, shortest if limit is None else min(shortest, limit))
        self._cache: Any = self._read_opening(prompts[0][: self._shared], count) if self._shared else None
        if self._cache is None:
            self._shared = 0
        # Each row holds the shared tokens, then padding, then the rest of its prompt.
        self._starts = [width - len(prompt) for prompt in prompts]
        self._rest = torch.zeros(count, width - self._shared, dtype=torch.long)
        self._mask = torch.zeros(count, width, dtype=torch.long)
        self._mask[:, : self._shared] = 1
        for number, (start, prompt) in enumerate(zip(self._starts, prompts, strict=True)):
            self._rest[number, start:] = torch.tensor(prompt[self._shared :])
            self._mask[number, start + self._shared :] = 1

    def column(self, number: int, position: int) -> int:
        """Where a position of a prompt, after what is shared, is in the pass over the prompts."""
        return self._starts[number] + position - self._shared

    @torch.inference_mode()
    def begin(self, edit: Edit | None = None) -> Tensor:
        """Reads the prompts; returns the logits (n, V) of what follows."""
        with self.reader.active() as model:
            logits, output = self._read(model, self._rest, edit)
            cache = shareable(model, output, self._mask.shape[1])
        if cache is not None:
            self.plain = True
            cache.layers = [GrowingLayer(layer, self.n_new) for layer in cache.layers]
        return logits

    @torch.inference_mode()
    def go_on(self, tokens: Tensor, edit: Edit | None = None) -> Tensor:
        """Reads one more token of each text (n,); returns the logits (n, V) of what follows."""
        self._refuse_unless(self._cache is not None)
        self._mask = torch.cat([self._mask, torch.ones(len(tokens), 1, dtype=torch.long)], 1)
        with self.reader.active() as model:
            return self._read(model, tokens[:, None], edit)[0]

    @torch.inference_mode()
    def keep(self, going: Tensor) -> Tensor:
        """Lets the texts that do not go on (n,) bool leave; returns the numbers (k,) of the others in their new order.

        The last ones take the rows of those that leave.
        """
        count = int(going.sum())
        order = torch.arange(len(going))
        free, moved = (~going[:count]).nonzero()[:, 0], count + going[count:].nonzero()[:, 0]
        order[free] = moved
        self._mask = self._mask[order[:count]]
        for layer in self._cache.layers:
            layer.move(free, moved, count)
        return order[:count]

    @torch.inference_mode()
    def _read_opening(self, tokens: Sequence[int], count: int) -> Any:
        with self.reader.active():
            return prefix_cache(self.reader, tokens, count, self.device)

    def _read(self, model: Any, ids: Tensor, edit: Edit | None) -> tuple[Tensor, Any]:
        last = torch.arange(len(ids)), torch.full((len(ids),), ids.shape[1] - 1)
        options = {}
        if "position_ids" in inspect.signature(model.forward).parameters:
            positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            options["position_ids"] = positions.to(self.device)
        with edited(self.reader, edit, ids.shape), narrowed(model, ids.shape, last) as was_narrowed:
            output = model(
                input_ids=ids.to(self.device),
                attention_mask=self._mask.to(self.device),
                past_key_values=self._cache,
                use_cache=True,
                **options,
            )
        self._cache = getattr(output, "past_key_values", None)
        return output.logits[0] if was_narrowed() else output.logits[:, -1], output

    def _refuse_unless(self, cached: bool) -> None:
        if not cached:
            raise ExtractionError(
                f"{self.reader.reference.text} has no keys and values that can be relied on, so it cannot answer under "
                "a patch."
            )


class Rereading:
    """Some texts that one model goes on with, reading them whole again for every new token."""

    plain = True

    def __init__(
        self, reader: Readable, prompts: Sequence[Sequence[int]], n_new: int, device: torch.device | str
    ) -> None:
        self.reader, self.n_new, self._device = reader, n_new, device
        self._texts = [list(prompt) for prompt in prompts]

    def begin(self) -> Tensor:
        """Reads the prompts; returns the logits (n, V) of what follows."""
        lengths = [len(text) for text in self._texts]
        batch = Batch(self._texts, [[length - 1] for length in lengths], lengths, self._device)
        logits = read_batch(self.reader, batch, (), logits=True).logits
        if logits is None:
            raise AssertionError("logits were requested")
        return logits

    def go_on(self, tokens: Tensor, edit: Edit | None = None) -> Tensor:
        """Adds one more token to each text (n,); returns the logits (n, V) of what follows.

        Raises:
            ValueError: there is an edit, which would need the texts' earlier ones.
        """
        if edit is not None:
            raise ValueError("a text that is read again cannot be edited")
        for text, token in zip(self._texts, tokens.tolist(), strict=True):
            text.append(token)
        return self.begin()

    def keep(self, going: Tensor) -> Tensor:
        """Lets the texts that do not go on (n,) bool leave; returns the numbers (k,) of the others."""
        order = going.nonzero()[:, 0]
        self._texts = [self._texts[number] for number in order.tolist()]
        return order


def write_on(
    decoding: Writing,
    logits: Tensor,
    ends: Sequence[int],
    edit: Callable[[Mapping[int, list[int]]], Edit | None] = lambda _written: None,
    beside: Writing | None = None,
) -> list[list[int]]:
    """Lets every text go on, from the logits (n, V) after its prompt, until one of the tokens `ends` or the limit.

    `edit` says what is done while a step's tokens are read, from what each text that goes on has written up to them, by
    its number; `beside` reads the same texts. The tokens of a text that cannot leave the batch go on after its end.

    Raises:
        NotFiniteError: a prediction is NaN.
    """
    stops = set(ends)
    written: list[list[int]] = [[] for _ in range(len(logits))]
    numbers = torch.arange(len(logits))
    decodings = [decoding] if beside is None else [decoding, beside]
    for left in reversed(range(decoding.n_new)):
        if bool(logits.isnan().any()):
            raise NotFiniteError(
                f"{decoding.reader.reference.text} gives predictions that are not finite.",
                hint="try another precision, for example --quantization fp32",
            )
        tokens = logits.argmax(1).cpu()
        for number, token in zip(numbers.tolist(), tokens.tolist(), strict=True):
            written[number].append(token)
        ended = torch.tensor([not stops.isdisjoint(written[number]) for number in numbers.tolist()])
        if not left or bool(ended.all()):
            break
        if bool(ended.any()) and all(each.plain for each in decodings):
            for each in decodings:
                order = each.keep(~ended)
            numbers, tokens = numbers[order], tokens[order]
        logits = decoding.go_on(tokens, edit({number: written[number] for number in numbers.tolist()}))
    return written


class GrowingLayer(DynamicLayer):
    """One layer's keys and values with room for `room` more tokens, so that a new token costs only its own copy."""

    keys: Tensor
    values: Tensor

    def __init__(self, layer: Any, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self._all = [_with_room(values, room) for values in (layer.keys, layer.values)]
        self._show(layer.keys.shape[-2])

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends keys and values of new tokens; returns those of all tokens."""
        start = self.keys.shape[-2]
        for whole, new in zip(self._all, (key_states, value_states), strict=True):
            whole[..., start : start + new.shape[-2], :] = new
        self._show(start + key_states.shape[-2])
        return self.keys, self.values

    def move(self, free: Tensor, moved: Tensor, count: int) -> None:
        """Puts some rows (m,) in the place of others (m,) and keeps the first `count` rows."""
        length = self.keys.shape[-2]
        for whole in self._all:
            whole[free.to(whole.device)] = whole[moved.to(whole.device)]
        self._all = [whole[:count] for whole in self._all]
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (whole[..., :length, :] for whole in self._all)


def _with_room(values: Tensor, room: int) -> Tensor:
    whole = values.new_empty((*values.shape[:-2], values.shape[-2] + room, values.shape[-1]))
    whole[..., : values.shape[-2], :] = values
    return whole
