"""What a model cannot read is refused before any pass, with the prompt's name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import FalconConfig, GPT2Config, LlamaConfig, MptConfig

from extract import pipeline
from extract.job import prepare
from extract.limits import answer_growth, check_limits, max_positions
from fi_store.errors import ExtractionError
from fi_store.progress import Progress
from fi_store.prompts import PromptSuite
from tests.helpers.small_runs import loaded, small_config, small_suite
from tests.helpers.tiny import TinyModels


def suite_with(text: str, control: str | None = None) -> PromptSuite:
    suite = small_suite(8)
    changed = replace(suite.prompts[3], text=text, control=control)
    return replace(suite, prompts=(*suite.prompts[:3], changed, *suite.prompts[4:]))


def test_a_prompt_longer_than_the_positions_is_refused_in_a_dry_run(tiny_models: TinyModels) -> None:
    config = small_config(tiny_models.llama, tiny_models.llama_other)
    with pytest.raises(
        ExtractionError, match=r"The prompt p3 has 7\d\d tokens .* only 512 positions"
    ) as refused:
        pipeline.estimate(config, suite_with("count 1 2 3 " * 100), progress=Progress())
    assert refused.value.hint == "shorten the prompt"
    control = suite_with("How many?", control="count 1 2 3 " * 100)
    with pytest.raises(ExtractionError, match=r"The control of p3 has 7\d\d tokens, and"):
        pipeline.estimate(config, control, progress=Progress())


def test_an_answer_that_may_pass_the_last_position_is_refused_with_what_fits(tiny_models: TinyModels) -> None:
    pair = loaded(tiny_models.llama, tiny_models.llama_other)
    config = small_config(tiny_models.llama, tiny_models.llama_other, max_new_tokens=500)
    with pytest.raises(ExtractionError, match="its answers up to 500") as refused:
        prepare(pair, config, small_suite(8))
    job = prepare(pair, small_config(tiny_models.llama, tiny_models.llama_other), small_suite(8))
    longest = max(len(text.ids["base"]) for text in job.texts)
    first = next(len(text.ids["base"]) for text in job.texts)
    assert refused.value.hint == f"--max-new-tokens {512 - first}, or a shorter prompt"
    check_limits(pair, job.texts, 512 - longest)
    with pytest.raises(ExtractionError, match="positions"):
        check_limits(pair, job.texts, 513 - longest)


def test_a_token_without_an_embedding_is_named_with_its_prompt(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_models.llama, tmp_path / "extended")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 387, "content": "<|tool|>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    pair = loaded(tiny_models.llama, folder)
    config = small_config(tiny_models.llama, folder)
    prepare(pair, config, small_suite(8))  # a token that no text holds does no harm
    texts = prepare(pair, config, small_suite(8)).texts
    texts[2].ids["target"][-1] = 387
    with pytest.raises(
        ExtractionError, match=r"holds the token '<\|tool\|>' \(387\), for which .*: it has 387 rows"
    ):
        check_limits(pair, texts, 6)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GPT2Config(n_positions=64), 64),
        (LlamaConfig(max_position_embeddings=512), 512),
        (
            LlamaConfig(
                max_position_embeddings=512,
                rope_parameters={
                    "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                    "original_max_position_embeddings": 512,
                },
            ),
            2048,
        ),
        (FalconConfig(alibi=True), None),
        (MptConfig(), None),
    ],
)  # fmt: skip
def test_positions_come_from_the_configuration(config: Any, expected: int | None) -> None:
    assert max_positions(config) == expected


def test_answers_are_expected_to_grow_as_prompts_do() -> None:
    texts: Any = [
        SimpleNamespace(ids={"base": [0] * 10, "target": [0] * 15}),
        SimpleNamespace(ids={"base": [0] * 10, "target": [0] * 15}),
    ]
    assert (answer_growth(texts, "base"), answer_growth(texts, "target")) == (1.0, 1.5)
