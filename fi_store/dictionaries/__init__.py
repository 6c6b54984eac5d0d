"""Dictionaries: their file format, and how each kind encodes paired rows of two models.

Knows nothing about how a dictionary is learned, or which model is called base.
"""

from __future__ import annotations

from fi_store.dictionaries.autoencoders import Crosscoder, PairedSae
from fi_store.dictionaries.differences import DiffSae, MeanDiff, Pca, project, scaled_difference
from fi_store.dictionaries.folder import CONFIG, DictionaryConfig, load_directions
from fi_store.dictionaries.kinds import load_dictionary
from fi_store.dictionaries.protocol import ORDER, Dictionary, Encoding

__all__ = [
    "CONFIG",
    "ORDER",
    "Crosscoder",
    "Dictionary",
    "DictionaryConfig",
    "DiffSae",
    "Encoding",
    "MeanDiff",
    "PairedSae",
    "Pca",
    "load_dictionary",
    "load_directions",
    "project",
    "scaled_difference",
]
