"""Probe requests: measurements that need a model. The analysis never runs one; the probe stage answers in the store.

So far there is one kind: how much a model's loss rises with a dictionary's reconstruction instead of its activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analyze.extraction import Extraction
from analyze.features import LayerEffects
from analyze.write.keys import dictionary_id, request_id

SPLICE_PROMPTS = 8
"""How many held-out prompts, spread evenly over the set, have the spliced-in loss measured on their answers."""


def splice_requests(
    run_id: str, layers: Sequence[LayerEffects], extraction: Extraction
) -> list[dict[str, Any]]:
    """One request for each dictionary that reconstructs activations, on prompts of C."""
    held_out = np.flatnonzero(~extraction.units.discovery)
    chosen = held_out[np.unique(np.linspace(0, len(held_out) - 1, SPLICE_PROMPTS).astype(int))]
    prompts = [extraction.units.prompt_ids[unit] for unit in chosen]
    reconstructing = [effects for effects in layers if effects.quality.explained["base", "C"] is not None]
    dictionaries = [dictionary_id(run_id, effects) for effects in reconstructing]
    return [
        {
            "id": request_id(run_id, "splice", dictionary),
            "run_id": run_id,
            "kind": "splice",
            "dictionary_id": dictionary,
            "prompt_ids": prompts,
            "state": "asked",
        }
        for dictionary in dictionaries
    ]
