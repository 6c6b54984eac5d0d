"""Ids of what an analysis writes: pure functions of the run and of what the row describes."""

from __future__ import annotations

from analyze.features import LayerEffects
from fi_store.ids import content_id


def dictionary_id(run_id: str, effects: LayerEffects) -> str:
    return content_id("dictionary", run_id, effects.site, effects.layer)


def feature_id(run_id: str, effects: LayerEffects, latent: int) -> str:
    return content_id("feature", run_id, effects.site, effects.layer, latent)
