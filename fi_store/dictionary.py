"""The file format of a dictionary, with encoding and decoding: one folder, `cfg.json` and `weights.safetensors`.

It lives on the floor because extraction (probes), analysis (training) and cross-run matching all read it. Torch is
imported inside functions. Tensors, float32: `W_enc` (d, m), `b_enc` (m), `W_dec` (m, d) with unit rows, `b_dec` (d).
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fi_store.errors import AnalysisError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import torch

WEIGHTS = "weights.safetensors"
CONFIG = "cfg.json"


@dataclass(frozen=True)
class DictionaryConfig:
    """What a dictionary is besides its weights."""

    kind: str
    site: str
    layer: int
    d_model: int
    n_latents: int
    k: int
    seed: int
    steps: int
    scale: float
    """s: root mean square of the pooled input's components; inputs are divided by it before encoding."""
    threshold: float
    """Pre-activations up to this value are zero at inference (BatchTopK, Bussmann et al. 2024, section 3)."""
    n_rows: int
    """Pairs of rows that it was trained on."""


@dataclass(frozen=True)
class SparseDictionary:
    """A sparse autoencoder over one site and layer, both models encoded on their own with the same weights."""

    config: DictionaryConfig
    w_enc: torch.Tensor  # (d, m)
    b_enc: torch.Tensor  # (m,)
    w_dec: torch.Tensor  # (m, d), unit rows
    b_dec: torch.Tensor  # (d,)

    def encode(self, x: torch.Tensor, *, block: int = 4096) -> torch.Tensor:
        """Latent activations (n, m), float32, of raw activations x (n, d): `relu(pre)` where `pre > threshold`.

        Activations are in units of the scale s: `f_j` times `s` times the unit row j of W_dec adds to x.
        """
        import torch

        out = torch.empty(x.shape[0], self.config.n_latents, dtype=torch.float32)
        for start in range(0, x.shape[0], block):
            rows = x[start : start + block].to(torch.float32) / self.config.scale
            pre = torch.addmm(self.b_enc, rows - self.b_dec, self.w_enc)
            out[start : start + block] = torch.where(pre > self.config.threshold, pre.relu(), 0.0)
        return out

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        """Reconstruction (n, d), float32, in the raw unit of the activations, from latent activations f (n, m)."""
        return (f @ self.w_dec + self.b_dec) * self.config.scale

    def save(self, folder: Path) -> None:
        """Writes the folder; it appears whole or not at all."""
        from safetensors.torch import save_file

        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".dictionary-") as temporary:
            inside = Path(temporary) / "new"
            inside.mkdir()
            tensors = {"W_enc": self.w_enc, "b_enc": self.b_enc, "W_dec": self.w_dec, "b_dec": self.b_dec}
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, inside / WEIGHTS)
            (inside / CONFIG).write_text(json.dumps(asdict(self.config), indent=1), encoding="utf-8")
            if folder.exists():
                folder.rename(Path(temporary) / "old")
            inside.replace(folder)


def load_dictionary(folder: Path) -> SparseDictionary:
    """Reads a dictionary folder.

    Raises:
        AnalysisError: a file is missing, a tensor is absent or has a shape that the configuration contradicts.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = DictionaryConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise AnalysisError(f"The dictionary {folder} cannot be read: {error}.") from error
    d, m = config.d_model, config.n_latents
    expected = {"W_enc": (d, m), "b_enc": (m,), "W_dec": (m, d), "b_dec": (d,)}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        raise AnalysisError(
            f"The dictionary {folder} has tensors {found}, but its configuration says {expected}."
        )
    return SparseDictionary(config, tensors["W_enc"], tensors["b_enc"], tensors["W_dec"], tensors["b_dec"])


def load_decoder_rows(folder: Path, latents: Sequence[int]) -> npt.NDArray[np.float32]:
    """The decoder's unit rows (len(latents), d) of some latents, without torch and without reading the rest.

    Raises:
        AnalysisError: the file is missing or damaged, or has no such latent.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            rows = file.get_slice("W_dec")
            return np.stack([rows[latent : latent + 1][0] for latent in latents]).astype(np.float32)
    except (OSError, SafetensorError, IndexError) as error:
        raise AnalysisError(
            f"The dictionary {folder} cannot be read: {error}.", hint="fi-store doctor"
        ) from error
