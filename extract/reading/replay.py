"""Reads answers with one model once as it is, then again under any number of patches, computing only what changes.

A patch adds vectors to the activations of one site and layer. Passes before the first patched position (as a rule the
prompts) keep their keys and values. In the other passes the layers below the patch are skipped: they return what the
last of them returned in the clean pass. Whether a model can skip layers is tried once for each number of layers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from extract.reading.hooks import (
    Edit,
    NotFiniteError,
    add_vectors,
    edited,
    levels_of,
    narrowed,
    run_level,
)
from extract.reading.likelihood import divergence_terms
from extract.reading.passes import AnswerTexts, PlannedPass, Positions, Scoring, plan_passes
from extract.reading.prefix import shareable
from extract.reading.sites import Readable

SAME = 1e-3
"""Nats by which a token's log-probability may change when layers are skipped without a patch."""
_SKIPPING: WeakKeyDictionary[nn.Module, dict[int, bool]] = WeakKeyDictionary()
"""Whether a model gives the same predictions when so many of its layers are skipped."""


def layers_below(site: str, layer: int) -> int:
    """How many layers are done before a change of a site's output changes anything."""
    return layer + (site == "resid_post")


class Patch(NamedTuple):
    """Values (n, d_model) float32 that are added to a site's activations at `rows` (n,) of the texts' kept rows."""

    site: str
    layer: int
    rows: Tensor
    values: Tensor

    @property
    def n_below(self) -> int:
        """How many layers are done before the patch changes anything."""
        return layers_below(self.site, self.layer)

    def edit(self, at: Positions) -> Edit:
        """What the patch does in a pass at positions that are numbered as its values are."""
        values = self.values[at.numbers.to(self.values.device)]
        return Edit(self.site, self.layer, lambda hidden: add_vectors(hidden, at.rows, at.columns, values))


class PatchedOutput(NamedTuple):
    """log p of each counted token of each text (n_counted,) float64 nats, and what the patch pushes.

    pushed: (n_texts, V) float32, p log(p / p patched) summed over a text's counted positions; None if not asked for.
    """

    token_logprobs: list[Tensor]
    pushed: Tensor | None


@dataclass
class _CleanPass:
    """A pass as the model does it without a patch: keys and values before it, outputs of layers, logits (k, V)."""

    plan: PlannedPass
    cache: Any
    outputs: dict[int, Tensor] = field(default_factory=dict)  # layer -> (B, T, d_model)
    logits: Tensor | None = None


