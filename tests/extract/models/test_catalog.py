"""What `fi-store models` shows, without loading weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from extract.models import describe_reference, known_models, load_pair
from extract.models.gguf import converted_folder
from fi_store.errors import ModelError
from tests.helpers.tiny import TinyModels, tiny_gguf


@pytest.mark.parametrize("name", ["llama", "llama_wide", "qwen2_base", "qwen2_target", "adapter"])
def test_the_description_agrees_with_the_loaded_model(tiny_models: TinyModels, name: str) -> None:
    folder = str(getattr(tiny_models, name))
    described = describe_reference(folder)
    reader = load_pair(folder, folder, note=lambda _: None).base
    for key in (
        "id",
        "reference",
        "kind",
        "architecture",
        "n_layers",
        "d_model",
        "n_parameters",
        "weights_hash",
    ):
        assert described[key] == getattr(reader.identity, key), key
    assert described["vocab_size"] == reader.vocab_size
    assert described["has_chat_template"] == (reader.chat_template is not None)
    assert described["base"] == (str(tiny_models.llama) if name == "adapter" else None)


def test_a_missing_base_is_named(tiny_models: TinyModels) -> None:
    with pytest.raises(ModelError, match="somewhere/else"):
        describe_reference(str(tiny_models.misfit))


def test_converted_models_are_listed(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-hub"))
    assert [model.reference for model in known_models(tmp_path)] == ["bundled:smollm2"]
    folder = converted_folder(tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama), tmp_path, lambda _: None)
    (converted,) = [model for model in known_models(tmp_path) if model.state == "converted"]
    assert (converted.reference, converted.path) == ("tiny.gguf", folder)
    assert converted.n_bytes > (folder / "model.safetensors").stat().st_size
