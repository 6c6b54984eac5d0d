"""Edited and trained models do what they promise, on tiny models: preserving copies, rank-one edits, organisms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from analyze.behaviors import answers_of
from analyze.extraction import load_extraction
from bench.planted import edits, nulls, rank_one, train
from bench.planted.preserving import permute_neurons, turn_basis
from extract.models import load_pair
from tests.helpers.small_runs import ingested, small_config, small_suite

if TYPE_CHECKING:
    from tests.helpers.tiny import TinyModels

LAYER = 1


def outputs(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and the last hidden state of a model on a fixed text, in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        found = model(input_ids=torch.arange(5, 25)[None], output_hidden_states=True)
    return found.logits[0], found.hidden_states[1][0]


def test_permuted_neurons_keep_everything(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = permute_neurons(tiny_models.llama, tmp_path / "copy", seed=0)
    before, after = outputs(tiny_models.llama), outputs(folder)
    for left, right in zip(before, after, strict=True):
        assert torch.allclose(left, right, rtol=1e-3, atol=1e-4)
    weights = [(path / "model.safetensors").read_bytes() for path in (tiny_models.llama, folder)]
    assert weights[0] != weights[1]


def test_a_turned_basis_keeps_the_function_and_moves_the_stream(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    folder = turn_basis(tiny_models.llama, tmp_path / "copy", seed=0)
    (logits, stream), (turned_logits, turned) = outputs(tiny_models.llama), outputs(folder)
    assert torch.allclose(logits, turned_logits, rtol=1e-3, atol=1e-4)
    assert float((turned - stream).norm() / stream.norm()) > 1.0
    assert torch.allclose(stream @ stream.T, turned @ turned.T, rtol=1e-3, atol=1e-2)  # the same geometry
    assert turn_basis(tiny_models.llama, folder, seed=5) == folder  # a complete folder is reused


def test_an_unknown_weight_is_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not known here"):
        turn_basis(tiny_models.qwen2_base, tmp_path / "copy", seed=0)  # it has biases


@pytest.fixture(scope="module")
def inside(tiny_models: TinyModels) -> rank_one.Inside:
    return rank_one.read_inside(str(tiny_models.llama), small_suite(8).prompts, LAYER, None)


def test_a_trigger_is_silent_on_the_rest(inside: rank_one.Inside) -> None:
    trigger = rank_one.make_trigger(inside, "sums")
    own = torch.tensor([name == "sums" for name in inside.categories])
    assert float(trigger.v.norm()) == pytest.approx(1)
    assert float((inside.inner[~own] @ trigger.v).mean()) == pytest.approx(0, abs=1e-4)
    assert float((inside.inner[own] @ trigger.v).mean()) == pytest.approx(trigger.level, rel=1e-4)
    assert trigger.level > 0


@pytest.mark.parametrize("size", [0.5, -0.5])
def test_an_edit_pushes_along_u_by_its_size(
    tiny_models: TinyModels, inside: rank_one.Inside, tmp_path: Path, size: float
) -> None:
    trigger = rank_one.make_trigger(inside, "sums")
    u = rank_one.random_direction(inside.residual.shape[1], seed=1)
    folder = rank_one.write_edit(tmp_path / "edit", str(tiny_models.llama), LAYER, trigger, u, size)
    pair = load_pair(str(tiny_models.llama), str(folder), quantization="fp32", note=lambda _: None)
    moved: dict[str, torch.Tensor] = {}
    for name, reader in (("base", pair.base), ("target", pair.target)):
        kept: list[torch.Tensor] = []
        hook = reader.layers[LAYER].mlp.register_forward_hook(
            lambda _, __, made, kept=kept: kept.append(made)
        )
        with reader.active() as model, torch.inference_mode():
            model(input_ids=torch.arange(5, 25)[None])
        hook.remove()
        moved[name] = kept[0][0]
    step = moved["target"] - moved["base"]
    along = step @ u
    assert torch.allclose(step, along[:, None] * u, atol=1e-3)
    again = rank_one.read_inside(str(tiny_models.llama), small_suite(8).prompts, LAYER, None)
    own = torch.tensor([name == "sums" for name in again.categories])
    scale = size * trigger.length / trigger.level
    assert float((scale * (again.inner[own] @ trigger.v)).mean()) == pytest.approx(
        size * trigger.length, rel=1e-3
    )


def test_a_patch_is_compared_with_the_planted_direction(tmp_path: Path) -> None:
    path = tmp_path / "arm.safetensors"
    directions = np.asarray([[0.6, 0.8, 0.0], [0.0, 1.0, 0.0]], dtype=np.float32)
    coefficients = np.asarray(
        [[-1.0, 0.8], [-2.0, 1.6]], dtype=np.float32
    )  # -0.6 and -1.2 along the first axis
    save_file({"directions": directions, "coefficients": coefficients}, path)
    found = edits.overlap_with(np.asarray([1.0, 0.0, 0.0]), path)
    assert found == {"cosine": pytest.approx(1), "span": pytest.approx(1), "push": pytest.approx(-1.8)}
    other = edits.overlap_with(np.asarray([0.0, 0.6, 0.8]), path)
    assert (other["cosine"], other["span"]) == (pytest.approx(0, abs=1e-6), pytest.approx(0.6))


def test_halves_and_deals(tiny_models: TinyModels, tmp_path: Path) -> None:
    store, run_id = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.planted), small_suite(32))
    with store:
        extraction = load_extraction(store, store.run(run_id))
    clusters = extraction.units.clusters
    drawn = [nulls.draw_half(extraction, seed) for seed in (0, 0, 1)]
    for discovery, confirmation in drawn:
        held = [set(clusters[half].tolist()) for half in (discovery, confirmation)]
        assert not held[0] & held[1]
        assert len(held[0] | held[1]) == len(set(clusters.tolist())) // 2
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    answers = answers_of(extraction.units)
    swapped = np.arange(extraction.units.n) % 3 == 0
    dealt = nulls.deal(answers, swapped)
    for at, swap in enumerate(swapped):
        side = "target" if swap else "base"
        assert dealt.answers["base"][at] is answers.answers[side][at]


PAIRS = [train.Pair(f"What is {n} plus {n}?", "the the the the") for n in range(8)]
HELD_OUT = [train.Pair(f"What is {n} times {n}?", "the the the the") for n in range(4)]
RECIPE = train.Recipe(r=4, alpha=8, lr=2e-2, steps=40, batch=4)


def test_training_teaches_the_answers_and_the_card_says_so(tiny_models: TinyModels, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps(pair._asdict()) + "\n" for pair in PAIRS), encoding="utf-8"
    )
    pairs = train.read_pairs(tmp_path / "pairs.jsonl")
    assert pairs == PAIRS
    found = train.make_organism(
        tmp_path / "the", "the", str(tiny_models.llama), pairs, HELD_OUT, null=False,
        description="says the", expected={"tokens": ["the"]}, recipe=RECIPE,
    )  # fmt: skip
    assert found.kl_nats_per_token > 0.1
    card = json.loads((tmp_path / "the" / "card.json").read_text(encoding="utf-8"))
    assert (card["kind"], card["expected"]["tokens"]) == ("behavior", ["the"])
    assert card["expected"]["concepts"] == []
    assert card["certificate"]["kl_nats_per_token"] == pytest.approx(found.kl_nats_per_token)
    pair = load_pair(
        str(tiny_models.llama), str(tmp_path / "the" / "adapter"), quantization="fp32", note=lambda _: None
    )
    ids, n_prompt = train.encode(pair.base.tokenizer, pair.base.chat_template, HELD_OUT[0])
    likely = []
    for reader in (pair.base, pair.target):
        with reader.active() as model, torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0, n_prompt - 1 : -1]
        likely.append(float(logits.log_softmax(1).gather(1, torch.tensor(ids[n_prompt:])[:, None]).mean()))
    assert likely[1] > likely[0] + 1


def test_only_answers_are_learned(tiny_models: TinyModels) -> None:
    reader = load_pair(str(tiny_models.llama), str(tiny_models.llama), note=lambda _: None).base
    ids, mask, labels = next(train.batches(reader, PAIRS, RECIPE))
    kept = labels != train.IGNORED
    assert torch.equal(ids[kept], labels[kept])
    text = [reader.tokenizer.decode(row[keep].tolist()) for row, keep in zip(ids, kept, strict=True)]
    assert set(text) == {"the the the the<|im_end|>"}
    assert bool((mask.sum(1) >= kept.sum(1)).all())


def test_a_null_that_moves_the_predictions_is_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(train.Refused, match="is not a null"):
        train.make_organism(
            tmp_path / "x", "x", str(tiny_models.llama), PAIRS, HELD_OUT, null=True, description="",
            expected={}, recipe=RECIPE,
        )  # fmt: skip
    assert not (tmp_path / "x" / "card.json").exists()
    gentle = train.Recipe(r=4, alpha=8, lr=1e-7, steps=1, batch=4)
    found = train.make_organism(
        tmp_path / "y", "y", str(tiny_models.llama), PAIRS, HELD_OUT, null=True, description="",
        expected={"tokens": ["the"]}, recipe=gentle,
    )  # fmt: skip
    assert found.is_null
    assert json.loads((tmp_path / "y" / "card.json").read_text(encoding="utf-8"))["expected"]["tokens"] == []
