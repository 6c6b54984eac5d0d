"""Rows on disk are those that were written, whatever is asked of them, and damage is told when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from analyze.shards import BLOCK, Shard, StoredRows
from fi_store.errors import AnalysisError


def stored(folder: Path, parts: list[torch.Tensor]) -> StoredRows:
    shards = []
    for number, part in enumerate(parts):
        path = folder / f"{number}.safetensors"
        save_file({"activations": part}, path)
        shards.append(Shard(path, len(part), True))
    return StoredRows(tuple(shards), "activations", "layer 3")


def test_slices_and_row_numbers_are_those_of_the_whole(tmp_path: Path) -> None:
    whole = torch.randn(3 * BLOCK, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    rows = stored(tmp_path, list(torch.split(whole, [7, 0, BLOCK, 1, 2 * BLOCK - 8])))
    assert (len(rows), rows.shape) == (len(whole), tuple(whole.shape))
    for part in (slice(None), slice(0, 0), slice(5, 9), slice(BLOCK, 5 * BLOCK)):
        assert torch.equal(rows[part], whole[part])
    far = torch.tensor([0, 6, 7, BLOCK + 6, BLOCK + 7, 3 * BLOCK - 1])
    for numbers in (far, far[:0], torch.arange(len(whole))):
        assert torch.equal(rows[numbers], whole[numbers])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"activations": torch.zeros(3, 4)}, "holds 3 rows instead of 2"),
        ({"gradients": torch.zeros(2, 4)}, "cannot be read"),
        ({"activations": torch.full((2, 4), torch.nan)}, "activations of layer 3 hold NaN"),
    ],
)
def test_damaged_shards_are_told(tmp_path: Path, damage: dict[str, torch.Tensor], message: str) -> None:
    rows = stored(tmp_path, [torch.zeros(5, 4), torch.zeros(2, 4)])
    save_file(damage, tmp_path / "1.safetensors")
    assert len(rows[:5]) == 5
    with pytest.raises(AnalysisError, match=message):
        rows[4:6]
