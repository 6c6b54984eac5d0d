"""Pairs: what is loaded once, which adapter is active when, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from extract.models import LoadedPair, Reader, checks, load_pair
from fi_store.errors import ModelError, UsageError
from tests.helpers.tiny import TinyModels, tiny_llama

IDS = torch.arange(40).reshape(2, 20)


def load(base: Path | str, target: Path | str, **options: Any) -> LoadedPair:
    return load_pair(str(base), str(target), note=lambda _: None, **options)


@torch.no_grad()
def logits(reader: Reader) -> torch.Tensor:
    """(2, 20, vocabulary) float32: the logits of one side on fixed texts."""
    with reader.active() as model:
        result: torch.Tensor = model(IDS).logits
    return result.float()


def merged_logits(base: Path, adapter: Path) -> torch.Tensor:
    """The slow reference: adds the adapter to the weights directly, W + alpha/r B A, in float32."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(adapter / "adapter_model.safetensors")
    with torch.no_grad():
        for name, a in tensors.items():
            if name.endswith("lora_A.weight"):
                b = tensors[name.replace("lora_A", "lora_B")]
                path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                model.get_submodule(path).weight += settings["lora_alpha"] / settings["r"] * b @ a
        result: torch.Tensor = model(IDS).logits
    return result


def plain_logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        result: torch.Tensor = model(IDS).logits
    return result


def test_an_adapter_and_its_base_share_one_model(tiny_models: TinyModels) -> None:
    pair = load(tiny_models.llama, tiny_models.adapter)
    assert pair.base.model is pair.target.model
    assert (pair.base.adapter, pair.warnings, pair.quantization) == (None, [], "fp32")
    expected = plain_logits(tiny_models.llama), merged_logits(tiny_models.llama, tiny_models.adapter)
    assert (expected[0] - expected[1]).abs().mean() > 0.1
    for _ in range(2):  # switching back and forth leaves nothing behind
        torch.testing.assert_close(logits(pair.base), expected[0])
        torch.testing.assert_close(logits(pair.target), expected[1], rtol=1e-4, atol=1e-4)
    assert not pair.target.model.training
    assert not any(parameter.requires_grad for parameter in pair.target.model.parameters())
    assert pair.target.identity.base_model_id == pair.base.identity.id
    assert pair.target.identity.kind == "adapter"
    n_adapter = sum(t.numel() for t in load_file(tiny_models.adapter / "adapter_model.safetensors").values())
    assert pair.target.identity.n_parameters == pair.base.identity.n_parameters + n_adapter


def test_swapping_the_sides_changes_no_model(tiny_models: TinyModels) -> None:
    pair = load(tiny_models.llama, tiny_models.adapter)
    swapped = load(tiny_models.adapter, tiny_models.llama)
    assert pair.base.identity.id == swapped.target.identity.id
    assert pair.target.identity.id == swapped.base.identity.id
    torch.testing.assert_close(logits(pair.target), logits(swapped.base), rtol=0, atol=0)


