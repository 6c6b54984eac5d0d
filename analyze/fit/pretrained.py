"""Loads a ready sparse autoencoder from a folder, to be used instead of a learned one: `--dictionary-file`.

The folder holds one safetensors file with `W_enc` (d, m), `b_enc` (m), `W_dec` (m, d), `b_dec` (d) and, for JumpReLU,
`threshold` (m). A `cfg.json` is optional, with `site`, `layer`, `model` and `apply_b_dec_to_input` (default true).
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from analyze.extraction import SiteLayer
from analyze.fit.inputs import check_rows, common_scale
from analyze.shards import BLOCK
from fi_store.dictionaries import CONFIG, ORDER, DictionaryConfig, PairedSae
from fi_store.errors import AnalysisError
from fi_store.method import METHOD

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


@dataclass(frozen=True)
class Pretrained:
    """A sparse autoencoder as it is in its folder, in raw units of activations."""

    folder: Path
    about: dict[str, Any]  # cfg.json
    tensors: dict[str, torch.Tensor]  # float32

    def site_layer(self, analyzed: list[SiteLayer]) -> SiteLayer:
        """The analyzed site and layer that it was made for.

        Raises:
            AnalysisError: it was made for another one, or does not say for which of several.
        """
        site, layer = self.about.get("site"), self.about.get("layer")
        fitting = [each for each in analyzed if site in (None, each[0]) and layer in (None, each[1])]
        if len(fitting) == 1:
            return fitting[0]
        known = ", ".join(f"{name} {number}" for name, number in analyzed)
        if fitting:
            raise AnalysisError(
                f"{self.folder / CONFIG} does not say which site and layer the dictionary is for; analyzed: {known}.",
                hint='write {"site": "resid_post", "layer": 17} into it, or analyze one layer with --layers',
            )
        options = shlex.join(("--layers", str(layer), "--sites", str(site or "resid_post")))
        raise AnalysisError(
            f"The dictionary {self.folder} is for {site or 'any site'}, layer {layer}; analyzed: {known}.",
            hint=f"analyze that layer too, with {options}",
        )


def load_pretrained(folder: Path) -> Pretrained:
    """Reads the folder.

    Raises:
        AnalysisError: there is not exactly one file, or it is damaged; tensors are missing, of the wrong shape or not
            finite; the activation function is not one that a threshold describes.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise AnalysisError(
            f"{folder} has {len(files)} safetensors files, but a dictionary is exactly one.",
            hint="pass the folder of one dictionary to --dictionary-file",
        )
    about: dict[str, Any] = {}
    try:
        if (folder / CONFIG).exists():
            about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = {name: tensor.to(torch.float32) for name, tensor in load_file(files[0]).items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise AnalysisError(f"The dictionary {folder} cannot be read: {error}.") from error
    missing = [name for name in NAMES if name not in tensors]
    if missing or tensors["W_enc"].ndim != 2:
        raise AnalysisError(
            f"{files[0]} has no {' and no '.join(missing) or 'matrix W_enc'}.",
            hint=f"it needs {', '.join(NAMES)}",
        )
    d, m = tensors["W_enc"].shape
    shapes = {"b_enc": (m,), "W_dec": (m, d), "b_dec": (d,), "threshold": (m,)}
    for name, tensor in tensors.items():
        if name in shapes and (tuple(tensor.shape) != shapes[name] or not bool(tensor.isfinite().all())):
            raise AnalysisError(
                f"{name} of {files[0]} has shape {tuple(tensor.shape)} (W_enc requires {shapes[name]}) or holds values "
                "that are not finite."
            )
    activation = f"{about.get('activation_fn', '')} {about.get('architecture', '')}".lower()
    if "topk" in activation.replace("-", "").replace("_", ""):
        raise AnalysisError(
            f"The dictionary {folder} keeps the k largest activations of each token, and a threshold cannot do that.",
            hint="first convert it to one threshold per latent (JumpReLU)",
        )
    return Pretrained(folder, about, tensors)


def as_dictionary(
    ready: Pretrained, rows: tuple[torch.Tensor, torch.Tensor], site_layer: SiteLayer, seed: int
) -> PairedSae:
    """The dictionary in units of the rows' common scale, checked on the rows: (n, d), of D, in canonical order.

    relu(c x) = c relu(x), so decoder norms and the scale move into the encoder without changing any reconstruction.

    Raises:
        AnalysisError: the widths differ, or the dictionary explains too little of one model's variance.
    """
    tensors = ready.tensors
    d, m = tensors["W_enc"].shape
    if any(x.shape[1] != d for x in rows):
        widths = " and ".join(str(x.shape[1]) for x in rows)
        raise AnalysisError(
            f"The dictionary {ready.folder} is for activations of width {d}; the models have {widths}.",
            hint="use a dictionary that was made for one of these models",
        )
    check_rows(*rows, site_layer[1], n_latents=0, k=0)
    scale = common_scale(*rows)
    norms = tensors["W_dec"].norm(dim=1).clamp_min(1e-8)
    b_enc = tensors["b_enc"]
    if not ready.about.get("apply_b_dec_to_input", True):
        b_enc = b_enc + tensors["b_dec"] @ tensors["W_enc"]
    threshold = tensors.get("threshold", torch.zeros(m)) * norms / scale
    config = DictionaryConfig(
        kind="pretrained",
        site=site_layer[0],
        layer=site_layer[1],
        d_model=d,
        d_second=d,
        n_latents=m,
        k=0,
        seed=seed,
        steps=0,
        scale=scale,
        input_scales=(scale, scale),
        threshold=float(threshold.mean()),
        n_rows=0,
    )
    dictionary = PairedSae(
        config,
        w_dec=tensors["W_dec"] / norms[:, None],
        w_enc=tensors["W_enc"] * norms,
        b_enc=b_enc * norms / scale,
        b_dec=tensors["b_dec"] / scale,
        threshold=threshold,
    )
    least = min(_explained(dictionary, rows[side]) for side in ORDER)
    if least < METHOD.pretrained_explained:
        raise AnalysisError(
            f"The dictionary {ready.folder} explains {least:.0%} of the variance at {site_layer[0]} of layer "
            f"{site_layer[1]}; it must explain at least {METHOD.pretrained_explained:.0%} for both models.",
            hint="check its site, layer and model; without --dictionary-file, fi-store learns a dictionary",
        )
    return dictionary


def _explained(dictionary: PairedSae, x: torch.Tensor) -> float:
    """1 - residual / variance over rows x (n, d)."""
    true, residual = x.to(torch.float32), 0.0
    for start in range(0, len(true), BLOCK):
        part = true[start : start + BLOCK]
        missed = part - dictionary.decode(dictionary.encode(part))
        residual += float(missed.square().sum(dtype=torch.float64))
    return 1 - residual / float((true - true.mean(dim=0)).square().sum(dtype=torch.float64))
