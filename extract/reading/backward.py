"""Reads answers with one model, forward and, if asked, backward: log-probabilities, activations and their gradients.

The graph begins at the embedding's output, so no parameter gets a gradient, and hooks take the gradient of every
site's output as it passes. Prompts that two answers share are read once, and their gradients are sums over both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from extract.reading.batch import Batch, Level
from extract.reading.hooks import NotFiniteError, Readable, narrowed, run_level, site_module
from extract.reading.likelihood import likelihood
from extract.reading.prefix import may_branch, may_share, shareable

FLOAT16_SCALE = 4096.0
"""The factor of float16 gradients on their way back, since they would vanish below 6e-8."""


class Counted(NamedTuple):
    """A position whose prediction counts: the token that follows (or `END`) and the number of the text."""

    position: int
    token: int
    text: int


@dataclass(frozen=True)
class AnswerTexts:
    """Prompts with answers in one model's tokens.

    `kept` are (position, row) pairs: a row that several texts pass through is kept in each of them. `weights` (one for
    each text) make the sum whose gradient is taken. `stems` are the lengths of the prompts.
    """

    ids: list[list[int]]
    stems: list[int]
    kept: list[list[tuple[int, int]]]
    counted: list[list[Counted]]
    weights: list[float]
    n_rows: int


@dataclass(frozen=True)
class Scoring:
    """How a model's predictions are read: the ids that end an answer, and the logits that are no token's."""

    ends: Tensor  # (E,) int64
    padded: Tensor | None  # (V,) bool


class Shift(NamedTuple):
    """Values (n_rows, d_model) that are added to the residual stream after a layer."""

    layer: int
    values: Tensor


@dataclass
class AnswerOutput:
    """What one model made of some answers: log p of each text's answer (nats), and by (site, layer) the activations
    (n_rows, d_model) and the gradients (float32; empty without a backward pass)."""

    logprobs: Tensor  # (n_texts,) float64
    activations: dict[tuple[str, int], Tensor]
    gradients: dict[tuple[str, int], Tensor]


class _Places(NamedTuple):
    """Where numbered positions are in a pass. rows, columns, numbers: (k,) int64."""

    rows: Tensor
    columns: Tensor
    numbers: Tensor

    def of(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same on the device of a module's output."""
        return tuple(part.to(hidden.device) for part in self)  # type: ignore[return-value]


class _Plan(NamedTuple):
    """A pass, where its kept rows are, and where its counted predictions are (numbered among all counted)."""

    level: Level
    kept: _Places
    counted: _Places


def read_answers(
    reader: Readable,
    texts: AnswerTexts,
    sites: Sequence[str],
    scoring: Scoring,
    device: torch.device | str,
    *,
    gradients: bool,
    shift: Shift | None = None,
) -> AnswerOutput:
    """Reads the texts in one batch. With `gradients` there is a backward pass from the weighted sum of their log p.

    Raises:
        NotFiniteError: a gradient or a log-probability is not finite.
    """
    positions = [
        sorted({at for at, _ in kept} | {each.position for each in counted})
        for kept, counted in zip(texts.kept, texts.counted, strict=True)
    ]
    batch = Batch(texts.ids, positions, texts.stems, device)
    output: AnswerOutput | None = None
    mode = torch.enable_grad() if gradients else torch.inference_mode()
    with reader.active() as model, mode:
        # Repeated with whole texts if the first pass shows that the model cannot share.
        while output is None:
            levels = batch.levels(share=may_share(model), branch=may_branch(model))
            plans = _plans(texts, positions, levels)
            output = _Reading(reader, model, texts, sites, scoring, gradients, shift).run(plans)
    finite = [output.logprobs, *output.gradients.values()]
    if not all(bool(torch.isfinite(values).all()) for values in finite):
        raise NotFiniteError(
            f"{reader.reference.text} gives log-probabilities or gradients that are not finite.",
            hint="try another precision (--quantization fp32) or --attribution off",
        )
    return output


def _plans(texts: AnswerTexts, positions: Sequence[Sequence[int]], levels: Sequence[Level]) -> list[_Plan]:
    """Finds kept rows and counted predictions in the passes."""
    rows = [dict(kept) for kept in texts.kept]
    numbers = iter(range(sum(map(len, texts.counted))))
    numbered = [{each.position: next(numbers) for each in counted} for counted in texts.counted]
    flat = [(text, at) for text, some in enumerate(positions) for at in some]
    of_row = torch.tensor([rows[text].get(at, -1) for text, at in flat], dtype=torch.long)
    of_counted = torch.tensor([numbered[text].get(at, -1) for text, at in flat], dtype=torch.long)
    return [_Plan(level, _places(level, of_row), _places(level, of_counted)) for level in levels]


def _places(level: Level, numbers: Tensor) -> _Places:
    """The places of the positions that have a number, each once although several texts pass through it."""
    found = numbers.to(level.indices.device)[level.indices]
    table = torch.stack([level.rows, level.columns, found])[:, found >= 0]
    return _Places(*(torch.unique(table, dim=1) if table.shape[1] else table))


