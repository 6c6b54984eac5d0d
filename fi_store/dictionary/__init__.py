"""Dictionaries: the directions that were learned from two models' activations, what they see in rows, and their files.

They stand on the floor because extraction (probes), analysis (training) and cross-run matching all read them.
"""

from fi_store.dictionary.folder import DictionaryConfig, load_decoder_rows
from fi_store.dictionary.kinds import (
    KINDS,
    SIDES,
    Crosscoder,
    Dictionary,
    DiffSae,
    MeanDiff,
    PairedSae,
    Pca,
    Reading,
    load_dictionary,
)

__all__ = [
    "KINDS",
    "SIDES",
    "Crosscoder",
    "Dictionary",
    "DictionaryConfig",
    "DiffSae",
    "MeanDiff",
    "PairedSae",
    "Pca",
    "Reading",
    "load_decoder_rows",
    "load_dictionary",
]
