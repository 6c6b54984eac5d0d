"""fi_store.dictionaries."""

from __future__ import annotations

from fi_store.dictionaries.autoencoders import Crosscoder, PairedSae
from fi_store.dictionaries.differences import DiffSae, MeanDiff, Pca, project, scaled_difference
from fi_store.dictionaries.folder import CONFIG, DictionaryConfig, load_decoder_rows
from fi_store.dictionaries.kinds import load_dictionary
from fi_store.dictionaries.protocol import ORDER, Dictionary

__all__ = [
    "CONFIG",
    "ORDER",
    "Crosscoder",
    "Dictionary",
    "DictionaryConfig",
    "DiffSae",
    "MeanDiff",
    "PairedSae",
    "Pca",
    "load_decoder_rows",
    "load_dictionary",
    "project",
    "scaled_difference",
]
