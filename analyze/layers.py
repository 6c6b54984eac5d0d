"""Which layers get a dictionary: those asked for, or a fixed spread over the depth that no data has chosen."""

from __future__ import annotations

from fi_store.errors import UsageError

DEPTHS = (0.40, 0.57, 0.77, 0.93)
"""Relative depths of `--layers auto`. Early layers mostly hold the token itself; answers take shape later."""


def choose_layers(asked: str, n_layers: int) -> list[int]:
    """Layer numbers, ascending.

    Raises:
        UsageError: a number is outside the model.
    """
    if asked == "all":
        return list(range(n_layers))
    if asked == "auto":
        return sorted({min(n_layers - 1, round(depth * n_layers)) for depth in DEPTHS})
    layers = sorted({int(part) for part in asked.split(",")})
    if layers[-1] >= n_layers:
        raise UsageError(f"--layers {asked}: the models have {n_layers} layers, numbered from 0.")
    return layers
