"""What `fi-store models` tells, without loading weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from extract.models import describe_reference, known_models, load_pair
from extract.models.gguf import converted_folder
from fi_store.errors import ModelError
from tests.helpers.tiny import TinyModels, tiny_gguf


@pytest.mark.parametrize("name", ["llama", "llama_wide", "qwen2_base", "qwen2_target", "adapter"])
def test_the_description_is_what_a_load_finds(tiny_models: TinyModels, name: str) -> None:
    folder = str(getattr(tiny_models, name))
    told = describe_reference(folder)
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
        assert told[key] == getattr(reader.identity, key), key
    assert told["vocab_size"] == reader.vocab_size
    assert told["has_chat_template"] == (reader.chat_template is not None)
    assert told["base"] == (str(tiny_models.llama) if name == "adapter" else None)


def test_descriptions_that_fail(tiny_models: TinyModels) -> None:
    with pytest.raises(ModelError, match="somewhere/else"):
        describe_reference(str(tiny_models.misfit))


def test_known_models(tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-hub"))
    assert [model.reference for model in known_models(tmp_path)] == ["bundled:smollm2"]
    folder = converted_folder(tiny_gguf(tmp_path / "tiny.gguf", tiny_models.llama), tmp_path, lambda _: None)
    (converted,) = [model for model in known_models(tmp_path) if model.state == "converted once"]
    assert (converted.reference, converted.place) == ("tiny.gguf", folder)
    assert converted.n_bytes > (folder / "model.safetensors").stat().st_size