@dataclass
class CleanReading:
    """Some answers as one model reads them, and what is needed to read them again under a patch."""

    reader: Readable
    texts: AnswerTexts
    scoring: Scoring
    passes: list[_CleanPass]
    forms: dict[
        int, int | None
    ]  # layer -> empty entries after the activations in its output; None: a bare tensor
    token_logprobs: list[Tensor] = field(default_factory=list)  # of each text, (n_counted,) float64

    @property
    def n_logits(self) -> int:
        """The width of the logits, if they were kept."""
        return next(one.logits.shape[1] for one in self.passes if one.logits is not None)

    @torch.inference_mode()
    def patched(self, patch: Patch, *, words: bool = False, shortcuts: bool = True) -> PatchedOutput:
        """Reads the texts under a patch. `words` needs a reading that kept its logits.

        Without `shortcuts` every pass runs from the first layer on.
        """
        found = [_patched_positions(one.plan, patch, self.texts.n_rows) for one in self.passes]
        first = next((number for number, at in enumerate(found) if len(at.numbers)), len(found))
        logprobs, pushed = torch.cat(self.token_logprobs), None
        with self.reader.active() as model:
            if words:
                pushed = torch.zeros(len(self.texts.ids), self.n_logits, device=found[0].numbers.device)
            skipped = 0
            if not shortcuts:
                first = 0
            elif first < len(found) and self._may_skip(model, patch.n_below):
                skipped = patch.n_below
            for number, logits in self._run(model, first, skipped, patch, found):
                self._score(number, logits, logprobs)
                if pushed is not None:
                    self._push(number, logits, pushed)
        return PatchedOutput(self.texts.by_text(logprobs), pushed)

    def _run(
        self, model: Any, first: int, skipped: int, patch: Patch | None, found: Sequence[Positions]
    ) -> Iterator[tuple[int, Tensor]]:
        """The numbers and logits of the passes with counted predictions, from the pass `first` on."""
        cache = None
        for number, one in enumerate(self.passes[first:], first):
            level = one.plan.level
            before = _fork(one.cache)
            if cache is not None:
                cache.batch_select_indices(level.parent)
                before.layers[skipped:] = cache.layers[skipped:]
            with ExitStack() as stack:
                if patch is not None and len(found[number].numbers):  # it may look for sites: before skipping
                    edit = patch.edit(found[number])
                    stack.enter_context(edited(self.reader, edit, level.ids.shape))
                if skipped:
                    stack.enter_context(self._skipping(one, skipped))
                was_narrowed = stack.enter_context(narrowed(model, level.ids.shape, one.plan.scored))
                output = run_level(model, level, before)
            cache = None if level.last else output.past_key_values
            if one.plan.scored is not None:
                yield number, output.logits[0] if was_narrowed() else output.logits[one.plan.scored]

    def _may_skip(self, model: Any, skipped: int) -> bool:
        """Whether skipping the first layers leaves predictions as they are, which is tried once and remembered."""
        known = _SKIPPING.setdefault(model, {})
        if skipped not in known:
            plain = all(layer in self.forms for layer in range(skipped))
            known[skipped] = plain and self._skips_well(model, skipped)
        return known[skipped]

    def _skips_well(self, model: Any, skipped: int) -> bool:
        logprobs = torch.cat(self.token_logprobs)
        clean = logprobs.clone()
        try:
            for number, logits in self._run(model, 0, skipped, None, []):
                self._score(number, logits, logprobs)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
            return False  # such a model is read from its first layer on, which needs nothing of it
        return torch.allclose(logprobs, clean, rtol=SAME, atol=SAME)

    @contextmanager
    def _skipping(self, one: _CleanPass, skipped: int) -> Iterator[None]:
        """Lets the first layers return the clean output of the last of them while the context is open."""
        stored = one.outputs[skipped - 1]
        with ExitStack() as stack:
            for number, layer in enumerate(self.reader.layers[:skipped]):
                empty = self.forms[number]
                output = stored if empty is None else (stored, *[None] * empty)
                stack.enter_context(_replaced(layer, output))
            yield

    def _score(self, number: int, logits: Tensor, into: Tensor) -> None:
        """Scores a pass's counted tokens under logits (k, V) and writes them among all counted tokens."""
        counted = self.texts.flat
        numbers = self.passes[number].plan.counted.numbers.cpu()
        tokens = [counted[at].token for at in numbers.tolist()]
        into[numbers] = self.scoring.score(logits, tokens).logprobs.cpu().double()

    def _push(self, number: int, logits: Tensor, pushed: Tensor) -> None:
        """Adds what a patch pushes at a pass's counted positions to the sums (n_texts, V)."""
        one, counted = self.passes[number], self.texts.flat
        if one.logits is None:
            raise AssertionError("the clean reading kept no logits")
        owners = torch.tensor([counted[at].text for at in one.plan.counted.numbers.tolist()])
        divergence_terms(one.logits, logits, self.scoring.padded, owners, pushed)


