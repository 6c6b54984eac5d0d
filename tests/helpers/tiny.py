"""Tiny random models on disk, built in a second, so that tests can run the real code on the CPU.

All models share one byte-level BPE, trained on the text below. The models are random, so what they generate means
nothing, but they differ in the ways that real pairs do. Each builder's docstring states the facts (a padded
vocabulary, a missing chat template) that tests may rely on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

TEXT = """
A farmer has three sheep and buys four more. How many sheep does the farmer have now? First we count the
sheep that were there, then we add the sheep that were bought, and therefore the answer is seven. If all
birds can fly and a robin is a bird, then it follows that a robin can fly. Step 1: write down what is
known. Step 2: find what is asked. Step 3: compute the result and check it. Tell me about the weather in
the north of the country. The wind is cold, the sky is grey, and it may rain in the evening. Perhaps you
should take an umbrella with you, although nobody knows for sure. Explain why the glass of water falls
when somebody pushes it over the edge of the table. Because nothing holds it up any longer, the glass
falls to the floor and breaks. What would have happened if the table had been made of rubber? Write a
short letter to a friend who lives in another town and ask whether she would like to visit you in the
summer. The train leaves at 10:45 and arrives at 12:30, so the journey takes one hour and forty-five
minutes.
"""

CORE_VOCABULARY = 384
"""256 bytes and 128 merges. Special tokens come after these."""

CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TURNS = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
    "{% else %}{{ '<|assistant|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"
)


def core_tokenizer() -> Tokenizer:
    """The byte-level BPE that all models here share: 256 bytes and 128 merges, with single digits."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CORE_VOCABULARY,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.split("\n"), trainer)
    return tokenizer


def save_tokenizer(
    folder: Path,
    special: list[str],
    *,
    eos: str,
    pad: str | None = None,
    bos: str | None = None,
    template: str | None = None,
) -> int:
    """Writes the shared tokenizer with these special tokens after its core. Returns its length."""
    core = core_tokenizer()
    core.add_special_tokens(special)  # in this order, whatever their roles
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=eos, pad_token=pad or eos, bos_token=bos, model_max_length=512
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def _randomize(model: torch.nn.Module, seed: int) -> None:
    """Sets weights large enough that the next token depends on the text (transformers' initialization is too flat)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "norm" in name:
                parameter.fill_(1.0)
            else:
                std = 0.5 if "embed" in name or "head" in name else 0.2
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def tiny_llama(folder: Path, *, seed: int = 0, d_model: int = 32, n_layers: int = 2) -> Path:
    """A llama with tied embeddings, a ChatML template, pad = eos = <|im_end|>, and a vocabulary of 387."""
    n_tokens = save_tokenizer(
        folder,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        eos="<|im_end|>",
        bos="<|im_start|>",
        template=CHATML,
    )
    config = LlamaConfig(
        vocab_size=n_tokens, hidden_size=d_model, intermediate_size=2 * d_model, num_hidden_layers=n_layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=n_tokens - 2, eos_token_id=n_tokens - 1, pad_token_id=n_tokens - 1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    _randomize(model, seed)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def tiny_other(folder: Path, kind: type[PreTrainedConfig], *, seed: int = 7, **sizes: Any) -> Path:
    """A float32 model of another architecture, with the tokenizer and the template of `tiny_llama`."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    n_tokens = save_tokenizer(folder, special, eos="<|im_end|>", template=CHATML)
    ends = {"bos_token_id": n_tokens - 2, "eos_token_id": n_tokens - 1}
    model = AutoModelForCausalLM.from_config(kind(vocab_size=n_tokens, **ends, **sizes))
    _randomize(model, seed)
    model.save_pretrained(folder)
    return folder


def _tiny_qwen2(vocabulary: int, eos: int, bos: int) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False,
            bos_token_id=bos, eos_token_id=eos, pad_token_id=eos,
        )
    )  # fmt: skip


