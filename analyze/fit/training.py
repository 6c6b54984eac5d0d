"""Trains a BatchTopK sparse autoencoder by gradient descent: the loop that all learned dictionaries share.

BatchTopK: Bussmann, Leask, Nanda (2024), "BatchTopK Sparse Autoencoders". Auxiliary loss for dead latents: Gao et
al. (2024), "Scaling and evaluating sparse autoencoders", appendix A.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from analyze.fit.codes import Codes, largest

AUXILIARY_WEIGHT = 1 / 32
"""Weight of the auxiliary loss (Gao et al., appendix A.2)."""
DEAD_AFTER_STEPS = 50
"""A latent that did not fire for this many steps gets the auxiliary gradient."""
THRESHOLD_STEPS = 100
"""The inference threshold is the mean, over this many last steps, of the smallest activation that was kept."""


@dataclass(frozen=True)
class FitOptions:
    """How a dictionary is learned."""

    site: str
    layer: int
    n_latents: int
    k: int
    steps: int
    batch: int
    seed: int
    learning_rate: float = 2e-3
    """Peak of Adam's learning rate, with a linear warm-up over 5% of the steps and a decay over the last 20%."""


@dataclass(frozen=True)
class RowSource:
    """Where a fit draws its rows from. The kind decides what a row is: one model's, a difference, or both models'.

    `draw` turns indices (p,) of pairs into scaled float32 rows (b, d_in): b = 2p if each model has rows of its own, b =
    p if a pair makes one row.
    """

    n: int  # pairs
    mean: torch.Tensor  # (d_in,) float32, mean of the scaled rows: the decoder's first bias
    draw: Callable[[torch.Tensor], torch.Tensor]
    dtype: torch.dtype  # of the stored activations; bfloat16 ones are multiplied in bfloat16


class Trainer:
    """The state of one fit: `options.batch / 2` pairs of the source per step.

    Gradients are written out by hand, since only the nonzero codes have any.
    """

    def __init__(self, source: RowSource, options: FitOptions) -> None:
        self.source = source
        self.options = options
        self.random = torch.Generator().manual_seed(options.seed)
        self.compute = source.dtype if source.dtype == torch.bfloat16 else torch.float32
        # Decoder rows start as random directions, the encoder as a copy of them (Gao et al., appendix A.1).
        shape = (options.n_latents, len(source.mean))
        self.w_dec = torch.nn.functional.normalize(torch.randn(shape, generator=self.random), dim=1)
        self.encoder = self.w_dec.clone()  # (m, d), transposed: its gradient is a sum of rows too
        self.b_enc = torch.zeros(options.n_latents)
        self.b_dec = source.mean.clone()
        self.optimizer = torch.optim.Adam(
            [self.encoder, self.b_enc, self.w_dec, self.b_dec], lr=options.learning_rate, fused=True
        )
        self.silent = torch.zeros(options.n_latents, dtype=torch.long)
        self.smallest: list[float] = []
        self._pre = torch.empty(0, options.n_latents, dtype=self.compute)  # overwritten in every step

    @property
    def parameters(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """W_enc (d, m), b_enc (m,), W_dec (m, d) with unit-length rows, b_dec (d,)."""
        return self.encoder.T, self.b_enc, self.w_dec, self.b_dec

    def threshold(self) -> float:
        """Mean over the last steps of the smallest activation that was kept."""
        last = self.smallest[-THRESHOLD_STEPS:]
        return sum(last) / len(last)

    def step(self, number: int) -> None:
        """Draws a batch and moves the weights."""
        options = self.options
        x = self.source.draw(torch.randint(self.source.n, (options.batch // 2,), generator=self.random))
        # The encoder treats b_dec as a constant; its gradient comes from the reconstruction. That saves one product.
        centered = x - self.b_dec
        pre = self._encode(centered)
        codes = self._batch_top_k(pre)
        self._zero_gradients()
        # Relative squared error ||x - x'||^2 / ||x||^2, and the auxiliary loss on the error that is left.
        error = self._descend(codes, centered, centered, 1 / max(float(x.square().sum()), 1e-12))
        dead = self._dead_codes(pre)
        if dead is not None:
            weight = AUXILIARY_WEIGHT / max(float(error.square().sum()), 1e-12)
            self._descend(dead, centered, error, weight, bias=False)
        self._project_decoder_gradient()
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * _schedule(number, options.steps)
        self.optimizer.step()
        self.w_dec.div_(self.w_dec.norm(dim=1, keepdim=True).clamp_min(1e-8))

    def _encode(self, centered: torch.Tensor) -> torch.Tensor:
        """(batch, m) in the compute dtype. The buffer is reused: mapping new memory takes as long as filling it."""
        if len(self._pre) != len(centered):
            self._pre = torch.empty(len(centered), self.options.n_latents, dtype=self.compute)
        weights = self.encoder.to(self.compute).T
        return torch.addmm(self.b_enc.to(self.compute), centered.to(self.compute), weights, out=self._pre)

    def _batch_top_k(self, pre: torch.Tensor) -> Codes:
        """Keeps the k * batch largest activations of the whole batch."""
        codes, smallest = largest(
            pre, self.options.k * pre.shape[0], self.smallest[-1] if self.smallest else 0.0
        )
        self.smallest.append(smallest)
        self.silent += 1
        self.silent[codes.latents] = 0
        return codes

    def _zero_gradients(self) -> None:
        for parameter in (self.encoder, self.b_enc, self.w_dec, self.b_dec):
            parameter.grad = None

    def _descend(
        self, codes: Codes, centered: torch.Tensor, goal: torch.Tensor, weight: float, *, bias: bool = True
    ) -> torch.Tensor:
        """Adds the gradients of `weight * ||goal - decoded||^2` and returns the error `goal - decoded`."""
        values = codes.values.requires_grad_()
        decoded = codes.decode(values, self.w_dec)
        error = goal - decoded.detach()
        towards = error * (-2 * weight)
        (slope,) = torch.autograd.grad(decoded, values, towards)
        order = codes.by_latent()
        _add(self.w_dec, codes.collect(values.detach(), towards, order))
        _add(self.encoder, codes.collect(slope, centered, order))
        _add(self.b_enc, torch.zeros_like(self.b_enc).index_add_(0, codes.latents, slope))
        if bias:
            _add(self.b_dec, towards.sum(dim=0))
        return error

    def _dead_codes(self, pre: torch.Tensor) -> Codes | None:
        """The codes of dead latents, at most 4 k per row; None if there are none."""
        dead = torch.nonzero(self.silent > DEAD_AFTER_STEPS).flatten()
        if len(dead) == 0:
            return None
        values, index = torch.topk(pre[:, dead], min(len(dead), 4 * self.options.k), dim=1)
        rows, columns = torch.nonzero(values > 0, as_tuple=True)
        if len(rows) == 0:
            return None
        return Codes(rows, dead[index[rows, columns]], values[rows, columns].float(), *pre.shape)

    def _project_decoder_gradient(self) -> None:
        """Removes the part of the gradient that only changes the norms of the decoder rows."""
        gradient = self.w_dec.grad
        if gradient is not None:
            gradient -= (gradient * self.w_dec).sum(dim=1, keepdim=True) * self.w_dec


def _add(parameter: torch.Tensor, gradient: torch.Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate."""
    warm, decay = max(1, steps // 20), max(1, steps // 5)
    return min(1.0, (step + 1) / warm, (steps - step) / decay)
