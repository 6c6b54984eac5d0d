"""`attn_out` and `mlp_out` are what is added to the residual stream, in every architecture, or they are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor

from extract.job import prepare
from extract.models.quiet import quiet_libraries
from extract.reading import Edit, Readable, Scoring, read_answers, read_batch, require_sites, sites_of
from extract.reading.batch import Batch
from extract.reading.hooks import edited
from extract.reading.passes import AnswerTexts, Counted
from extract.reading.sites import site_of
from fi_store.errors import ExtractionError
from tests.helpers.plain import Plain
from tests.helpers.small_runs import loaded, small_config, small_suite
from tests.helpers.tiny import TinyModels, tiny_adapter, tiny_llama

SITES = ("resid_post", "attn_out", "mlp_out")
TEXT = [*range(20, 36)]
ROWS = [4, 7, 8, 15]
WIDTH, N_LAYERS = 32, 2
COMMON = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1, "hidden_size": WIDTH}
LLAMA = {
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
WITHOUT_HEADS = {name: value for name, value in LLAMA.items() if name != "head_dim"}
FEW_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SMALL_OPT = {"word_embed_proj_dim": WIDTH, "ffn_dim": 48, "max_position_embeddings": 64}
NORMS = "post_attention_layernorm", "post_feedforward_layernorm"
# A class of transformers, settings, both modules, and the constant by which their outputs are multiplied.
FOUND: dict[str, tuple[str, dict[str, Any], str, str, float]] = {
    "norms after the modules": ("Gemma3Text", {**LLAMA, "sliding_window": 16}, *NORMS, 1.0),
    "a multiplier": ("Granite", {**LLAMA, "residual_multiplier": 0.22}, "self_attn", "mlp", 0.22),
    "modules that add by themselves": (
        "Bloom", {"n_layer": N_LAYERS, "n_head": 4}, "self_attention.dense", "mlp.dense_4h_to_h", 1.0,
    ),
    "attention beside the MLP": (
        "Falcon", {"num_hidden_layers": N_LAYERS, "num_attention_heads": 4}, "self_attention", "mlp", 1.0,
    ),
    "shared experts": (
        "Qwen2Moe", {**LLAMA, **FEW_EXPERTS, "shared_expert_intermediate_size": 16}, "self_attn", "mlp", 1.0,
    ),
    "texts and positions joined": (
        "OPT", {"num_hidden_layers": N_LAYERS, "num_attention_heads": 4, **SMALL_OPT}, "self_attn", "fc2", 1.0,
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "experts beside a module": (
        "GraniteMoeShared",
        {**WITHOUT_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 16},
        r"layer 0 of tiny \(GraniteMoeSharedDecoderLayer\) adds something that no single module returns",
    ),
    "a norm after the sum": (
        "OPT",
        {"num_hidden_layers": N_LAYERS, "num_attention_heads": 4, **SMALL_OPT, "do_layer_norm_before": False},
        r"layer 0 of tiny \(OPTDecoderLayer\) does not pass its input on unchanged",
    ),
    "one module a layer": (
        "Mamba", {"num_hidden_layers": N_LAYERS, "state_size": 8},
        r"layer 0 of tiny \(MambaBlock\) adds 1 vector a token",
    ),
}  # fmt: skip


def model_of(architecture: str, settings: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**COMMON, **settings)
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model.to(dtype).eval().requires_grad_(False)


class Case(NamedTuple):
    """A model, the modules of both sites, and the constant by which their outputs are multiplied."""

    reader: Plain
    attn: str
    mlp: str
    scale: float


@pytest.fixture(scope="module", params=[*FOUND, "an adapter"])
def case(request: pytest.FixtureRequest) -> Case:
    name = "modules that add by themselves" if request.param == "an adapter" else request.param
    architecture, settings, attn, mlp, scale = FOUND[name]
    model = model_of(architecture, settings)
    if request.param == "an adapter":
        config = LoraConfig(target_modules=["dense", "dense_4h_to_h"], init_lora_weights=False)
        with quiet_libraries():
            model = get_peft_model(model, config).eval().get_base_model().requires_grad_(False)
    return Case(Plain(model), attn, mlp, scale)


def read(reader: Readable, sites: Sequence[str] = SITES) -> dict[tuple[str, int], Tensor]:
    """The activations of the text, in one pass."""
    return read_batch(reader, Batch([TEXT], [ROWS], [4], "cpu"), sites, logits=False).activations


def paths(reader: Readable) -> list[tuple[str, str] | None]:
    """The names of both modules in each layer."""
    found = [(layer.attn_out, layer.mlp_out) for layer in sites_of(reader)]
    return [(attn.path, mlp.path) if attn and mlp else None for attn, mlp in found]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=3e-5)


def test_the_modules_are_found_by_what_they_add(case: Case) -> None:
    assert paths(case.reader) == [(case.attn, case.mlp)] * N_LAYERS
    for number, layer in enumerate(sites_of(case.reader)):
        assert [site_of(case.reader, number, site).scale for site in SITES] == [1, case.scale, case.scale]
        assert layer.problem is None
        assert layer.error < 1e-4


def test_both_sites_sum_to_the_step_of_the_residual_stream(case: Case) -> None:
    found = read(case.reader)
    with torch.inference_mode():
        output = case.reader.model(torch.tensor([TEXT]), output_hidden_states=True, use_cache=False)
    first, second = (states[0, ROWS] for states in output.hidden_states[:2])
    close(found["attn_out", 0] + found["mlp_out", 0], second - first)
    close(found["attn_out", 1] + found["mlp_out", 1], found["resid_post", 1] - found["resid_post", 0])


@pytest.mark.parametrize("site", ["attn_out", "mlp_out"])
def test_an_edit_changes_the_residual_stream_by_as_much(case: Case, site: str) -> None:
    added = torch.linspace(-1, 1, WIDTH)
    before = read(case.reader)
    with edited(case.reader, Edit(site, 1, lambda hidden: hidden + added), torch.Size((1, len(TEXT)))):
        after = read(case.reader)
    moved = {name: after[name, 1] - before[name, 1] for name in SITES}
    close(moved[site], added.expand_as(moved[site]))
    # The MLP may read what attention adds.
    close(moved["resid_post"], moved["attn_out"] + moved["mlp_out"])


def test_what_an_edit_leaves_is_not_rounded(case: Case) -> None:
    before = read(case.reader)
    with edited(case.reader, Edit("mlp_out", 0, torch.clone), torch.Size((1, len(TEXT)))):
        after = read(case.reader)
    assert all(torch.equal(values, before[key]) for key, values in after.items())


def test_gradients_are_those_of_what_is_added(case: Case) -> None:
    """After the MLP of the last layer nothing comes but the sum."""
    counted = [Counted(at, TEXT[at + 1], 0) for at in ROWS[:-1]]
    kept = [(at, row) for row, at in enumerate(ROWS)]
    texts = AnswerTexts([TEXT], [4], [kept], [counted], [1.0], len(ROWS))
    scoring = Scoring(torch.tensor([0]), None)
    gradients = read_answers(case.reader, texts, SITES, scoring, "cpu", gradients=True).gradients
    assert gradients["mlp_out", 1].any()
    torch.testing.assert_close(gradients["mlp_out", 1], gradients["resid_post", 1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FOUND)
def test_the_same_modules_are_found_in_bfloat16(name: str) -> None:
    architecture, settings, attn, mlp, _ = FOUND[name]
    assert paths(Plain(model_of(architecture, settings, torch.bfloat16))) == [(attn, mlp)] * N_LAYERS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_two_modules_is_refused_by_name(name: str, dtype: torch.dtype) -> None:
    architecture, settings, message = REFUSED[name]
    reader = Plain(model_of(architecture, settings, dtype))
    require_sites(reader, ["resid_post"])
    with pytest.raises(ExtractionError, match=f"attn_out cannot be read: {message}"):
        require_sites(reader, SITES)


def test_a_module_that_is_changed_after_it_returned_is_refused() -> None:
    """The graph may miss that: the numbers do not."""
    reader = Plain(model_of(*FOUND["attention beside the MLP"][:2]))
    forward = reader.layers[1].forward

    def changing(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output[0].data += 1.0
        return output

    reader.layers[1].forward = changing  # type: ignore[method-assign]
    assert [layer.problem for layer in sites_of(reader)] == [
        None, "adds something other than self_attention and mlp"
    ]  # fmt: skip


def test_a_pair_is_checked_before_anything_is_read(tiny_models: TinyModels) -> None:
    pair = loaded(tiny_models.llama_other, tiny_models.llama_other)
    pair.base.layers[1].register_forward_hook(lambda _m, _i, output: output * 2)
    options = {"max_new_tokens": 4, "sites": ("resid_post",)}
    config = small_config(tiny_models.llama_other, tiny_models.llama_other, **options)
    prepare(pair, config, small_suite(4))
    config = config.model_copy(update={"sites": ("resid_post", "mlp_out")})
    with pytest.raises(ExtractionError, match=r"mlp_out .* layer 1 of .*LlamaDecoderLayer\) does not pass"):
        prepare(pair, config, small_suite(4))


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_quantized_models_have_the_same_sites(tmp_path: Path, quantization: str) -> None:
    """An adapter works on top of one, and bitsandbytes may have repacked the weights."""
    folder = tiny_llama(tmp_path / "llama", d_model=64)
    reader = loaded(folder, tiny_adapter(tmp_path / "adapter", folder), quantization).target
    read(reader, ("resid_post",))
    assert paths(reader) == [("self_attn", "mlp")] * 2
    found = read(reader)
    close(found["attn_out", 1] + found["mlp_out", 1], found["resid_post", 1] - found["resid_post", 0])
