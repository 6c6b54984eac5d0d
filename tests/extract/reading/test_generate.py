"""Answers are greedy, equal to decoding token by token, ended by an end mark, and ignore a model's own settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from extract.models import LoadedPair, Reader
from extract.reading import generate_answers
from extract.reading.generate import end_ids
from tests.helpers.small_runs import loaded
from tests.helpers.tiny import TinyModels

OPENING = list(range(100, 112))
PROMPTS = [[*OPENING, *range(30, 30 + count)] for count in (3, 8, 5)]


@pytest.fixture(scope="module")
def pair(tiny_models: TinyModels) -> LoadedPair:
    return loaded(tiny_models.llama, tiny_models.adapter)


def token_by_token(reader: Reader, prompt: list[int], count: int) -> list[int]:
    """The slow reference: appends the most likely token until there is an end mark."""
    ids = list(prompt)
    with torch.inference_mode(), reader.active() as model:
        for _ in range(count):
            best = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if best in end_ids(reader):
                break
            ids.append(best)
    return ids[len(prompt) :]


@pytest.mark.parametrize("side", ["base", "target"])
@pytest.mark.parametrize(
    "prompts", [PROMPTS, [prompt[12:] for prompt in PROMPTS]], ids=["shared", "unshared"]
)
def test_answers_are_greedy(pair: LoadedPair, side: str, prompts: list[list[int]]) -> None:
    reader: Reader = getattr(pair, side)
    for prompt, answer in zip(prompts, generate_answers(reader, prompts, 6, "cpu"), strict=True):
        expected = token_by_token(reader, prompt, 6)
        assert answer.n_tokens == len(expected)
        text = reader.tokenizer.decode(expected, skip_special_tokens=True)
        assert answer.text == (text if answer.finished else text.rstrip("\ufffd"))


def test_answers_of_a_model_with_a_sliding_window_are_greedy(tiny_models: TinyModels) -> None:
    """Such a model cannot share an opening: padding after it would push it out of the window."""
    reader = loaded(tiny_models.llama_other, tiny_models.llama_other).base
    reader.plain.config.layer_types = ["sliding_attention"] * reader.n_layers
    reader.plain.config.sliding_window = 40
    prompts = [PROMPTS[0], [*OPENING, *range(30, 90)]]
    expected = token_by_token(reader, prompts[0], 6)
    answer, _ = generate_answers(reader, prompts, 6, "cpu")
    assert answer.n_tokens == len(expected)
    text = reader.tokenizer.decode(expected, skip_special_tokens=True)
    assert answer.text == (text if answer.finished else text.rstrip("\ufffd"))


def test_the_adapter_affects_only_the_target(pair: LoadedPair) -> None:
    assert generate_answers(pair.base, PROMPTS, 8, "cpu") != generate_answers(pair.target, PROMPTS, 8, "cpu")


def test_an_end_mark_ends_the_answer_and_is_not_part_of_it(pair: LoadedPair) -> None:
    reader = pair.base
    settings = reader.plain.generation_config
    before = settings.eos_token_id
    try:
        settings.eos_token_id = []
        tokens = token_by_token(reader, PROMPTS[0], 6)
        for stop in (0, next(at for at in range(1, 6) if tokens[at] not in tokens[:at])):
            settings.eos_token_id = [387, tokens[stop]]
            (answer,) = generate_answers(reader, PROMPTS[:1], 6, "cpu")
            assert (answer.n_tokens, answer.finished) == (stop, True)
            assert answer.text == reader.tokenizer.decode(tokens[:stop], skip_special_tokens=True)
    finally:
        settings.eos_token_id = before


OWN_SETTINGS: dict[str, object] = {
    "use_cache": False,
    "do_sample": True,
    "temperature": 5.0,
    "top_k": 3,
    "repetition_penalty": 9.0,
    "no_repeat_ngram_size": 1,
    "guidance_scale": 3.0,
    "max_time": 0.0,
    "stop_strings": ["e", " "],
    "cache_implementation": "static",
}


@pytest.mark.parametrize("sliding", [False, True], ids=["plain", "sliding"])
def test_a_models_own_settings_are_ignored(tiny_models: TinyModels, tmp_path: Path, sliding: bool) -> None:
    """They stand in the model's folder, together with words that it suppresses: those that it would write."""
    shutil.copytree(tiny_models.llama, tmp_path / "own")
    reader = loaded(tiny_models.llama, tiny_models.llama).base
    windows = (
        {"layer_types": ["sliding_attention"] * reader.n_layers, "sliding_window": 40} if sliding else {}
    )
    reader.plain.config.update(windows)
    plain = generate_answers(reader, PROMPTS, 6, "cpu")
    written = token_by_token(reader, PROMPTS[0], 1)
    own = {**OWN_SETTINGS, "suppress_tokens": written, "bad_words_ids": [written]}
    path = tmp_path / "own" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **own}), encoding="utf-8")
    reader = loaded(tmp_path / "own", tmp_path / "own").base
    reader.plain.config.update(windows)
    assert reader.plain.generation_config.use_cache is False
    assert generate_answers(reader, PROMPTS, 6, "cpu") == plain


def test_answers_do_not_depend_on_which_others_leave_the_batch(pair: LoadedPair) -> None:
    reader = pair.base
    settings = reader.plain.generation_config
    before = settings.eos_token_id
    prompts = [[*OPENING, *range(first, first + 5)] for first in range(20, 60, 5)]
    try:
        settings.eos_token_id = []
        stops = [token_by_token(reader, prompt, at + 2)[at] for at, prompt in enumerate(prompts[:4])]
        settings.eos_token_id = stops
        answers = generate_answers(reader, prompts, 8, "cpu")
        assert len({answer.n_tokens for answer in answers}) > 2
        for prompt, answer in zip(prompts, answers, strict=True):
            assert generate_answers(reader, [prompt], 8, "cpu") == [answer]
            assert answer.n_tokens == len(token_by_token(reader, prompt, 8))
    finally:
        settings.eos_token_id = before


def test_no_prompts_no_answers(pair: LoadedPair) -> None:
    assert generate_answers(pair.base, [], 6, "cpu") == []