@torch.inference_mode()
def read_clean(
    reader: Readable,
    texts: AnswerTexts,
    scoring: Scoring,
    device: torch.device | str,
    *,
    skipped: frozenset[int] = frozenset(),
    keep_logits: bool = False,
) -> CleanReading:
    """Reads the texts without a patch. `skipped` are the numbers of layers that patches will let be skipped.

    Raises:
        NotFiniteError: a log-probability is not finite.
    """
    batch = texts.batch(device)
    reading: CleanReading | None = None
    with reader.active() as model:
        # Repeated with whole texts if the first pass shows that the model cannot share.
        while reading is None:
            passes = [_CleanPass(plan, None) for plan in plan_passes(texts, levels_of(reader, batch))]
            reading = _read(CleanReading(reader, texts, scoring, passes, {}), model, skipped, keep_logits)
    if not all(bool(torch.isfinite(part).all()) for part in reading.token_logprobs):
        raise NotFiniteError(
            f"{reader.reference.text} gives log-probabilities that are not finite.",
            hint="try another precision, for example --quantization fp32",
        )
    return reading


def _read(
    reading: CleanReading, model: Any, skipped: frozenset[int], keep_logits: bool
) -> CleanReading | None:
    """Runs the passes of a reading in order. None if the model's keys and values cannot be passed on."""
    logprobs = torch.zeros(sum(map(len, reading.texts.counted)), dtype=torch.float64)
    cache = None
    for number, one in enumerate(reading.passes):
        level = one.plan.level
        if cache is not None:
            cache.batch_select_indices(level.parent)
        one.cache = _fork(cache)
        with (
            _keeping_outputs(reading, one, skipped),
            narrowed(model, level.ids.shape, one.plan.scored) as was_narrowed,
        ):
            output = run_level(model, level, cache)
        if one.plan.scored is not None:
            logits = output.logits[0] if was_narrowed() else output.logits[one.plan.scored]
            reading._score(number, logits, logprobs)
            one.logits = logits if keep_logits else None
        if not level.last:
            cache = shareable(model, output, level.mask.shape[1])
            if cache is None:
                return None
    reading.token_logprobs = reading.texts.by_text(logprobs)
    return reading


def _fork(cache: Any) -> Any:
    """A cache with the same keys and values that can go on by itself. (They grow by concatenation, never in place.)"""
    if cache is None:
        return None
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    return fork


def _patched_positions(plan: PlannedPass, patch: Patch, n_rows: int) -> Positions:
    """The positions of a pass that are patched, each once, numbered as the patch's values are."""
    device = plan.kept.numbers.device
    numbers = torch.full((n_rows,), -1, dtype=torch.long)
    numbers[patch.rows] = torch.arange(len(patch.rows))
    found = torch.stack([plan.kept.rows, plan.kept.columns, numbers.to(device)[plan.kept.numbers]])
    found = found[:, found[2] >= 0]  # sorted by row and column
    again = (found[:2, 1:] == found[:2, :-1]).all(0)  # equal texts that are read as one
    return Positions(*found[:, torch.cat([again.new_ones(min(1, found.shape[1])), ~again])])


@contextmanager
def _keeping_outputs(reading: CleanReading, one: _CleanPass, skipped: frozenset[int]) -> Iterator[None]:
    """Keeps what the last skipped layers return, and notes the form of the output of each layer."""

    def keep(number: int, output: Any) -> None:
        empty = output[1:] if isinstance(output, tuple) else ()
        if all(entry is None for entry in empty):
            reading.forms[number] = len(empty) if isinstance(output, tuple) else None
            if number + 1 in skipped:
                one.outputs[number] = output[0] if isinstance(output, tuple) else output

    with ExitStack() as stack:
        for number, layer in enumerate(reading.reader.layers[: max(skipped, default=0)]):

            def hook(_module: nn.Module, _inputs: Any, output: Any, number: int = number) -> None:
                keep(number, output)

            stack.callback(layer.register_forward_hook(hook).remove)
        yield


@contextmanager
def _replaced(layer: nn.Module, output: Any) -> Iterator[None]:
    """Lets a layer return `output` without computing anything while the context is open."""
    own = vars(layer).get("forward")  # of an instance that another library has wrapped
    layer.forward = lambda *_args, **_kwargs: output
    try:
        yield
    finally:
        if own is None:
            del layer.forward
        else:
            layer.forward = own
