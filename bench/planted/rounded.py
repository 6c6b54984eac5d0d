"""Copies of a model with linear weights rounded to int8 or nf4 and back, written as local model folders.

`--quantization` applies to both models of a pair; a rounded copy can be compared with its original.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bench.planted.preserving import copy_edited, module_of
from extract.models.quiet import quiet_libraries

with quiet_libraries():  # bitsandbytes reports kernels that are not needed
    from bitsandbytes import functional

Kind = Literal["int8", "nf4"]
KINDS: tuple[Kind, ...] = ("int8", "nf4")
BLOCK = 64
"""Weights that share a scale in nf4."""


def rounded_copy(source: Path, folder: Path, kind: Kind) -> Path:
    """A copy of a model folder with the projections of attention and MLP rounded as in `kind`; embeddings stay.

    The scale is the absolute maximum: for int8 of each row (Dettmers et al. 2022, "LLM.int8()", without separate
    outliers), for nf4 of each block of weights (Dettmers et al. 2023, "QLoRA", section 3).
    """

    def edit(name: str, weight: Tensor) -> Tensor:
        return rounded(weight, kind) if module_of(name).endswith("_proj") and weight.ndim == 2 else weight

    return copy_edited(source, folder, edit)


def rounded(weight: Tensor, kind: Kind) -> Tensor:
    """A matrix after quantization and back, in its own dtype."""
    if kind == "int8":
        codes, stats, _ = functional.int8_vectorwise_quant(weight.to(torch.float16))
        back = functional.int8_vectorwise_dequant(codes, stats)
    else:
        # One block per row: bitsandbytes' CPU kernel is wrong if a row is not a multiple of the block.
        blocks = weight.float().reshape(-1, BLOCK).contiguous()
        codes, state = functional.quantize_4bit(blocks, blocksize=BLOCK, quant_type="nf4")
        back = functional.dequantize_4bit(codes, state)
    return back.to(weight.dtype).reshape(weight.shape)