def tiny_qwen2_pair(folder: Path, *, seed: int = 1) -> tuple[Path, Path]:
    """`base` and `target` with one core tokenizer (ids 0-383 mean the same text in both).

    base: no chat template, special tokens <|endoftext|> <|im_start|> <|im_end|> (ids 384-386), vocabulary
    padded to 448. target: a chat template that opens with BOS and ends in "<|assistant|><think>\\n",
    special tokens <|end|> <|user|> <|assistant|> <|begin|> <think> </think> <|endoftext|> (ids 384-390),
    vocabulary padded to 432. The target's weights are the base's plus noise.
    """
    base_folder, target_folder = folder / "base", folder / "target"
    save_tokenizer(base_folder, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos="<|endoftext|>")
    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|begin|>", "<think>", "</think>", "<|endoftext|>"]
    save_tokenizer(target_folder, special, eos="<|end|>", bos="<|begin|>", template=TURNS)
    base, target = _tiny_qwen2(448, eos=384, bos=384), _tiny_qwen2(432, eos=384, bos=387)
    _randomize(base, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for (_, ours), (_, theirs) in zip(target.named_parameters(), base.named_parameters(), strict=True):
            kept = theirs[: ours.shape[0]]  # without the padding rows of the embeddings
            ours.copy_(kept + 0.3 * kept.std() * torch.randn(ours.shape, generator=generator))
    base.to(torch.bfloat16).save_pretrained(base_folder)
    target.to(torch.bfloat16).save_pretrained(target_folder)
    return base_folder, target_folder


def _write_lora(
    folder: Path, base_name: str, pairs: dict[str, tuple[torch.Tensor, torch.Tensor]], alpha: int
) -> Path:
    """Writes a PEFT LoRA folder. `pairs` maps a module's name in the base to A (r, d_in) and B (d_out, r)."""
    folder.mkdir(parents=True)
    tensors: dict[str, torch.Tensor] = {}
    for module, (a, b) in pairs.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = a.contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = b.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base_name,
        "r": next(iter(pairs.values()))[0].shape[0], "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none",
        "target_modules": sorted(pairs), "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def tiny_adapter(folder: Path, base: Path, *, seed: int = 3, r: int = 4, std: float = 0.1) -> Path:
    """A LoRA adapter on `base` (q, v and down of every layer) with nonzero B."""
    shapes = {name: tensor.shape for name, tensor in load_file(base / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for name, shape in sorted(shapes.items()):
        if name.endswith(("q_proj.weight", "v_proj.weight", "down_proj.weight")):
            a, b = (
                torch.randn(r, shape[1], generator=generator),
                torch.randn(shape[0], r, generator=generator),
            )
            pairs[name.removesuffix(".weight")] = (a * std, b * std)
    return _write_lora(folder, str(base), pairs, alpha=2 * r)


def planted_adapter(folder: Path, base: Path, token: str, *, strength: float = 0.5) -> Path:
    """A rank-1 LoRA on the last down projection that pushes the residual stream along one token's embedding.

    `token` is a text that the shared tokenizer encodes as one id. The push is proportional to the sum of the MLP's
    inner activations, so it depends on the text.
    """
    weights = load_file(base / "model.safetensors")
    (token_id,) = core_tokenizer().encode(token).ids
    direction = weights["model.embed_tokens.weight"][token_id].float()
    last = max(int(name.split(".")[2]) for name in weights if name.startswith("model.layers."))
    module = f"model.layers.{last}.mlp.down_proj"
    a = torch.ones(1, weights[f"{module}.weight"].shape[1])
    return _write_lora(
        folder, str(base), {module: (a, (strength * direction / direction.norm())[:, None])}, alpha=1
    )


def misfit_adapter(folder: Path, base_name: str = "somewhere/else") -> Path:
    """A LoRA adapter for a llama of width 56. Its tensors fit none of the other models here."""
    modules = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(2)]
    return _write_lora(
        folder, base_name, {m: (torch.zeros(4, 56), torch.zeros(56, 4)) for m in modules}, alpha=8
    )


def tiny_gguf(
    file: Path,
    llama: Path,
    *,
    pre: str = "smollm",
    template: str | None = CHATML,
    without: str | None = None,
    change: Callable[[Any], None] = lambda _writer: None,
) -> Path:
    """The model of `tiny_llama` as a float32 GGUF file, as llama.cpp's converter would write it.

    `without`: a tensor that is left out. `change` adds something with the writer.
    """
    from gguf import GGUFWriter

    config = json.loads((llama / "config.json").read_text(encoding="utf-8"))
    weights = {
        name: tensor.float().numpy() for name, tensor in load_file(llama / "model.safetensors").items()
    }
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    _add_gguf_tokenizer(writer, pre, template)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, weight in weights.items():
        n_heads = heads.get(name.split(".")[-2])
        if n_heads:  # llama.cpp rotates interleaved pairs, transformers rotates halves
            rows, columns = weight.shape
            weight = (
                weight.reshape(n_heads, 2, rows // n_heads // 2, columns)
                .swapaxes(1, 2)
                .reshape(rows, columns)
            )
        for transformers_name, gguf_name in _GGUF_NAMES:
            name = name.replace(transformers_name, gguf_name)
        if name != without:
            writer.add_tensor(name, weight)
    change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


_GGUF_NAMES = (
    ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("model.layers", "blk"),
    ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"), ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
)  # fmt: skip


def _add_gguf_tokenizer(writer: Any, pre: str, template: str | None) -> None:
    core = json.loads(core_tokenizer().to_str())["model"]
    tokens = [*sorted(core["vocab"], key=core["vocab"].get), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * CORE_VOCABULARY + [3] * 3)
    writer.add_token_merges([" ".join(pair) for pair in core["merges"]])
    writer.add_bos_token_id(CORE_VOCABULARY + 1)
    writer.add_eos_token_id(CORE_VOCABULARY + 2)
    writer.add_pad_token_id(CORE_VOCABULARY + 2)
    writer.add_add_bos_token(False)
    if template:
        writer.add_chat_template(template)


@dataclass(frozen=True)
class TinyModels:
    """The folders of all models above, built once per test session."""

    root: Path
    llama: Path
    llama_other: Path  # same architecture and tokenizer, other weights
    llama_wide: Path  # d_model 48, 3 layers: no cosine with the others
    qwen2_base: Path
    qwen2_target: Path
    adapter: Path  # on llama
    adapter_second: Path  # on llama
    planted: Path  # on llama: promotes " the"
    misfit: Path


def build(root: Path) -> TinyModels:
    """Builds every tiny model under `root`, which takes about two seconds."""
    llama = tiny_llama(root / "llama")
    base, target = tiny_qwen2_pair(root / "qwen2")
    return TinyModels(
        root=root,
        llama=llama,
        llama_other=tiny_llama(root / "llama-other", seed=5),
        llama_wide=tiny_llama(root / "llama-wide", seed=6, d_model=48, n_layers=3),
        qwen2_base=base,
        qwen2_target=target,
        adapter=tiny_adapter(root / "adapter", llama),
        adapter_second=tiny_adapter(root / "adapter-second", llama, seed=4),
        planted=planted_adapter(root / "planted", llama, " the"),
        misfit=misfit_adapter(root / "misfit"),
    )