@dataclass
class _Reading:
    """One attempt to read a batch, and what its hooks have found so far."""

    reader: Readable
    model: Any
    texts: AnswerTexts
    sites: Sequence[str]
    scoring: Scoring
    backward: bool
    shift: Shift | None

    def run(self, plans: Sequence[_Plan]) -> AnswerOutput | None:
        """Runs the passes in order, then backward. None if the model's keys and values cannot be passed on."""
        counted = [each for part in self.texts.counted for each in part]
        logprobs = torch.zeros(len(self.texts.ids), dtype=torch.float64)
        found = AnswerOutput(logprobs, {}, {})
        heads: list[tuple[Tensor, Tensor]] = []  # logits and their gradients
        cache = None
        send_positions = len(plans) > 1 and may_branch(self.model)
        for plan in plans:
            level, last = plan.level, plan is plans[-1]
            if cache is not None:
                cache.batch_select_indices(level.parent)
            # A common opening has no kept position: to the rows after it, its keys and values are constants.
            with self._hooked(plan, found) as was_narrowed:
                output = run_level(
                    self.model, level, cache, keep_cache=not last, send_positions=send_positions
                )
            if len(plan.counted.numbers):
                logits = output.logits[0] if was_narrowed() else output.logits[plan.counted[:2]]
                part = [counted[number] for number in plan.counted.numbers.tolist()]
                gradient = self._score(logits, part, logprobs)
                if gradient is not None:
                    heads.append((logits, gradient))
            if not last:
                cache = shareable(self.model, output, level.mask.shape[1])
                if cache is None:
                    return None
        if self.backward:
            torch.autograd.backward([logits for logits, _ in heads], [gradient for _, gradient in heads])
            found.gradients = {key: rows / self._scale for key, rows in found.gradients.items()}
        return found

    @property
    def _scale(self) -> float:
        return FLOAT16_SCALE if self.model.dtype == torch.float16 else 1.0

    def _score(self, logits: Tensor, part: Sequence[Counted], logprobs: Tensor) -> Tensor | None:
        """Adds the part's log-probabilities to those of their texts; returns the gradient by the logits (n, V)."""
        ids = torch.tensor([each.token for each in part], device=logits.device)
        weights = None
        if self.backward:
            weights = torch.tensor([self._scale * self.texts.weights[each.text] for each in part])
            weights = weights.to(logits.device)
        ends, padded = self.scoring.ends.to(logits.device), self.scoring.padded
        if padded is not None:
            padded = padded.to(logits.device)
        scored = likelihood(logits.detach(), ids, ends, padded, weights)
        owners = torch.tensor([each.text for each in part])
        logprobs.index_add_(0, owners, scored.logprobs.cpu().double())
        return scored.gradient

    @contextmanager
    def _hooked(self, plan: _Plan, found: AnswerOutput) -> Iterator[Callable[[], bool]]:
        """All hooks of a pass, removed when the context closes."""
        with_graph = self.backward and len(plan.level.indices) > 0
        counted = plan.counted
        head = replace(plan.level, rows=counted.rows, columns=counted.columns, indices=counted.numbers)
        with ExitStack() as stack:
            if not with_graph:
                stack.enter_context(torch.no_grad())
            stack.enter_context(_graph_from_embedding(self.model) if with_graph else nullcontext())
            if len(plan.kept.numbers):
                for number, layer in enumerate(self.reader.layers):
                    for site in self.sites:
                        module = site_module(self.reader, layer, number, site)
                        handle = module.register_forward_hook(self._watch((site, number), plan, found))
                        stack.callback(handle.remove)
            yield stack.enter_context(narrowed(self.model, head, len(counted.numbers) > 0))

    def _watch(self, key: tuple[str, int], plan: _Plan, found: AnswerOutput) -> Callable[..., Any]:
        """A hook on a site's module that takes the activations of kept rows and, later, their gradients."""

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            hidden: Tensor = output[0] if isinstance(output, tuple) else output  # (B, T, d_model)
            rows, columns, numbers = plan.kept.of(hidden)
            shape = (self.texts.n_rows, hidden.shape[2])
            if key not in found.activations:
                found.activations[key] = hidden.new_zeros(shape)
            found.activations[key][numbers] = hidden.detach()[rows, columns]
            if hidden.requires_grad:
                into = found.gradients.setdefault(key, torch.zeros(shape, device=hidden.device))

                def collect(gradient: Tensor) -> None:
                    into.index_add_(0, numbers, gradient[rows, columns].float())

                hidden.register_hook(collect)  # type: ignore[no-untyped-call]
            if self.shift is None or key != ("resid_post", self.shift.layer):
                return None
            hidden = hidden.clone()
            hidden[rows, columns] += self.shift.values.to(hidden)[numbers]
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return hook


@contextmanager
def _graph_from_embedding(model: Any) -> Iterator[None]:
    """Lets the graph begin at the embedding's output, because no parameter takes part in it."""

    def begin(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.detach().requires_grad_()

    handle = model.get_input_embeddings().register_forward_hook(begin)
    try:
        yield
    finally:
        handle.remove()
