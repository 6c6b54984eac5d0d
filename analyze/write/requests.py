"""What the analysis asks of the models afterwards: it never runs one itself, the probe stage answers in the store.

So far: how much worse a model speaks with a dictionary's reconstruction in the place of its activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analyze.extraction import Extraction
from analyze.features import LayerEffects
from analyze.write.keys import dictionary_id, request_id

SPLICE_PROMPTS = 8
"""Held-out prompts, spread evenly over the set, on whose answers the spliced-in loss is measured."""


def splice_requests(
    run_id: str, layers: Sequence[LayerEffects], extraction: Extraction
) -> list[dict[str, Any]]:
    """One request for each dictionary that reconstructs activations, on prompts of C."""
    held = np.flatnonzero(~extraction.units.discovery)
    chosen = held[np.unique(np.linspace(0, len(held) - 1, SPLICE_PROMPTS).astype(int))]
    prompts = [extraction.units.prompt_ids[unit] for unit in chosen]
    rebuilding = [effects for effects in layers if effects.quality.explained["base", "C"] is not None]
    names = [dictionary_id(run_id, effects) for effects in rebuilding]
    return [
        {
            "id": request_id(run_id, "splice", name),
            "run_id": run_id,
            "kind": "splice",
            "dictionary_id": name,
            "prompt_ids": prompts,
            "state": "asked",
        }
        for name in names
    ]
