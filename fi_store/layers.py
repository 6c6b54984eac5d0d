"""Which layers are analysed, and therefore which layers' token-level activations an extraction writes at all.

The choice depends on the options and the depth only, never on data, so extraction knows it beforehand.
"""

from __future__ import annotations

from fi_store.config import RunConfig
from fi_store.errors import UsageError

DEPTHS = (0.40, 0.57, 0.77, 0.93)
"""Relative depths of `--layers auto`. Early layers mostly hold the token itself; answers take shape later."""


def choose_layers(asked: str, n_layers: int) -> list[int]:
    """Layer numbers, ascending, of `--layers auto`, `all` or a list.

    Raises:
        UsageError: a number is outside the model.
    """
    if asked == "all":
        return list(range(n_layers))
    if asked == "auto":
        return sorted({min(n_layers - 1, round(depth * n_layers)) for depth in DEPTHS})
    layers = sorted({int(part) for part in asked.split(",")})
    if layers[-1] >= n_layers:
        raise UsageError(
            f"--layers {asked}: the models have {n_layers} layers, numbered from 0.",
            hint="fi-store run --layers auto",
        )
    return layers


def written_layers(config: RunConfig, n_layers: int) -> list[int]:
    """Layers whose shards an extraction writes: all with `--keep-activations all`, else those that are analysed."""
    return choose_layers("all" if config.keep_activations == "all" else config.layers, n_layers)