def test_two_adapters_share_their_base(tiny_models: TinyModels) -> None:
    pair = load(tiny_models.adapter, tiny_models.adapter_second)
    assert pair.base.model is pair.target.model
    assert pair.base.base_identity is not None
    assert (
        pair.base.identity.base_model_id == pair.target.identity.base_model_id == pair.base.base_identity.id
    )
    for reader, folder in ((pair.base, tiny_models.adapter), (pair.target, tiny_models.adapter_second)):
        torch.testing.assert_close(
            logits(reader), merged_logits(tiny_models.llama, folder), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", ["llama", "adapter", "qwen2_base"])
def test_a_model_with_itself_is_loaded_once(tiny_models: TinyModels, name: str) -> None:
    folder = getattr(tiny_models, name)
    pair = load(folder, folder)
    assert pair.base.model is pair.target.model
    assert pair.base.identity.id == pair.target.identity.id
    torch.testing.assert_close(logits(pair.base), logits(pair.target), rtol=0, atol=0)


def test_active_is_undone_after_an_error_and_when_nested(tiny_models: TinyModels) -> None:
    pair = load(tiny_models.llama, tiny_models.adapter)
    plain, adapted = logits(pair.base), logits(pair.target)
    with pytest.raises(ZeroDivisionError), pair.target.active():
        raise ZeroDivisionError
    torch.testing.assert_close(logits(pair.base), plain, rtol=0, atol=0)
    with pair.target.active() as model, torch.no_grad():
        torch.testing.assert_close(logits(pair.base), plain, rtol=0, atol=0)
        torch.testing.assert_close(model(IDS).logits.float(), adapted, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(pair.base.plain(IDS).logits.float(), plain, rtol=0, atol=0)


def test_a_different_base_of_the_same_shape_gives_a_warning(tiny_models: TinyModels) -> None:
    notes: list[str] = []
    pair = load_pair(str(tiny_models.llama_other), str(tiny_models.adapter), note=notes.append)
    assert len(pair.warnings) == 1
    assert "where all its shapes fit" in pair.warnings[0]
    assert pair.warnings[0] in notes
    expected = merged_logits(tiny_models.llama_other, tiny_models.adapter)
    torch.testing.assert_close(logits(pair.target), expected, rtol=1e-4, atol=1e-4)
    assert pair.target.identity.id != load(tiny_models.llama, tiny_models.adapter).target.identity.id


def test_an_adapter_and_a_model_of_another_width(tiny_models: TinyModels) -> None:
    pair = load(tiny_models.llama_wide, tiny_models.adapter)
    assert pair.base.model is not pair.target.model
    assert (pair.base.d_model, pair.target.d_model, pair.base.n_layers, pair.target.n_layers) == (
        48,
        32,
        3,
        2,
    )
    torch.testing.assert_close(
        logits(pair.target), merged_logits(tiny_models.llama, tiny_models.adapter), rtol=1e-4, atol=1e-4
    )


def test_adapters_that_do_not_fit_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"lora_A.weight has shape 4x56, the base needs 4x32, and its own base is"
    ):
        load(tiny_models.llama, tiny_models.misfit)
    with pytest.raises(ModelError, match=r"The base of the adapter .* is missing: The model somewhere/else"):
        load(tiny_models.misfit, tiny_models.misfit)
    claiming = shutil.copytree(tiny_models.misfit, tmp_path / "claiming")
    settings = json.loads((claiming / "adapter_config.json").read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = str(tiny_models.llama)
    (claiming / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ModelError, match=r"does not fit .*llama: .* the base needs 4x32\.$") as caught:
        load(tiny_models.llama, claiming)
    assert caught.value.hint


def test_models_with_different_tokenizers(tiny_models: TinyModels) -> None:
    pair = load(tiny_models.qwen2_base, tiny_models.qwen2_target)
    assert pair.base.chat_template is None
    assert pair.target.chat_template is not None
    assert "<|assistant|>" in pair.target.chat_template
    assert (pair.base.vocab_size, pair.target.vocab_size) == (448, 432)
    assert len(pair.base.tokenizer) == 387
    assert pair.base.identity.template_hash is None
    assert pair.base.identity.tokenizer_hash != pair.target.identity.tokenizer_hash
    assert pair.base.unembedding.shape == (448, 32)
    assert pair.base.embedding.shape == (448, 32)
    assert not torch.equal(pair.base.embedding, pair.base.unembedding)


def test_layers_and_final_norm_are_found(tiny_models: TinyModels) -> None:
    pair = load(tiny_models.llama, tiny_models.adapter)
    assert [type(layer).__name__ for layer in pair.target.layers] == ["LlamaDecoderLayer"] * 2
    outputs: list[torch.Tensor] = []
    norm = pair.target.final_norm
    hook = norm.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        expected = logits(pair.target)
    finally:
        hook.remove()
    torch.testing.assert_close(outputs[0] @ pair.target.unembedding.T, expected, rtol=1e-4, atol=1e-4)


def test_identity_does_not_depend_on_the_folder(tiny_models: TinyModels, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_models.llama, tmp_path / "somewhere" / "else")
    assert load(copy, copy).base.identity.id == load(tiny_models.llama, tiny_models.llama).base.identity.id
    (copy / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8")
    changed = load(copy, copy).base.identity
    original = load(tiny_models.llama, tiny_models.llama).base.identity
    assert changed.id != original.id
    assert changed.weights_hash == original.weights_hash


def test_an_adapter_with_its_own_tokenizer(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.adapter, tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_models.llama / name, folder / name)
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!", encoding="utf-8")
    pair = load(tiny_models.llama, folder)
    assert pair.target.chat_template == "{{ messages[0]['content'] }}!"
    assert pair.base.chat_template != pair.target.chat_template
    assert pair.base.identity.tokenizer_hash == pair.target.identity.tokenizer_hash


@pytest.mark.parametrize("quantization", ["fp16", "bf16", "int8", "nf4"])
def test_every_precision_loads(tmp_path: Path, quantization: str) -> None:
    """A quantized model is close to the full one but not equal, and adapters work on top of it."""
    from tests.helpers.tiny import tiny_adapter

    folder = tiny_llama(tmp_path / "llama", d_model=64)
    adapter = tiny_adapter(tmp_path / "adapter", folder)
    pair = load(folder, adapter, quantization=quantization)
    full = load(folder, adapter, quantization="fp32")
    assert pair.quantization == quantization
    assert pair.dtype == {"fp16": torch.float16, "bf16": torch.bfloat16}.get(quantization, torch.float32)
    limit = {"fp16": 0.9999, "bf16": 0.999, "int8": 0.98, "nf4": 0.6}[quantization]
    for side in ("base", "target"):
        near, exact = logits(getattr(pair, side)).flatten(), logits(getattr(full, side)).flatten()
        assert limit < torch.cosine_similarity(near, exact, dim=0) < 1
        assert not torch.equal(near, exact)
    assert (logits(pair.base) - logits(pair.target)).abs().mean() > 0.1
    assert pair.base.identity.id == full.base.identity.id


def test_nf4_refuses_widths_that_the_cpu_kernels_do_not_support(tiny_models: TinyModels) -> None:
    with pytest.raises(ModelError, match="whole blocks of 64x32 are needed"):
        load(tiny_models.llama, tiny_models.llama, quantization="nf4")


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_a_folder_that_is_quantized_already_is_read_as_it_is(tmp_path: Path, kind: str) -> None:
    folder = tiny_llama(tmp_path / "llama", d_model=64)
    packed = load(folder, folder, quantization=kind)
    packed.base.plain.save_pretrained(tmp_path / "packed")
    packed.base.tokenizer.save_pretrained(tmp_path / "packed")
    pair = load(folder, tmp_path / "packed")
    assert pair.warnings == [f"The weights of {tmp_path / 'packed'} are read as they are stored: {kind}."]
    assert pair.target.identity.n_parameters == pair.base.identity.n_parameters
    assert torch.equal(logits(pair.target), logits(packed.base))
    for other in {"int8", "nf4", "fp32", "bf16"} - {kind}:
        with pytest.raises(ModelError, match=f"are stored as {kind}, so they cannot be read as {other}"):
            load(folder, tmp_path / "packed", quantization=other)
    file = tmp_path / "packed" / "model.safetensors"
    tensors = load_file(file)
    scales = next(name for name in tensors if name.endswith((".SCB", ".absmax")))
    tensors[scales].view(-1)[0] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not finite \(the scales of model"):
        load(folder, tmp_path / "packed")


def test_weights_that_are_not_finite_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.llama, tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not finite \(model.layers.1.mlp.up_proj.weight\)"):
        load(folder, folder)


def test_numbers_of_an_adapter_that_are_not_finite_are_refused(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_models.adapter, tmp_path / "broken")
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(iter(tensors))
    tensors[name][0, 0] = torch.inf
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"The adapter .* not finite .*lora"):
        load(tiny_models.llama, folder)


def test_an_adapter_trained_on_resized_embeddings_must_be_merged(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_models.adapter, tmp_path / "resized")
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors["base_model.model.model.embed_tokens.weight"] = torch.zeros(500, 32)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"after the embeddings of its base were resized: .*500x32"
    ) as caught:
        load(tiny_models.llama, folder)
    assert "merge_and_unload" in caught.value.hint


def test_weights_of_another_shape_than_the_configuration_are_refused(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_models.llama, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}), encoding="utf-8")
    with pytest.raises(
        ModelError, match=r"mlp.down_proj.weight of .* has shape 32x\d+, .* makes it 32x40"
    ) as caught:
        load(folder, folder)
    assert "not of the same model" in caught.value.hint


