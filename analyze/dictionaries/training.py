"""Trains a BatchTopK sparse autoencoder by gradient descent: the loop that every learned dictionary shares.

BatchTopK: Bussmann, Leask, Nanda (2024), "BatchTopK Sparse Autoencoders". Auxiliary loss for dead latents: Gao et
al. (2024), "Scaling and evaluating sparse autoencoders", appendix A.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

AUXILIARY_WEIGHT = 1 / 32
"""Weight of the auxiliary loss (Gao et al., appendix A.2)."""
DEAD_AFTER_STEPS = 50
"""A latent that won no row for this many steps gets the auxiliary gradient."""
THRESHOLD_STEPS = 100
"""The inference threshold is the mean, over this many last steps, of the smallest activation that won."""


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
    """Peak of Adam's learning rate; linear warm-up over 5% of the steps and decay over the last 20%."""


@dataclass(frozen=True)
class RowSource:
    """Where a fit draws its rows from; what makes a row (one model's, a difference, both models') is up to the kind.

    `draw` turns indices (p,) of pairs into scaled float32 rows (b, d_in): b = 2p where both models' rows stand below
    each other, b = p where a pair makes one row.
    """

    n: int  # pairs
    mean: torch.Tensor  # (d_in,) float32, mean of the scaled rows: where the decoder's bias starts
    draw: Callable[[torch.Tensor], torch.Tensor]
    dtype: torch.dtype  # of the stored activations; bfloat16 ones are multiplied in bfloat16


class Trainer:
    """The state of one fit: `options.batch / 2` pairs of the source a step."""

    def __init__(self, source: RowSource, options: FitOptions) -> None:
        self.source = source
        self.options = options
        self.random = torch.Generator().manual_seed(options.seed)
        self.compute = source.dtype if source.dtype == torch.bfloat16 else torch.float32
        d = len(source.mean)
        # Decoder rows start as random unit vectors, the encoder as their transpose (Gao et al., appendix A.1).
        w_dec = torch.nn.functional.normalize(torch.randn(options.n_latents, d, generator=self.random), dim=1)
        self.w_dec = w_dec.requires_grad_()
        self.w_enc = w_dec.detach().T.clone().contiguous().requires_grad_()
        self.b_enc = torch.zeros(options.n_latents, requires_grad=True)
        self.b_dec = source.mean.clone().requires_grad_()
        self.optimizer = torch.optim.Adam(
            [self.w_enc, self.b_enc, self.w_dec, self.b_dec], lr=options.learning_rate, fused=True
        )
        self.silent = torch.zeros(options.n_latents, dtype=torch.long)
        self.smallest: list[float] = []

    @property
    def parameters(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.w_enc, self.b_enc, self.w_dec, self.b_dec

    def threshold(self) -> float:
        """Mean of the smallest winning activations of the last steps."""
        last = self.smallest[-THRESHOLD_STEPS:]
        return sum(last) / len(last)

    def step(self, number: int) -> None:
        options = self.options
        x = self.source.draw(torch.randint(self.source.n, (options.batch // 2,), generator=self.random))
        # The encoder sees b_dec as a constant: its gradient comes from the reconstruction, and one product is saved.
        pre = self._product(x - self.b_dec.detach(), self.w_enc) + self.b_enc  # (batch, m)
        codes = self._batch_top_k(pre.relu())
        error = x - self._product(codes, self.w_dec) - self.b_dec
        loss = error.square().mean() / x.square().mean()
        loss = loss + AUXILIARY_WEIGHT * self._auxiliary(pre, error.detach())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._project_decoder_gradient()
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * _schedule(number, options.steps)
        self.optimizer.step()
        with torch.no_grad():
            self.w_dec.div_(self.w_dec.norm(dim=1, keepdim=True).clamp_min(1e-8))

    def _product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (left.to(self.compute) @ right.to(self.compute)).to(torch.float32)

    def _batch_top_k(self, active: torch.Tensor) -> torch.Tensor:
        """Keeps the k * batch largest activations of the whole batch."""
        smallest = self._smallest_winner(active.detach().flatten(), self.options.k * active.shape[0])
        self.smallest.append(smallest)
        kept = active * (active >= smallest)
        fired = (kept.detach() > 0).any(dim=0)
        self.silent = torch.where(fired, 0, self.silent + 1)
        return kept

    def _smallest_winner(self, flat: torch.Tensor, wanted: int) -> float:
        """The `wanted`-th largest value, above zero. Exact; the last step's value first cuts most of the entries off,
        since a top-k over all of them costs as much as three of the products."""
        if self.smallest:
            likely = flat[flat > 0.7 * self.smallest[-1]]
            flat = likely if len(likely) >= wanted else flat
        return max(
            float(torch.topk(flat, wanted, sorted=False).values.min()), torch.finfo(torch.float32).tiny
        )

    def _auxiliary(self, pre: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """Dead latents reconstruct what the live ones left over."""
        dead = torch.nonzero(self.silent > DEAD_AFTER_STEPS).flatten()
        if len(dead) == 0:
            return torch.zeros(())
        values, places = torch.topk(pre[:, dead], min(len(dead), 4 * self.options.k), dim=1)
        codes = torch.zeros(pre.shape[0], len(dead)).scatter(1, places, values.relu())
        return (
            error - self._product(codes, self.w_dec[dead])
        ).square().mean() / error.square().mean().clamp_min(1e-12)

    def _project_decoder_gradient(self) -> None:
        """Removes the part of the gradient that only changes the norm of the unit decoder rows."""
        gradient = self.w_dec.grad
        if gradient is not None:
            with torch.no_grad():
                gradient -= (gradient * self.w_dec).sum(dim=1, keepdim=True) * self.w_dec


def _schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate."""
    warm, decay = max(1, steps // 20), max(1, steps // 5)
    return min(1.0, (step + 1) / warm, (steps - step) / decay)
