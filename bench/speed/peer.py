"""The trainer that ours is compared with: BatchTopKTrainer of dictionary-learning 0.1.0, unchanged.

`make bench-peers` installs it into its own folder. The package's `__init__` imports a language-model library (an old
version that excludes current transformers) that its trainers do not use, so its modules are imported without it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

FOLDER = Path(__file__).resolve().parents[2] / ".bench" / "peers-dictionary"
PACKAGE = "dictionary_learning"
HOW = "make bench-peers"
"""The command that installs it."""
LEARNING_RATE = 1e-2
"""The best of those tried for it at a smaller size (README.md)."""


def installed() -> bool:
    """Whether the folder is there."""
    return (FOLDER / PACKAGE).is_dir()


def version() -> str:
    """The installed version."""
    return next(FOLDER.glob(f"{PACKAGE}-*.dist-info")).name.split("-")[1].removesuffix(".dist")


def make_trainer(d: int, n_latents: int, k: int, steps: int) -> Any:
    """Its trainer with our schedule (5% warm-up, decay over the last 20%) and a suitable rate, otherwise unchanged."""
    if PACKAGE not in sys.modules:
        sys.path.append(str(FOLDER))
        package = ModuleType(PACKAGE)
        package.__path__ = [str(FOLDER / PACKAGE)]
        sys.modules[PACKAGE] = package
    module = importlib.import_module(f"{PACKAGE}.trainers.batch_top_k")
    return module.BatchTopKTrainer(
        steps=steps,
        activation_dim=d,
        dict_size=n_latents,
        k=k,
        layer=0,
        lm_name="none",
        lr=LEARNING_RATE,
        warmup_steps=max(1, steps // 20),
        decay_start=int(0.8 * steps),
        seed=0,
        device="cpu",
    )


def parameters(trainer: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """W_enc (d, m), b_enc (m,), W_dec (m, d), b_dec (d,)."""
    autoencoder = trainer.ae
    return (
        autoencoder.encoder.weight.detach().T,
        autoencoder.encoder.bias.detach(),
        autoencoder.decoder.weight.detach().T,
        autoencoder.b_dec.detach(),
    )