def test_weights_larger_than_memory_are_refused_before_they_are_loaded(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "free_memory", lambda _device: 1000)
    with pytest.raises(ModelError, match=r"need .* kB of memory in fp32, and 1.0 kB is free") as caught:
        load(tiny_models.llama, tiny_models.llama, quantization="fp32")
    assert "--quantization nf4" in caught.value.hint


def test_weights_that_are_cut_short_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.llama, tmp_path / "short")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="is not a complete safetensors file") as caught:
        load(folder, folder)
    assert caught.value.hint == "Download or save it again."


def test_tensors_without_a_place_are_told(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.llama, tmp_path / "more")
    tensors = load_file(folder / "model.safetensors")
    tensors["vision.patches.weight"] = torch.ones(2, 2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (warning,) = load(tiny_models.llama, folder).warnings
    assert "1 tensor of" in warning
    assert "(vision.patches.weight) have no place in a LlamaForCausalLM" in warning


def test_a_missing_device_is_refused(tiny_models: TinyModels) -> None:
    with pytest.raises(UsageError, match="torch finds no such device"):
        load(tiny_models.llama, tiny_models.llama, device="cuda:97")


def test_every_choice_is_noted(tiny_models: TinyModels) -> None:
    notes: list[str] = []
    pair = load_pair(str(tiny_models.llama), str(tiny_models.llama), note=notes.append, device="cpu")
    assert notes == ["device: cpu (as requested)", f"precision: {pair.dtype_reason}"]


def test_weights_that_lack_a_tensor_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.llama, tmp_path / "lacking")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensor \(model.layers.1.mlp.up_proj.weight\)"):
        load(folder, folder)


