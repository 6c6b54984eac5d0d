"""Hub models without a network: the hub's cache, the choice of files, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from extract.models import load_pair
from extract.models.hub import refuse_pickles, wanted_files, weight_files
from fi_store.errors import ModelError
from tests.helpers.tiny import TinyModels

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that contains the tiny llama as someone/tiny, at COMMIT."""
    repo = tmp_path / "models--someone--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    shutil.copytree(tiny_models.llama, repo / "snapshots" / COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("reference", ["someone/tiny", f"someone/tiny@{COMMIT}", "someone/tiny@main"])
def test_offline_the_cache_is_used(hub_cache: Path, tiny_models: TinyModels, reference: str) -> None:
    pair = load_pair(reference, str(tiny_models.llama), note=lambda _: None)
    assert pair.base.identity.id == pair.target.identity.id
    assert (pair.base.identity.kind, pair.base.identity.revision) == ("hub", COMMIT)
    assert pair.base.identity.reference == reference


@pytest.mark.parametrize("reference", ["someone/other", "someone/tiny@v2"])
def test_an_unknown_model_is_refused_offline(
    hub_cache: Path, tiny_models: TinyModels, reference: str
) -> None:
    with pytest.raises(ModelError, match="the hub cannot be reached") as caught:
        load_pair(reference, str(tiny_models.llama), note=lambda _: None)
    assert "\n" not in str(caught.value)
    assert "HF_HUB_OFFLINE" in caught.value.hint


def test_only_needed_files_are_downloaded() -> None:
    names = [
        "config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "consolidated.safetensors", "pytorch_model.bin", "onnx/model.safetensors",
        "modeling_own.py", "README.md", "chat_template.jinja",
    ]  # fmt: skip
    expected = {
        "config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "chat_template.jinja",
    }  # fmt: skip
    assert set(wanted_files(names, trust_remote_code=False)) == expected
    assert set(wanted_files(names, trust_remote_code=True)) == expected | {"modeling_own.py"}
    assert set(wanted_files(["adapter_config.json", "adapter_model.safetensors", "x.bin"], False)) == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip


def test_pickled_weights_are_refused() -> None:
    refuse_pickles("a/b", ["model.safetensors", "pytorch_model.bin"])
    with pytest.raises(ModelError, match=r"a/b has only pickled weights \(pytorch_model.bin\)") as caught:
        refuse_pickles("a/b", ["config.json", "pytorch_model.bin", "onnx/model.safetensors"])
    assert 'M.from_pretrained("a/b").save_pretrained("b-safetensors")' in caught.value.hint
    with pytest.raises(ModelError, match="no weights in the safetensors format"):
        refuse_pickles("a/b", ["README.md"])


def test_weight_files_come_from_the_index(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(
        '{"weight_map": {"a": "model-1.safetensors", "b": "../../model-2.safetensors"}}', encoding="utf-8"
    )
    (tmp_path / "model-1.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"tiny lacks model-2.safetensors, which its index lists"):
        weight_files(tmp_path, "tiny")
    (tmp_path / "model-2.safetensors").write_bytes(b"")
    assert weight_files(tmp_path, "tiny") == [
        tmp_path / "model-1.safetensors",
        tmp_path / "model-2.safetensors",
    ]
    single = tmp_path / "model.safetensors"
    single.write_bytes(b"")
    assert weight_files(tmp_path, "tiny") == [single]  # as transformers reads it
    single.unlink()
    index.write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match="is not a valid index of weights"):
        weight_files(tmp_path, "tiny")
