"""Fingerprints: equal for the same content wherever it is stored, different for any other content."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from extract.models.fingerprint import read_header, tensors_hash, tokenizer_hash
from fi_store.errors import ModelError
from tests.helpers.tiny import TinyModels


def slow_hash(tensors: dict[str, torch.Tensor]) -> str:
    """The definition, computed from tensors in memory (float32 and bfloat16 only)."""
    whole = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        dtype = {torch.float32: "F32", torch.bfloat16: "BF16"}[tensor.dtype]
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        whole.update(json.dumps([name, dtype, list(tensor.shape), hashlib.sha256(raw).hexdigest()]).encode())
    return whole.hexdigest()


def test_the_hash_follows_its_definition(tiny_models: TinyModels) -> None:
    file = tiny_models.llama / "model.safetensors"
    assert tensors_hash([file]) == slow_hash(load_file(file))


def test_file_names_and_division_into_files_do_not_matter(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(4), "empty": torch.zeros(0, 3)}
    save_file(tensors, tmp_path / "all.safetensors", metadata={"made": "today"})
    save_file({"b": tensors["b"]}, tmp_path / "1.safetensors")
    save_file({"a": tensors["a"], "empty": tensors["empty"]}, tmp_path / "2.safetensors")
    together = tensors_hash([tmp_path / "all.safetensors"])
    assert (
        together
        == tensors_hash([tmp_path / "2.safetensors", tmp_path / "1.safetensors"])
        == slow_hash(tensors)
    )


@pytest.mark.parametrize("change", ["value", "name", "shape", "dtype"])
def test_every_change_changes_the_hash(tmp_path: Path, change: str) -> None:
    tensor = torch.arange(6.0)
    changed = {
        "value": {"a": tensor + (tensor == 5)},
        "name": {"b": tensor},
        "shape": {"a": tensor.reshape(2, 3)},
        "dtype": {"a": tensor.view(torch.int32)},
    }[change]
    save_file({"a": tensor}, tmp_path / "before.safetensors")
    save_file(changed, tmp_path / "after.safetensors")
    assert tensors_hash([tmp_path / "before.safetensors"]) != tensors_hash([tmp_path / "after.safetensors"])


@given(st.binary(max_size=200))
def test_damaged_files_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("damaged") / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        read_header(file)


def test_a_truncated_file_is_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    content = (tiny_models.llama / "model.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(content[:-1])
    with pytest.raises(ModelError, match="outside the file"):
        read_header(tmp_path / "short.safetensors")
    header = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}'
    (tmp_path / "odd.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"0000")
    with pytest.raises(ModelError, match="outside the file"):
        read_header(tmp_path / "odd.safetensors")


def test_tokenizer_hashes_ignore_calls_and_paths(tiny_models: TinyModels, tmp_path: Path) -> None:
    shutil.copytree(tiny_models.llama, tmp_path / "copy")
    tokenizer = AutoTokenizer.from_pretrained(tiny_models.llama)
    before = tokenizer_hash(tokenizer)
    tokenizer(["one", "one two three"], padding=True, truncation=True, max_length=4)
    assert (
        tokenizer_hash(tokenizer)
        == before
        == tokenizer_hash(AutoTokenizer.from_pretrained(tmp_path / "copy"))
    )
    assert before != tokenizer_hash(AutoTokenizer.from_pretrained(tiny_models.qwen2_base))
    tokenizer.add_tokens(["<new>"])
    assert tokenizer_hash(tokenizer) != before
