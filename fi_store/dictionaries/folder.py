"""The file format of a dictionary: one folder with `cfg.json` and `weights.safetensors` (float32), never pickle.

Every kind has the tensor `W_dec` (m, d): its latents' unit-length directions. Torch is imported inside functions.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fi_store.errors import AnalysisError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import torch

WEIGHTS = "weights.safetensors"
CONFIG = "cfg.json"


@dataclass(frozen=True)
class DictionaryConfig:
    """Everything about a dictionary except its weights; the first and second model are in canonical order."""

    kind: str
    site: str
    layer: int
    d_model: int
    """Width of the first model."""
    d_second: int
    """Width of the second model."""
    n_latents: int
    k: int
    seed: int
    steps: int
    scale: float
    """s: activities are in units of it; root mean square of the components of both models' activations."""
    input_scales: tuple[float, float]
    """The first and second model's inputs are divided by these before encoding (a difference: both are equal)."""
    threshold: float
    """Pre-activations up to this value are zero at inference (BatchTopK, Bussmann et al. 2024, section 3)."""
    n_rows: int
    """Pairs of rows that the dictionary was trained on."""

    @property
    def same_width(self) -> bool:
        """Whether both models' activations have the same width."""
        return self.d_model == self.d_second


def save_folder(config: DictionaryConfig, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Writes the folder; it appears whole or not at all."""
    from safetensors.torch import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".dictionary-") as temporary:
        inside = Path(temporary) / "new"
        inside.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, inside / WEIGHTS)
        (inside / CONFIG).write_text(json.dumps(asdict(config), indent=1), encoding="utf-8")
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        inside.replace(folder)


def load_folder(folder: Path) -> tuple[DictionaryConfig, dict[str, torch.Tensor]]:
    """Configuration and tensors of a dictionary folder.

    Raises:
        AnalysisError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        values["input_scales"] = tuple(values["input_scales"])
        return DictionaryConfig(**values), load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise AnalysisError(f"The dictionary {folder} cannot be read: {error}.") from error


def load_directions(folder: Path, latents: Sequence[int]) -> npt.NDArray[np.float32]:
    """Unit-length directions (len(latents), d) of some latents, without torch and without reading the rest.

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
