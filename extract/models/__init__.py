"""extract.models."""

from __future__ import annotations

from extract.models.adapter import switch
from extract.models.catalog import describe_reference, known_models
from extract.models.identity import adapter_identity, whole_identity
from extract.models.loading import Loading, find_source, has_tokenizer, load_config, load_tokenizer
from extract.models.pair import LoadedPair, load_pair
from extract.models.reader import Reader
from extract.models.references import ModelReference, Source, parse_reference

__all__ = [
    "LoadedPair",
    "Loading",
    "ModelReference",
    "Reader",
    "Source",
    "adapter_identity",
    "describe_reference",
    "find_source",
    "has_tokenizer",
    "known_models",
    "load_config",
    "load_pair",
    "load_tokenizer",
    "parse_reference",
    "switch",
    "whole_identity",
]
