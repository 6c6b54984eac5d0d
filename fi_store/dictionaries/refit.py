"""Least squares on the support: how much of each active feature a row really contains.

An encoder reads every feature separately, so a feature with overlapping directions also responds to its neighbors, and
activity is shared out wrongly among them. The encoder still chooses which features are active; their activities are
then fitted to the row jointly and never below zero (non-negative least squares, as after the selection step of a
matching pursuit: Pati et al. 1993, "Orthogonal matching pursuit").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WIDTH = 8
"""Supports are padded to a multiple of this many features, so that few different sizes are solved."""
STEPS = 300
"""Maximum number of accelerated projected gradient steps."""
ROUND = 10
"""Steps between removals of solved rows."""
TOLERANCE = 1e-4
"""A row is solved once none of its codes moves by more than this share of the largest in any step of a round."""
VALUES = 2**23
"""Maximum number of values (of directions, their products, or codes) in memory at once."""


def refit(codes: torch.Tensor, x: torch.Tensor, w_dec: torch.Tensor) -> torch.Tensor:
    """(n, m) the codes a >= 0 on the support of `codes` (n, m) that minimize ||x - a W||^2.

    x (n, d): rows without the decoder's bias, in the decoder's units; w_dec (m, d): W.
    """
    import torch

    found = torch.zeros_like(codes)
    sizes = (codes > 0).sum(dim=1)
    padded = (sizes + WIDTH - 1) // WIDTH * WIDTH
    for width in torch.unique(padded[padded > 0]).tolist():
        rows = torch.nonzero(padded == width).squeeze(1)
        size = max(width * max(width, w_dec.shape[1]), codes.shape[1])  # numbers per row
        for part in torch.split(rows, max(1, VALUES // size)):
            values, latents = torch.topk(codes[part], min(width, codes.shape[1]), dim=1)
            active = values > 0
            directions = w_dec[latents] * active[:, :, None]
            solved = _non_negative(directions, x[part], values)
            found[part[:, None], latents] = torch.where(active, solved, 0.0)
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
            # A row times the symmetric matrix is several times faster on a CPU than the matrix times a column.
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
