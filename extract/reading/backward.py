"""Reads answers with one model, forward and, if asked, backward: log-probabilities, activations and their gradients.

The graph begins at the embedding's output, so no parameter gets a gradient, and hooks take the gradient of every
site's output as it passes. Prompts that two answers share are read once, and their gradients are sums over both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from extract.reading.hooks import (
    NotFiniteError,
    check_finite,
    levels_of,
    narrowed,
    run_level,
    site_output,
    sites_by_key,
)
from extract.reading.likelihood import Likelihood
from extract.reading.passes import AnswerTexts, Counted, PlannedPass, Scoring, plan_passes
from extract.reading.prefix import shareable
from extract.reading.sites import Readable, Site, first_output

FLOAT16_SCALE = 4096.0
"""The factor of float16 gradients on their way back, since they would vanish below 6e-8."""


class Shift(NamedTuple):
    """Values (n_rows, d_model) that are added to the residual stream after a layer."""

    layer: int
    values: Tensor


@dataclass
class AnswerOutput:
    """What one model made of some answers: log p of each counted token (nats), and by (site, layer) the activations
    (n_rows, d_model) and the gradients (float32; empty without a backward pass).

    `logits` (n_rows, V) are the predictions at all rows, if they were asked for."""

    token_logprobs: list[Tensor]  # of each text, (n_counted,) float64
    activations: dict[tuple[str, int], Tensor]
    gradients: dict[tuple[str, int], Tensor]
    logits: Tensor | None = None

    @property
    def logprobs(self) -> Tensor:
        """(n_texts,) float64: log p of each answer."""
        return torch.stack([part.sum() for part in self.token_logprobs])


def read_answers(
    reader: Readable,
    texts: AnswerTexts,
    sites: Sequence[str],
    scoring: Scoring,
    device: torch.device | str,
    *,
    gradients: bool,
    logits: bool = False,
    shift: Shift | None = None,
) -> AnswerOutput:
    """Reads the texts in one batch. With `gradients` there is a backward pass from the weighted sum of their log p.

    Raises:
        NotFiniteError: an activation, a gradient or a log-probability is not finite.
    """
    batch = texts.batch(device)
    output: AnswerOutput | None = None
    mode = torch.enable_grad() if gradients else torch.inference_mode()
    with reader.active() as model, mode:
        # Repeated with whole texts if the first pass shows that the model cannot share.
        while output is None:
            plans = plan_passes(texts, levels_of(reader, batch))
            output = _Attempt(reader, model, texts, sites, scoring, gradients, logits, shift).run(plans)
    check_finite(reader, output.activations)
    finite = [output.logprobs, *output.gradients.values()]
    if not all(bool(torch.isfinite(values).all()) for values in finite):
        raise NotFiniteError(
            f"{reader.reference.text} gives log-probabilities or gradients that are not finite.",
            hint="try another precision (--quantization fp32) or --attribution off",
        )
    return output


@dataclass
class _Attempt:
    """One attempt to read a batch, and what its hooks have found so far."""

    reader: Readable
    model: Any
    texts: AnswerTexts
    sites: Sequence[str]
    scoring: Scoring
    backward: bool
    with_logits: bool
    shift: Shift | None

    def run(self, plans: Sequence[PlannedPass]) -> AnswerOutput | None:
        """Runs the passes in order, then backward. None if the model's keys and values cannot be passed on."""
        counted = self.texts.flat
        logprobs = torch.zeros(len(counted), dtype=torch.float64)
        found = AnswerOutput(self.texts.by_text(logprobs), {}, {})
        heads: list[tuple[Tensor, Tensor]] = []  # logits and their gradients
        cache = None
        for plan in plans:
            level = plan.level
            if cache is not None:
                cache.batch_select_indices(level.parent)
            # A common opening has no kept position: to the rows after it, its keys and values are constants.
            read = plan.predicted(kept=self.with_logits)
            with self._hooked(plan, None if read is None else read.places, found) as was_narrowed:
                output = run_level(self.model, level, cache)
            if read is not None:
                logits = output.logits[0] if was_narrowed() else output.logits[read.places]
                if self.with_logits:
                    if found.logits is None:
                        found.logits = logits.new_empty((self.texts.n_rows, logits.shape[1]))
                    found.logits[plan.kept.numbers] = logits.detach()[read.kept]
                part = [counted[number] for number in plan.counted.numbers.tolist()]
                scored = self._score(logits.detach()[read.counted], part)
                logprobs[plan.counted.numbers.cpu()] = scored.logprobs.cpu().double()
                if scored.gradient is not None and part:
                    slopes = torch.zeros_like(logits).index_add_(0, read.counted, scored.gradient)
                    heads.append((logits, slopes))
            if not level.last:
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

    def _score(self, logits: Tensor, part: Sequence[Counted]) -> Likelihood:
        """The log-probabilities of counted tokens under logits (n, V), and their gradient."""
        weights = None
        if self.backward:
            weights = torch.tensor([self._scale * self.texts.weights[each.text] for each in part])
        return self.scoring.score(logits, [each.token for each in part], weights)

    @contextmanager
    def _hooked(
        self, plan: PlannedPass, read: tuple[Tensor, Tensor] | None, found: AnswerOutput
    ) -> Iterator[Callable[[], bool]]:
        """All hooks of a pass, removed when the context closes."""
        with_graph = self.backward and len(plan.level.indices) > 0
        found_sites = sites_by_key(self.reader, self.sites)
        with ExitStack() as stack:
            if not with_graph:
                stack.enter_context(torch.no_grad())
            stack.enter_context(_graph_from_embedding(self.model) if with_graph else nullcontext())
            if len(plan.kept.numbers):
                for key, site in found_sites.items():
                    handle = site.module.register_forward_hook(self._watch(site, key, plan, found))
                    stack.callback(handle.remove)
            yield stack.enter_context(narrowed(self.model, plan.level.ids.shape, read))

    def _watch(
        self, site: Site, key: tuple[str, int], plan: PlannedPass, found: AnswerOutput
    ) -> Callable[..., Any]:
        """A hook on a site's module that takes the activations of kept rows and, later, their gradients."""

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            hidden = site_output(self.reader, site, key, output, plan.level.ids.shape)
            rows, columns, numbers = plan.kept.of(hidden)
            shape = (self.texts.n_rows, hidden.shape[2])
            if key not in found.activations:
                found.activations[key] = hidden.new_empty(shape)
            found.activations[key][numbers] = hidden.detach()[rows, columns]
            if hidden.requires_grad:
                into = found.gradients.setdefault(key, torch.zeros(shape, device=hidden.device))
                whole = hidden.shape  # a hook that refers to its own tensor would keep the graph for ever

                def collect(gradient: Tensor) -> None:
                    of_site = gradient.reshape(whole)[rows, columns].float() / site.scale
                    into.index_add_(0, numbers, of_site)

                # What the model goes on with is the module's own tensor.
                first_output(output).register_hook(collect)
            if self.shift is None or key != ("resid_post", self.shift.layer):
                return None
            shifted = hidden.clone()
            shifted[rows, columns] += self.shift.values.to(hidden)[numbers]
            return site.write(output, hidden, shifted)

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
