"""Shards are read back as they were written, are complete or absent, and a full disk is explained."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from extract.reading import shards, write_shards
from fi_store.errors import ExtractionError
from fi_store.store import shard_path

ROWS = {("resid_post", layer): torch.randn(5, 3, dtype=torch.bfloat16) + layer for layer in range(2)}


def test_shards_come_back_as_they_were(tmp_path: Path) -> None:
    listed = write_shards(tmp_path, "run", "base", 3, 40, ROWS)
    assert [(shard.layer, shard.first_row, shard.n_rows, shard.d_model, shard.dtype) for shard in listed] == [
        (0, 40, 5, 3, "bfloat16"),
        (1, 40, 5, 3, "bfloat16"),
    ]
    for shard in listed:
        assert shard.path == shard_path("run", "activation", "base", "resid_post", shard.layer, 3)
        assert shard.n_bytes == (tmp_path / shard.path).stat().st_size
        assert torch.equal(load_file(tmp_path / shard.path)["activations"], ROWS["resid_post", shard.layer])


def test_an_earlier_attempt_is_replaced(tmp_path: Path) -> None:
    write_shards(tmp_path, "run", "base", 0, 0, {("resid_post", 0): torch.zeros(9, 3)})
    (shard,) = write_shards(tmp_path, "run", "base", 0, 0, {("resid_post", 0): torch.ones(2, 3)})
    assert torch.equal(load_file(tmp_path / shard.path)["activations"], torch.ones(2, 3))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_explained_and_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(shards, "save_file", fail)
    with pytest.raises(ExtractionError, match="is full") as caught:
        write_shards(tmp_path, "run-7", "base", 0, 0, ROWS)
    assert "--resume run-7" in caught.value.hint
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_other_errors_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_tensors: object, _path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shards, "save_file", fail)
    with pytest.raises(PermissionError):
        write_shards(tmp_path, "run", "base", 0, 0, ROWS)
