"""Patched readings equal plain passes over each whole text with a hook, whatever they skip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from extract.models import Ways
from extract.reading import AnswerTexts, NotFiniteError, Patch, Scoring, read_clean, replay
from extract.reading.likelihood import END
from extract.reading.passes import Counted
from tests.helpers.plain import Plain

OPENING = list(range(100, 112))
PROMPTS = [[*OPENING, *range(20, 20 + count)] for count in (5, 9, 3)]
# Different answers, one of them empty; equal ones; longer ones.
ANSWERS = [([40, 41, 42], []), ([60, 61], [60, 61]), (list(range(70, 81)), [50])]
ENDS = torch.tensor([5, 9])
WIDTH, N_LAYERS, N_LOGITS = 32, 3, 128
CLASSES = {
    "prompt": ("prompt",),
    "start": ("start",),
    "response": ("response",),
    "start, response": ("start", "response"),
}


def architecture(name: str) -> Plain:
    torch.manual_seed(0)
    common = {"vocab_size": N_LOGITS, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.2}
    if name == "gpt2":
        config = GPT2Config(**common, n_embd=WIDTH, n_layer=N_LAYERS, n_head=2, n_positions=48)
        return Plain(GPT2LMHeadModel(config).eval())
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 4,
    }
    if name == "gemma3":  # windows: its texts cannot share keys and values
        kinds = ["sliding_attention", "full_attention", "sliding_attention"]
        gemma = Gemma3TextConfig(
            **common, **sizes, num_key_value_heads=2, head_dim=8, sliding_window=6, layer_types=kinds
        )
        return Plain(Gemma3ForCausalLM(gemma).eval())
    return Plain(LlamaForCausalLM(LlamaConfig(**common, **sizes, num_key_value_heads=2)).eval())


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2"])
def reader(request: pytest.FixtureRequest) -> Plain:
    return architecture(request.param)


def answer_texts() -> tuple[AnswerTexts, list[str]]:
    """The texts, and the class of each row. The first answer's text has the rows of the prompt and the start."""
    texts, classes = AnswerTexts([], [], [], [], [], 0), list[str]()
    for prompt, answers in zip(PROMPTS, ANSWERS, strict=True):
        shared: list[tuple[int, int]] = []
        for number, answer in enumerate(answers):
            ids = [*prompt, *answer]
            at = range(13 if number == 0 else len(prompt), len(ids))
            kept = [(position, len(classes) + row) for row, position in enumerate(at)]
            classes += [
                "prompt" if p < len(prompt) - 1 else "start" if p < len(prompt) else "response" for p in at
            ]
            shared = shared or [(p, row) for p, row in kept if p < len(prompt)]
            following = [*answer, END] if number == 0 else answer
            texts.ids.append(ids)
            texts.stems.append(len(prompt) - 1)
            texts.kept.append(kept if number == 0 else [*shared, *kept])
            texts.counted.append(
                [Counted(p, token, len(texts.ids) - 1) for p, token in enumerate(following, len(prompt) - 1)]
            )
            texts.weights.append(0.0)
    return AnswerTexts(
        *(getattr(texts, name) for name in ("ids", "stems", "kept", "counted", "weights")), len(classes)
    ), classes


def patch_of(classes: Sequence[str], site: str, layer: int, scale: float = 1.0) -> Patch:
    """A random patch at the rows of some classes, except one of them. Equal answers get equal vectors."""
    _, names = answer_texts()
    rows = torch.tensor([row for row, name in enumerate(names) if name in classes][1:])
    values = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(layer)) * scale
    texts, _ = answer_texts()
    first, second = (dict(reversed(pair) for pair in texts.kept[number]) for number in (2, 3))
    for left, right in zip(
        (r for r in first if r not in second), (r for r in second if r not in first), strict=True
    ):
        for a, b in [((rows == left).nonzero(), (rows == right).nonzero())]:
            values[b] = values[a]
    return Patch(site, layer, rows, values)


