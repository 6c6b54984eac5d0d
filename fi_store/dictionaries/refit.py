"""Least squares on the support: how much of each firing feature a row really holds.

An encoder reads every feature on its own, so among directions that overlap a feature answers to its neighbors too, and
what a feature is worth is shared out wrongly. Which features fire stays the encoder's choice; how much each of them
fires is then fitted to the row together with the others, never below zero (non-negative least squares, as after the
selection of a matching pursuit: Pati et al. 1993, "Orthogonal matching pursuit").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WIDTH = 8
"""Supports are padded to a multiple of this many features, so that few sizes are solved at once."""
STEPS = 300
"""Accelerated projected gradient steps at most."""
ROUND = 10
"""Steps after which the rows that are solved leave."""
TOLERANCE = 1e-4
"""A row is solved when in no step of a round a code of it moved by more than this share of its largest."""
VALUES = 2**23
"""Numbers of decoder rows, of their products or of codes that are held at once."""


def refit(codes: torch.Tensor, x: torch.Tensor, w_dec: torch.Tensor) -> torch.Tensor:
    """(n, m) the codes a >= 0 on the support of `codes` (n, m) that minimize ||x - a W||^2.

    x (n, d): rows without the decoder's bias, in its units; w_dec (m, d): W.
    """
    import torch

    found = torch.zeros_like(codes)
    sizes = (codes > 0).sum(dim=1)
    padded = (sizes + WIDTH - 1) // WIDTH * WIDTH
    for width in torch.unique(padded[padded > 0]).tolist():
        rows = torch.nonzero(padded == width).squeeze(1)
        held = max(width * max(width, w_dec.shape[1]), codes.shape[1])
        for part in torch.split(rows, max(1, VALUES // held)):
            values, latents = torch.topk(codes[part], min(width, codes.shape[1]), dim=1)
            firing = values > 0
            directions = w_dec[latents] * firing[:, :, None]
            solved = _non_negative(directions, x[part], values)
            found[part[:, None], latents] = torch.where(firing, solved, 0.0)
    return found


def _non_negative(directions: torch.Tensor, x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """(r, s) non-negative least squares of x (r, d) on directions (r, s, d), by FISTA (Beck and Teboulle 2009)."""
    import torch

    gram = directions @ directions.transpose(1, 2)
    wanted = (directions @ x[:, :, None]).squeeze(2)
    # No eigenvalue exceeds the largest absolute row sum or the Frobenius norm.
    rows, whole = gram.abs().sum(dim=2).amax(dim=1), gram.square().sum(dim=(1, 2)).sqrt()
    step = 1 / torch.minimum(rows, whole).clamp_min(1e-12)[:, None]
    solved = torch.empty_like(start)
    left = torch.arange(len(start), device=start.device)
    now, ahead, momentum = start, start, 1.0
    for _ in range(STEPS // ROUND):
        moved = torch.zeros_like(step)
        for _ in range(ROUND):
            # A row before the symmetric matrix: on a CPU several times faster than a column behind it.
            slope = (ahead[:, None, :] @ gram).squeeze(1) - wanted
            after = torch.clamp_min(ahead - step * slope, 0.0)
            change = after - now
            # Momentum that points uphill is dropped (O'Donoghue and Candes 2015, "Adaptive restart").
            uphill = ((ahead - after) * change).sum(dim=1, keepdim=True) > 0
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = torch.where(uphill, after, after + (momentum - 1) / following * change)
            moved = torch.maximum(moved, change.abs().amax(dim=1, keepdim=True))
            now, momentum = after, following
        solved[left] = now
        open_rows = torch.nonzero(moved.squeeze(1) > TOLERANCE * now.amax(dim=1)).squeeze(1)
        if not len(open_rows):
            break
        if len(open_rows) < len(left):
            gram, wanted, step = gram[open_rows], wanted[open_rows], step[open_rows]
            now, ahead, left = now[open_rows], ahead[open_rows], left[open_rows]
    return solved
