"""Lists the kinds of dictionary, and loads one from its folder."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from fi_store.dictionaries.autoencoders import Crosscoder, PairedSae
from fi_store.dictionaries.differences import DiffSae, MeanDiff, Pca
from fi_store.dictionaries.folder import load_folder
from fi_store.dictionaries.protocol import Dictionary, file_name
from fi_store.errors import AnalysisError

KINDS: dict[str, type[Dictionary]] = {
    "paired_sae": PairedSae,
    "pretrained": PairedSae,
    "crosscoder": Crosscoder,
    "diff_sae": DiffSae,
    "pca": Pca,
    "mean_diff": MeanDiff,
}


def load_dictionary(folder: Path) -> Dictionary:
    """Loads a dictionary folder.

    Raises:
        AnalysisError: a file is missing, the kind is unknown, or a tensor's shape contradicts the configuration.
    """
    config, tensors = load_folder(folder)
    if config.kind not in KINDS:
        raise AnalysisError(f"The dictionary {folder} is of kind {config.kind!r}; known: {', '.join(KINDS)}.")
    kind = KINDS[config.kind]
    width = config.d_model if config.same_width else config.d_model + config.d_second
    expected = {"W_dec": (config.n_latents, width), **kind.shapes(config)}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        raise AnalysisError(
            f"The dictionary {folder} has tensors {found}, but its configuration says {expected}."
        )
    return kind(config, **{f.name: tensors[file_name(f.name)] for f in fields(kind) if f.name != "config"})