def padding() -> Tensor:
    return torch.arange(N_LOGITS) >= 120


def module_of(reader: Plain, site: str, layer: int) -> torch.nn.Module:
    module = reader.layers[layer]
    names = {"attn_out": ("self_attn", "attn"), "mlp_out": ("mlp",), "resid_post": ()}[site]
    if hasattr(module, "post_feedforward_layernorm"):  # what Gemma adds is normalized first
        norms = {"attn_out": "post_attention_layernorm", "mlp_out": "post_feedforward_layernorm"}
        return getattr(module, norms[site]) if site in norms else module  # type: ignore[no-any-return]
    return next((getattr(module, name) for name in names if hasattr(module, name)), module)


@torch.inference_mode()
def by_hand(reader: Plain, patch: Patch | None) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probabilities of the counted tokens of each text, and of all tokens there, from whole unpadded passes."""
    texts, _ = answer_texts()
    scored, everything = [], []
    for ids, kept, counted in zip(texts.ids, texts.kept, texts.counted, strict=True):

        def add(_module: Any, _inputs: Any, output: Any, kept: Any = kept) -> Any:
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            for position, row in kept:
                if patch is not None and row in patch.rows:
                    hidden[0, position] += patch.values[patch.rows == row][0]
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = module_of(reader, patch.site, patch.layer).register_forward_hook(add) if patch else None
        logits = reader.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        if handle is not None:
            handle.remove()
        logp = logits.masked_fill(padding(), -torch.inf).log_softmax(1)
        everything.append(torch.stack([logp[each.position] for each in counted]) if counted else logp[:0])
        scored.append(
            torch.tensor(
                [
                    float(
                        logp[each.position, ENDS].logsumexp(0)
                        if each.token == END
                        else logp[each.position, each.token]
                    )
                    for each in counted
                ],
                dtype=torch.float64,
            )
        )
    return scored, everything


def clean_reading(reader: Plain, *, keep_logits: bool = False) -> replay.CleanReading:
    texts, _ = answer_texts()
    scoring = Scoring(ENDS, padding())
    skipped = frozenset(range(1, N_LAYERS + 1))
    return read_clean(reader, texts, scoring, "cpu", skipped=skipped, keep_logits=keep_logits)


def assert_equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("site", ["resid_post", "attn_out", "mlp_out"])
@pytest.mark.parametrize("classes", CLASSES)
def test_shortcuts_change_nothing(reader: Plain, site: str, classes: str) -> None:
    clean = clean_reading(reader)
    expected = by_hand(reader, None)[0]
    assert_equal(clean.token_logprobs, expected)
    for layer in range(N_LAYERS):
        patch = patch_of(CLASSES[classes], site, layer)
        patched = by_hand(reader, patch)[0]
        moved = max(float((a - b).abs().max()) for a, b in zip(patched, expected, strict=True) if len(a))
        # Nothing reads what the last layer adds to a prompt.
        assert moved > 0.01 or (layer == N_LAYERS - 1 and classes == "prompt")
        for shortcuts in (True, False):
            assert_equal(clean.patched(patch, shortcuts=shortcuts).token_logprobs, patched)
        assert replay._SKIPPING[reader.model][patch.n_below]
    assert_equal(clean.token_logprobs, expected)  # a clean reading is not used up


def test_texts_that_are_read_alone_have_the_same_shortcuts() -> None:
    reader = replace(architecture("llama"), ways=Ways(shared=False, read_together=False))
    clean, patch = clean_reading(reader, keep_logits=True), patch_of(("start", "response"), "resid_post", 1)
    assert [one.plan.level.ids.shape[0] for one in clean.passes] == [1] * len(clean.texts.ids)
    assert_equal(clean.token_logprobs, by_hand(reader, None)[0])
    patched = by_hand(reader, patch)[0]
    for shortcuts in (True, False):
        assert_equal(clean.patched(patch, words=True, shortcuts=shortcuts).token_logprobs, patched)
    assert replay._SKIPPING[reader.model][patch.n_below]


def test_only_what_changes_is_computed() -> None:
    reader = architecture("llama")
    clean = clean_reading(reader)
    clean.patched(patch_of(("start",), "resid_post", 1))  # the first patch there also tries to skip
    calls: list[tuple[int, int, int]] = []
    handles = [
        layer.self_attn.register_forward_pre_hook(  # type: ignore[union-attr]
            lambda _m, _i, named, number=number: calls.append((number, *named["hidden_states"].shape[:2])),
            with_kwargs=True,
        )
        for number, layer in enumerate(reader.layers)
    ]
    clean.patched(patch_of(("start",), "resid_post", 1))
    n_texts = len({tuple(ids) for ids in answer_texts()[0].ids})
    assert calls == [(2, n_texts, 16)]  # one layer, the starts and answers only
    calls.clear()
    clean.patched(patch_of(("prompt",), "resid_post", 1))
    assert [(number, rows) for number, rows, _ in calls] == [(2, len(PROMPTS)), (2, n_texts)]
    calls.clear()
    clean.patched(Patch("resid_post", 0, torch.tensor([], dtype=torch.long), torch.zeros(0, WIDTH)))
    assert not calls
    for handle in handles:
        handle.remove()


def test_what_is_pushed_is_the_divergence_by_token(reader: Plain) -> None:
    clean = clean_reading(reader, keep_logits=True)
    patch = patch_of(("start", "response"), "resid_post", 1)
    before, after = by_hand(reader, None)[1], by_hand(reader, patch)[1]
    found = clean.patched(patch, words=True).pushed
    assert found is not None
    for row, p, q in zip(found, before, after, strict=True):
        terms = (p.exp() * (p - q)).nan_to_num(0.0).sum(0)
        torch.testing.assert_close(row, terms, rtol=1e-3, atol=1e-4)
        assert not row[padding()].any()


def test_a_model_whose_layers_cannot_be_skipped_is_read_whole() -> None:
    """Its second layer also needs what its first layer left in the model."""
    reader = architecture("llama")
    left: list[Tensor] = []
    reader.layers[0].mlp.register_forward_hook(lambda _m, _i, output: left.append(output))  # type: ignore[union-attr]
    reader.layers[2].mlp.register_forward_hook(lambda _m, _i, output: output + left.pop(0))  # type: ignore[union-attr]
    clean = clean_reading(reader)
    patch = patch_of(("start",), "resid_post", 1)
    left.clear()
    found = clean.patched(patch)
    assert not replay._SKIPPING[reader.model][2]
    left.clear()
    assert_equal(found.token_logprobs, by_hand(reader, patch)[0])


def test_a_layer_is_itself_again_afterwards(reader: Plain) -> None:
    clean = clean_reading(reader)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in reader.model.modules()]
    broken = Patch("resid_post", 1, torch.tensor([1]), torch.zeros(1, WIDTH + 1))
    with pytest.raises(RuntimeError):
        clean.patched(broken)
    clean.patched(patch_of(("prompt",), "mlp_out", 2))
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in reader.model.modules()] == hooks
    assert all("forward" not in vars(layer) for layer in reader.layers)


def test_a_model_without_finite_predictions_is_refused() -> None:
    reader = architecture("llama")
    with torch.no_grad():
        reader.layers[1].mlp.down_proj.weight[0, 0] = float("nan")  # type: ignore[union-attr]
    with pytest.raises(NotFiniteError, match="tiny gives log-probabilities that are not finite"):
        clean_reading(reader)


def test_the_passes_of_a_batch_follow_one_another() -> None:
    levels = [one.plan.level for one in clean_reading(architecture("llama")).passes]
    assert [len(level.ids) for level in levels] == [1, 3, 5]
    assert all(len(after.parent) >= len(before.parent) for before, after in pairwise(levels))