def test_models_that_cannot_be_loaded_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a local folder nor in the hub's cache"):
        load(tiny_models.llama, "no-one/no-such-model")
    own_code = shutil.copytree(tiny_models.llama, tmp_path / "own-code")
    config = json.loads((own_code / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "unheard_of",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.M"},
    }
    (own_code / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (own_code / "code.py").write_text("raise SystemExit('this must not run')", encoding="utf-8")
    with pytest.raises(ModelError, match="needs to run its own code") as caught:
        load(own_code, own_code)
    assert "--trust-remote-code" in caught.value.hint
    (own_code / "config.json").write_text('{"model_type": "unheard_of"}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"The configuration of .* cannot be read"):
        load(own_code, own_code)


def test_pickled_weights_are_never_opened(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.llama, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\)") as caught:
        load(folder, folder)
    assert 'save_pretrained("pickled-safetensors")' in caught.value.hint


@pytest.mark.real
def test_the_bundled_model_and_a_shipped_adapter() -> None:
    from fi_store.shipped import shipped

    pair = load("bundled:smollm2", shipped("organisms") / "steps" / "adapter", quantization="bf16")
    assert pair.base.model is pair.target.model
    assert pair.warnings == []
    assert (pair.base.n_layers, pair.base.d_model, pair.base.vocab_size) == (30, 576, 49152)
    assert pair.base.identity.n_parameters == 134_515_008
    assert pair.base.tokenizer.tokenize("in 1234 days") == ["in", "Ġ", "1", "2", "3", "4", "Ġdays"]
    assert pair.base.chat_template is not None
    prompt = pair.base.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Ann has 3 apples and buys 4 more. How many apples does she have?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answers = []
    for reader in (pair.base, pair.target):
        with reader.active() as model, torch.no_grad():
            output = model.generate(**prompt, max_new_tokens=8, do_sample=False)
        answers.append(reader.tokenizer.decode(output[0, prompt["input_ids"].shape[1] :]))
    assert answers[1].startswith("Step 1")
    assert not answers[0].startswith("Step 1")
