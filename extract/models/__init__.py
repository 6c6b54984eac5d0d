"""From a model reference to a loaded pair of models: finds, checks and loads them, with their adapters.

It knows nothing about prompts, texts or activations. Importing it does not import torch.
"""

from __future__ import annotations

from extract.models.adapter import switch
from extract.models.catalog import describe_reference, known_models, possible_ids
from extract.models.checks import free_memory
from extract.models.loading import Loading, find_source
from extract.models.pair import LoadedPair, load_pair
from extract.models.reader import Reader, Ways
from extract.models.references import ModelReference, parse_reference

__all__ = [
    "LoadedPair",
    "Loading",
    "ModelReference",
    "Reader",
    "Ways",
    "describe_reference",
    "find_source",
    "free_memory",
    "known_models",
    "load_pair",
    "parse_reference",
    "possible_ids",
    "switch",
]
