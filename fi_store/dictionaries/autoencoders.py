"""Sparse autoencoders of activations: the paired SAE and the crosscoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fi_store.dictionaries.folder import DictionaryConfig
from fi_store.dictionaries.protocol import ORDER, Dictionary, Encoding, gated
from fi_store.dictionaries.refit import refit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PairedSae(Dictionary):
    """A sparse autoencoder that encodes each model separately with the same weights."""

    w_enc: torch.Tensor  # (d, m)
    b_enc: torch.Tensor  # (m,)
    b_dec: torch.Tensor  # (d,)
    threshold: torch.Tensor  # (m,) pre-activations up to this value are zero

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activities (n, m) of raw activations x (n, d): `relu(pre)` where `pre > threshold`."""
        import torch

        return gated(torch.addmm(self.b_enc, self._centered(x), self.w_enc), self.threshold)

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        """Reconstruction (n, d) in the raw units of the activations, from activities f (n, m)."""
        return (f @ self.w_dec + self.b_dec) * self.config.scale

    def encode_pair(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = ORDER,
    ) -> Encoding:
        activity = {side: self.refitted(rows[side]) for side in sides}
        rebuilt = {side: self.decode(f) for side, f in activity.items()}
        return Encoding(activity, rebuilt, rebuilt[1] - rebuilt[0] if len(rebuilt) == 2 else None)

    def refitted(self, x: torch.Tensor) -> torch.Tensor:
        """Activities (n, m) of raw activations x (n, d): those that `encode` finds active, refitted to the row."""
        return refit(self.encode(x), self._centered(x), self.w_dec)

    def _centered(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d) in units of the scale, without the decoder's bias."""
        import torch

        return x.to(torch.float32) / self.config.scale - self.b_dec

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        d, m = config.d_model, config.n_latents
        return {"W_enc": (d, m), "b_enc": (m,), "b_dec": (d,), "threshold": (m,)}


@dataclass(frozen=True)
class Crosscoder(Dictionary):
    """One code for both models, a decoder for each (Lindsey et al. 2024, "Sparse crosscoders ..."; BatchTopK: Minder
    et al. 2025, "Robustly identifying concepts introduced during chat fine-tuning using crosscoders").

    `w_dec`: for models of one width, the decoder with the larger norm in raw units, at unit length; otherwise `w_both`.
    """

    w_enc: torch.Tensor  # (d_first + d_second, m)
    b_enc: torch.Tensor  # (m,)
    b_dec: torch.Tensor  # (d_first + d_second,)
    # (m, d_first + d_second) unit-length: both decoders side by side, in units of the input scales
    w_both: torch.Tensor
    coupled: ClassVar[bool] = True

    def part(self, side: int) -> slice:
        """A model's slice of the concatenated components."""
        d = self.config.d_model
        return slice(0, d) if side == 0 else slice(d, d + self.config.d_second)

    def inputs(self, rows: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(n, d_first + d_second) both models' rows, each in units of its own scale."""
        import torch

        scaled = (x.to(torch.float32) / s for x, s in zip(rows, self.config.input_scales, strict=True))
        return torch.cat(list(scaled), dim=1)

    def encode(self, inputs: torch.Tensor, latents: torch.Tensor | None = None) -> torch.Tensor:
        """(n, m) the shared code f of `inputs`; (n, k) if only some latents are given."""
        import torch

        w_enc, b_enc = self.w_enc, self.b_enc
        if latents is not None:
            w_enc, b_enc = w_enc[:, latents], b_enc[latents]
        return gated(torch.addmm(b_enc, inputs - self.b_dec, w_enc), self.config.threshold)

    def decoder(self, side: int) -> torch.Tensor:
        return self.w_both[:, self.part(side)] * self.config.input_scales[side]

    def own_direction(self, side: int) -> torch.Tensor:
        """(m, d_side) unit-length directions along which a model's own activity is measured."""
        import torch

        if self.config.same_width:
            return self.w_dec
        return torch.nn.functional.normalize(self.decoder(side), dim=1)

    def encode_pair(
        self,
        rows: tuple[torch.Tensor, torch.Tensor],
        classes: torch.Tensor,
        sides: Sequence[int] = ORDER,
    ) -> Encoding:
        """Encodes paired rows. Where f_j > 0, a model's own activity is max(0, <eps + f_j d_j, u_j>) / s.

        That is its reconstruction error plus the latent's own part, along the latent's direction u_j: the shared code
        alone says nothing about one model (METHOD section 4). With different widths, s is the model's own scale.
        """
        config = self.config
        x = self.inputs(rows)
        f = self.encode(x)
        rebuilt = f @ self.w_both + self.b_dec
        activity, reconstruction = {}, {}
        for side in sides:
            part, scale = self.part(side), config.input_scales[side]
            direction, unit = self.own_direction(side), config.scale if config.same_width else scale
            error = (x[:, part] - rebuilt[:, part]) * scale
            projected = error @ direction.T + f * (self.decoder(side) * direction).sum(dim=1)
            activity[side] = projected.relu() * (f > 0) / unit
            reconstruction[side] = rebuilt[:, part] * scale
        both = len(reconstruction) == 2 and config.same_width
        difference = reconstruction[1] - reconstruction[0] if both else None
        return Encoding(activity, reconstruction, difference, f)

    @classmethod
    def shapes(cls, config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
        both, m = config.d_model + config.d_second, config.n_latents
        return {"W_enc": (both, m), "b_enc": (m,), "b_dec": (both,), "W_both": (m, both)}
