"""Adapter folders: what is read from them, and which settings are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from extract.models.adapter import read_adapter, split_name
from fi_store.errors import ModelError
from tests.helpers.tiny import TinyModels


def changed(tiny_models: TinyModels, tmp_path: Path, **settings: Any) -> Path:
    folder = shutil.copytree(tiny_models.adapter, tmp_path / "adapter")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | settings), encoding="utf-8")
    return folder


def test_an_adapter_folder_is_read(tiny_models: TinyModels) -> None:
    adapter = read_adapter(tiny_models.adapter)
    assert adapter.base_name == str(tiny_models.llama)
    parts = ("mlp.down_proj", "self_attn.q_proj", "self_attn.v_proj")
    assert adapter.modules == tuple(f"model.layers.{layer}.{part}" for layer in range(2) for part in parts)
    assert adapter.replaced == ()
    assert (adapter.settings["r"], adapter.settings["lora_alpha"]) == (4, 8)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "of kind PREFIX_TUNING. Only LoRA"),
        ({"init_lora_weights": "pissa_niter_16"}, "changes the base's weights"),
        ({"bias": "all"}, "replaces the base's biases"),
        ({"layer_replication": [[0, 2]]}, "uses layer_replication"),
        ({"something_new": {"url": "https://example.org"}}, "uses something_new"),
        ({"r": "four"}, "no rank r"),
    ],
)
def test_unsafe_settings_are_refused(
    tiny_models: TinyModels, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        read_adapter(changed(tiny_models, tmp_path, **settings))


def test_settings_that_import_or_fetch_are_not_passed_on(tiny_models: TinyModels, tmp_path: Path) -> None:
    from extract.models import load_pair

    folder = changed(
        tiny_models,
        tmp_path,
        auto_mapping={"base_model_class": "Evil", "parent_library": "this_module_is_not_there"},
        megatron_core="this_module_is_not_there",
        megatron_config={"a": 1},
        target_modules="(a+)+$",
        init_lora_weights="eva",
        revision="main",
    )
    pair = load_pair(str(tiny_models.llama), str(folder), note=lambda _: None)
    original = load_pair(str(tiny_models.llama), str(tiny_models.adapter), note=lambda _: None)
    assert pair.target.identity.id == original.target.identity.id


def test_the_fingerprint_covers_base_weights_and_settings(tiny_models: TinyModels, tmp_path: Path) -> None:
    first, second = read_adapter(tiny_models.adapter), read_adapter(tiny_models.adapter_second)
    assert len({first.fingerprint("base"), first.fingerprint("other"), second.fingerprint("base")}) == 3
    stronger = read_adapter(changed(tiny_models, tmp_path, lora_alpha=16))
    assert stronger.fingerprint("base") != first.fingerprint("base")


def test_broken_folders_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = changed(tiny_models, tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="only a pickled"):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match="not a JSON object"):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("name", "module", "part"),
    [
        (
            "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight",
            "model.layers.0.mlp.up_proj",
            "lora_A.weight",
        ),
        ("base_model.model.model.embed_tokens.lora_embedding_B", "model.embed_tokens", "lora_embedding_B"),
        ("base_model.model.lm_head.weight", "lm_head", "weight"),
        ("base_model.model.lm_head.modules_to_save.weight", "lm_head", "weight"),
        ("base_model.model.a.q.lora_magnitude_vector", "a.q", "lora_magnitude_vector"),
    ],
)
def test_tensor_names_are_split(name: str, module: str, part: str) -> None:
    assert split_name(name) == (module, part)


@pytest.mark.parametrize("use_dora", [False, True])
def test_adapters_that_peft_wrote(tiny_models: TinyModels, tmp_path: Path, use_dora: bool) -> None:
    """Files saved by peft, with a replaced output layer, an adapted embedding and a different rank for one module."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from extract.models import load_pair
    from extract.models.quiet import quiet_libraries

    base = AutoModelForCausalLM.from_pretrained(tiny_models.qwen2_base, dtype=torch.float32)
    modules = ["up_proj", "k_proj"] if use_dora else ["up_proj", "k_proj", "embed_tokens"]
    config = LoraConfig(
        r=3, lora_alpha=5, target_modules=modules, modules_to_save=["lm_head"], rank_pattern={"k_proj": 2},
        alpha_pattern={"up_proj": 7}, use_rslora=True, use_dora=use_dora, task_type="CAUSAL_LM",
    )  # fmt: skip
    with quiet_libraries():
        trained = get_peft_model(base, config)
        torch.manual_seed(0)
        with torch.no_grad():
            for name, parameter in trained.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        trained.eval().save_pretrained(tmp_path / "written", save_embedding_layers=not use_dora)
    ids = torch.arange(20)[None]
    pair = load_pair(str(tiny_models.qwen2_base), str(tmp_path / "written"), note=lambda _: None)
    with torch.no_grad():
        with pair.target.active() as model:
            torch.testing.assert_close(model(ids).logits, trained(ids).logits, rtol=1e-4, atol=1e-4)
        with pair.base.active() as model, trained.disable_adapter():
            torch.testing.assert_close(model(ids).logits, trained(ids).logits, rtol=1e-4, atol=1e-4)
