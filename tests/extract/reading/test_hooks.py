"""Hooks capture exactly what the model computes, only at the kept positions, and are always removed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM

from extract.models import LoadedPair, Reader
from extract.reading import NotFiniteError, may_branch, padded_length, read_batch
from extract.reading.batch import Batch, plan_batches
from extract.reading.prefix import MIN_SHARED, shared_length
from fi_store.errors import ExtractionError
from tests.helpers.plain import Plain
from tests.helpers.small_runs import loaded
from tests.helpers.tiny import TinyModels

SITES = ("resid_post", "attn_out", "mlp_out")
OPENING = list(range(100, 112))
PROMPTS = [[*OPENING, *range(20, 20 + count)] for count in (5, 9, 3)]
# Two answers to the first prompt, the same answer twice to the second, none to the third.
IDS = [[*PROMPTS[0], 40, 41, 42], [*PROMPTS[0], 50], [*PROMPTS[1], 60, 61], [*PROMPTS[1], 60, 61], PROMPTS[2]]
KEPT = [[13, 16, 17, 19], [17], [12, 20, 21], [22], [13]]
STEMS = [17, 17, 21, 21, 15]
SHARING = {
    "alone": (False, False, False),
    "whole": (False, False, True),
    "opening": (True, False, True),
    "branches": (True, True, True),
}


@pytest.fixture(scope="module")
def pair(tiny_models: TinyModels) -> LoadedPair:
    return loaded(tiny_models.llama, tiny_models.adapter)


@pytest.fixture(params=SHARING)
def sharing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets texts share not even a pass, nothing else, the opening, or also prompts."""
    share, branch, together = SHARING[request.param]
    levels = Batch.levels
    monkeypatch.setattr(
        Batch, "levels", lambda batch, **_: levels(batch, share=share, branch=branch, together=together)
    )
    return str(request.param)


def batch() -> Batch:
    return Batch(IDS, KEPT, STEMS, "cpu")


