"""Hooks: they give exactly what the model computes, at the kept positions only, and leave nothing behind."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import loaded
from tiny import TinyModels

from extract.hooks import Batch, NotFiniteError, Splice, make_batch, padded_length, plan_batches, read_batch
from extract.models import LoadedPair, Reader
from extract.prefix import MIN_SHARED, shared_length
from fi_store.errors import ExtractionError

SITES = ("resid_post", "attn_out", "mlp_out")
OPENING = list(range(100, 112))
IDS = [[*OPENING, *range(20, 20 + count)] for count in (5, 9, 2)]
KEPT = [[13, 15, 16], [12, 20], [13]]


@pytest.fixture(scope="module")
def pair(tiny_models: TinyModels) -> LoadedPair:
    return loaded(tiny_models.llama, tiny_models.adapter)


def batch(*, share: bool) -> Batch:
    made = make_batch(IDS, KEPT, "cpu")
    assert made.n_shared == len(OPENING)
    return made if share else replace(made, n_shared=0)


def reference(reader: Reader, ids: list[int]) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Hidden states and logits of one text alone, unpadded, as transformers itself returns them."""
    with torch.inference_mode(), reader.active() as model:
        output = model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
        return output.hidden_states, output.logits


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("side", ["base", "target"])
def test_readings_are_what_the_model_computes(pair: LoadedPair, side: str, share: bool) -> None:
    reader: Reader = getattr(pair, side)
    found = read_batch(reader, batch(share=share), SITES, logits=True)
    assert found.logits is not None
    rows = [(number, at) for number, positions in enumerate(KEPT) for at in positions]
    for row, (number, at) in enumerate(rows):
        hidden, logits = reference(reader, IDS[number])
        torch.testing.assert_close(
            found.activations["resid_post", 0][row], hidden[1][0, at], rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(found.logits[row], logits[0, at], rtol=1e-4, atol=1e-3)
        # What attention and MLP add is what the layer adds.
        added = found.activations["attn_out", 0][row] + found.activations["mlp_out", 0][row]
        torch.testing.assert_close(hidden[0][0, at] + added, hidden[1][0, at], rtol=1e-4, atol=1e-4)
        # transformers' last hidden state is after the final norm.
        last = reader.final_norm(found.activations["resid_post", reader.n_layers - 1][row])
        torch.testing.assert_close(last, hidden[-1][0, at], rtol=1e-4, atol=1e-4)


def test_without_logits_the_activations_are_the_same(pair: LoadedPair) -> None:
    with_head = read_batch(pair.base, batch(share=True), ("resid_post",), logits=True)
    without = read_batch(pair.base, batch(share=True), ("resid_post",), logits=False)
    assert without.logits is None
    assert with_head.activations.keys() == {("resid_post", 0), ("resid_post", 1)}
    for key, rows in with_head.activations.items():
        assert torch.equal(rows, without.activations[key])


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("site", SITES)
def test_a_splice_stands_at_its_site_and_place(pair: LoadedPair, site: str, share: bool) -> None:
    clean = read_batch(pair.target, batch(share=share), SITES, logits=True)
    own = clean.activations[site, 1]
    same = read_batch(pair.target, batch(share=share), SITES, logits=True, splice=Splice(site, 1, own))
    values = torch.randn(own.shape, generator=torch.Generator().manual_seed(0))
    other = read_batch(pair.target, batch(share=share), SITES, logits=True, splice=Splice(site, 1, values))
    assert clean.logits is not None
    assert same.logits is not None
    assert other.logits is not None
    torch.testing.assert_close(same.logits, clean.logits)
    assert torch.equal(other.activations[site, 1], values)
    for below in SITES:
        assert torch.equal(other.activations[below, 0], clean.activations[below, 0])
    assert (other.logits - clean.logits).abs().amax(dim=1).min() > 0.01  # every kept position heard of it
    if site == "mlp_out":  # the last thing that the layer adds
        moved = other.activations["resid_post", 1] - clean.activations["resid_post", 1]
        torch.testing.assert_close(moved, values - own, rtol=1e-4, atol=1e-5)


def test_no_hook_is_left_even_after_an_error(pair: LoadedPair) -> None:
    def hooks() -> int:
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in pair.base.model.modules()
        )

    before = hooks()
    read_batch(pair.base, batch(share=True), SITES, logits=True)
    rows = torch.zeros(6, pair.base.d_model)
    read_batch(pair.base, batch(share=True), (), logits=True, splice=Splice("mlp_out", 0, rows))
    assert hooks() == before
    outside = replace(batch(share=False), columns=torch.full((6,), 999))
    with pytest.raises(IndexError):
        read_batch(pair.base, outside, SITES, logits=True)
    assert hooks() == before


def test_values_that_are_not_finite_name_model_and_layer(tiny_models: TinyModels) -> None:
    pair = loaded(tiny_models.llama_other, tiny_models.llama_other)
    with torch.no_grad():
        pair.base.layers[1].mlp.down_proj.weight[0, 0] = float("nan")  # type: ignore[union-attr,operator,index]
    with pytest.raises(NotFiniteError, match=r"llama-other.*layer 1, resid_post"):
        read_batch(pair.base, batch(share=True), ("resid_post",), logits=False)


def test_a_layer_without_the_module_of_a_site_is_refused(pair: LoadedPair) -> None:
    reader = copy.copy(pair.base)
    reader._layers = [torch.nn.Identity()]
    with pytest.raises(ExtractionError, match="no module for mlp_out"):
        read_batch(reader, batch(share=False), ("mlp_out",), logits=False)


def test_a_kept_position_is_never_shared() -> None:
    made = make_batch(IDS, [[10], [12], [12]], "cpu")
    assert made.n_shared == 10
    assert make_batch(IDS, [[3], [12], [12]], "cpu").n_shared == 0  # too few to be worth a pass


@given(st.lists(st.lists(st.integers(0, 1), min_size=12, max_size=20), min_size=2, max_size=6))
def test_shared_tokens_are_shared_by_all(texts: list[list[int]]) -> None:
    length = shared_length(texts, 11)
    assert all(text[:length] == texts[0][:length] for text in texts)
    longer = next((n for n in range(11, 0, -1) if all(text[:n] == texts[0][:n] for text in texts)), 0)
    assert length == (longer if longer >= MIN_SHARED else 0)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(64, 2048))
def test_batches_hold_every_sequence_once_within_the_budget(lengths: list[int], tokens: int) -> None:
    groups = plan_batches(lengths, tokens)
    assert sorted(item for group in groups for item in group) == list(range(len(lengths)))
    for group in groups:
        width = padded_length(max(lengths[item] for item in group))
        assert len(group) == 1 or len(group) * width <= tokens
