"""Dictionaries: the directions that were learned from two models' activations, what they see in rows, and their files.

They stand on the floor because extraction (probes), analysis (training) and cross-run matching all read them.
"""

from fi_store.dictionary.autoencoders import Crosscoder, PairedSae
from fi_store.dictionary.differences import DiffSae, MeanDiff, Pca, project, scaled_difference
from fi_store.dictionary.folder import DictionaryConfig, load_decoder_rows
from fi_store.dictionary.kinds import KINDS, load_dictionary
from fi_store.dictionary.protocol import SIDES, Dictionary, Reading

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
    "project",
    "scaled_difference",
]