def reference(reader: Reader, ids: list[int]) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Hidden states and logits of a single unpadded text, as transformers itself returns them."""
    with torch.inference_mode(), reader.active() as model:
        output = model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
        return output.hidden_states, output.logits


@pytest.mark.usefixtures("sharing")
@pytest.mark.parametrize("side", ["base", "target"])
def test_activations_and_logits_are_what_the_model_computes(pair: LoadedPair, side: str) -> None:
    reader: Reader = getattr(pair, side)
    found = read_batch(reader, batch(), SITES, logits=True)
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


def other_architecture(name: str) -> Plain:
    torch.manual_seed(0)
    common = {"vocab_size": 200, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 0}
    if name == "gpt2":  # as many positions as the longest text has tokens
        return Plain(GPT2LMHeadModel(GPT2Config(**common, n_layer=2, n_head=2, n_positions=48)).eval())
    local = {"attention_types": [[["global", "local"], 1]], "window_size": 24, "intermediate_size": 32}
    sizes = {"num_layers": 2, "num_heads": 2, "max_position_embeddings": 64}
    return Plain(GPTNeoForCausalLM(GPTNeoConfig(**common, **local, **sizes)).eval())


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo"])
def test_other_architectures_are_read_correctly(name: str) -> None:
    """GPT-2 has a limited table of positions, and GPT-Neo has windows that must not count padding."""
    reader = other_architecture(name)
    prompts = [[*OPENING, *range(20, 20 + count)] for count in (4, 34)]
    ids = [[*prompts[0], *range(60, 72)], [*prompts[0], 50], [*prompts[1], 61], [*prompts[1], 62, 63]]
    kept = [[13, 15, 16, 27], [16], [12, 45, 46], [46, 47]]
    found = read_batch(reader, Batch(ids, kept, [16, 16, 46, 46], "cpu"), ("resid_post",), logits=True)
    index = 0
    for text, positions in zip(ids, kept, strict=True):
        with torch.inference_mode():
            alone = reader.model(input_ids=torch.tensor([text]), output_hidden_states=True, use_cache=False)
        for at in positions:
            assert found.logits is not None
            torch.testing.assert_close(
                found.activations["resid_post", 0][index], alone.hidden_states[1][0, at], rtol=1e-4, atol=1e-4
            )
            torch.testing.assert_close(found.logits[index], alone.logits[0, at], rtol=1e-4, atol=1e-4)
            index += 1


def test_without_logits_the_activations_are_the_same(pair: LoadedPair) -> None:
    with_head = read_batch(pair.base, batch(), ("resid_post",), logits=True)
    without = read_batch(pair.base, batch(), ("resid_post",), logits=False)
    assert without.logits is None
    assert with_head.activations.keys() == {("resid_post", 0), ("resid_post", 1)}
    for key, rows in with_head.activations.items():
        assert torch.equal(rows, without.activations[key])


def test_hooks_are_removed_even_after_an_error(pair: LoadedPair) -> None:
    def count_hooks() -> int:
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in pair.base.model.modules()
        )

    before = count_hooks()
    read_batch(pair.base, batch(), SITES, logits=True)
    unknown = Batch([[10**6]], [[0]], [1], "cpu")
    with pytest.raises(IndexError):
        read_batch(pair.base, unknown, SITES, logits=True)
    assert count_hooks() == before


def test_activations_that_are_not_finite_are_refused(tiny_models: TinyModels) -> None:
    pair = loaded(tiny_models.llama_other, tiny_models.llama_other)
    with torch.no_grad():
        pair.base.layers[1].mlp.down_proj.weight[0, 0] = float("nan")  # type: ignore[union-attr,operator,index]
    with pytest.raises(NotFiniteError, match=r"llama-other.*layer 1, resid_post"):
        read_batch(pair.base, batch(), ("resid_post",), logits=False)


def test_layers_that_return_several_streams_are_refused_by_name(tiny_models: TinyModels) -> None:
    reader = loaded(tiny_models.llama, tiny_models.llama_other).base
    handle = reader.layers[1].register_forward_hook(lambda _m, _i, output: torch.stack([output] * 4))
    try:
        with pytest.raises(
            ExtractionError, match=r"Layer 1 of .* \(LlamaDecoderLayer\) returns \(4, .* for resid_post"
        ):
            read_batch(reader, batch(), ("resid_post",), logits=False)
    finally:
        handle.remove()


def test_shared_tokens_are_read_only_once() -> None:
    opening, prompts, answers = batch().levels(share=True, branch=True)
    assert opening.ids.tolist() == [OPENING]  # one row, not padded
    assert [len(level.indices) for level in (opening, prompts, answers)] == [0, 5, 5]
    assert prompts.ids.shape == (3, 16)
    assert answers.parent.tolist() == [0, 0, 1]
    assert answers.mask[2].tolist() == [*[1] * 21, *[0] * 7, 1, 1, *[0] * 6]
    assert answers.positions[2, :2].tolist() == [21, 22]  # as if there were no padding before
    single_answers = Batch([IDS[0], IDS[2], IDS[3]], [KEPT[0], KEPT[2], KEPT[3]], [17, 21, 21], "cpu")
    assert [len(level.ids) for level in single_answers.levels(share=True, branch=True)] == [1, 2]


def test_a_kept_position_is_never_in_the_opening() -> None:
    late = Batch(IDS[:3], [[10], [17], [22]], STEMS[:3], "cpu")
    assert late.levels(share=True, branch=False)[0].ids.shape == (1, 10)
    early = Batch(IDS[:3], [[3], [17], [22]], STEMS[:3], "cpu")  # too few shared tokens to be worth a pass
    assert len(early.levels(share=True, branch=False)) == 1


def test_a_kept_position_outside_its_text_is_refused() -> None:
    with pytest.raises(ValueError, match="outside its text"):
        Batch([[1, 2]], [[2]], [2], "cpu").levels(share=False, branch=False)


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 3), min_size=1, max_size=12),
            st.lists(st.lists(st.integers(1, 3), max_size=5), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
    st.booleans(),
    st.integers(1, 2**20 - 1),
)
# The same text with two different prompts.
@example(prompts=[([1], [[1, 2], [2], [3]]), ([1, 1], [[2]])], share=True, branch=True, chosen=2**20 - 1)
def test_the_passes_of_a_batch_contain_every_text(
    prompts: list[tuple[list[int], list[list[int]]]], share: bool, branch: bool, chosen: int
) -> None:
    """The bits of `chosen` select the kept positions."""
    texts = [(len(prompt), [*prompt, *answer]) for prompt, answers in prompts for answer in answers]
    kept = [[at for at in range(len(ids)) if chosen >> at & 1] for _, ids in texts]
    made = Batch([ids for _, ids in texts], kept, [n for n, _ in texts], "cpu")
    levels = made.levels(share=share, branch=branch)
    found: dict[int, list[int]] = {}
    for depth, level in enumerate(levels):
        for row, column, index in zip(
            level.rows.tolist(), level.columns.tolist(), level.indices.tolist(), strict=True
        ):
            backwards = level.ids[row, : column + 1].tolist()[::-1]
            positions = level.positions[row, : column + 1].tolist()[::-1]
            at = row
            for below in range(depth - 1, -1, -1):
                at = int(levels[below + 1].parent[at])
                before = 0 if below == 0 else levels[below - 1].mask.shape[1]
                mask = levels[below].mask[at, before:].bool()
                backwards += levels[below].ids[at][mask].tolist()[::-1]
                positions += levels[below].positions[at][mask].tolist()[::-1]
            assert positions[::-1] == list(range(len(positions)))
            assert index not in found
            found[index] = backwards[::-1]
    expected = [ids[: at + 1] for (_, ids), positions in zip(texts, kept, strict=True) for at in positions]
    assert [found[index] for index in range(made.n_kept)] == expected
    for level in levels:
        assert (level.indices[1:] > level.indices[:-1]).all()
        assert int(level.positions.max()) < max(len(ids) for _, ids in texts)


def test_a_model_without_a_plain_cache_reads_every_text_whole(tiny_models: TinyModels) -> None:
    reader = loaded(tiny_models.llama_other, tiny_models.llama_other).base
    reader.plain.config.layer_types = ["sliding_attention"] * reader.n_layers
    reader.plain.config.sliding_window = 512
    assert may_branch(reader)
    found = read_batch(reader, batch(), ("resid_post",), logits=False)
    assert not may_branch(reader)
    for number, at in ((0, 19), (1, 17), (2, 20)):
        index = sum(map(len, KEPT[:number])) + KEPT[number].index(at)
        hidden, _ = reference(reader, IDS[number])
        torch.testing.assert_close(
            found.activations["resid_post", 0][index], hidden[1][0, at], rtol=1e-4, atol=1e-4
        )


@given(st.lists(st.lists(st.integers(0, 1), min_size=12, max_size=20), min_size=2, max_size=6))
def test_shared_tokens_are_shared_by_all(texts: list[list[int]]) -> None:
    length = shared_length(texts, 11)
    assert all(text[:length] == texts[0][:length] for text in texts)
    longer = next((n for n in range(11, 0, -1) if all(text[:n] == texts[0][:n] for text in texts)), 0)
    assert length == (longer if longer >= MIN_SHARED else 0)


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 3)), min_size=1, max_size=80),
    st.integers(64, 2048),
)
def test_batches_contain_every_prompt_once_within_the_budget(
    prompts: list[tuple[int, int]], tokens: int
) -> None:
    lengths, texts = [length for length, _ in prompts], [count for _, count in prompts]
    groups = plan_batches(lengths, texts, tokens)
    assert sorted(item for group in groups for item in group) == list(range(len(lengths)))
    for group in groups:
        width = padded_length(max(lengths[item] for item in group))
        assert len(group) == 1 or sum(texts[item] for item in group) * width <= tokens
