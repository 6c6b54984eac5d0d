"""A model that has already answered the same prompts in the same way does not answer them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from extract import answers
from extract.pipeline import ingest
from fi_store.config import RunConfig
from fi_store.progress import Progress
from fi_store.prompts import PromptSuite
from fi_store.store import Store, run_query
from tests.helpers.small_runs import ingested, small_config, small_suite
from tests.helpers.tiny import TinyModels

Generated = dict[tuple[str, str], tuple[str, int, bool]]


@pytest.fixture(scope="module")
def first(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    config = small_config(tiny_models.llama, tiny_models.planted)
    store, run_id = ingested(tmp_path_factory.mktemp("answers"), config)
    yield store, run_id
    store.close()


@pytest.fixture
def generating(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reference of the model in each call that generates answers."""
    references: list[str] = []
    real = answers.generate_answers

    def generate(reader: Any, prompts: Sequence[Sequence[int]], length: int, device: Any) -> Any:
        references.append(reader.reference.text)
        return real(reader, prompts, length, device)

    monkeypatch.setattr(answers, "generate_answers", generate)
    return references


def again(store: Store, config: RunConfig, suite: PromptSuite | None = None) -> str:
    return ingest(store, config, suite or small_suite(), progress=Progress())


def generated(store: Store, run_id: str) -> Generated:
    rows = store.rows("SELECT * FROM generation WHERE run_id = $run", run=run_id)
    return {
        (row["prompt_id"], row["author"]): (row["text"], row["n_tokens"], row["finished"]) for row in rows
    }


def test_the_base_of_several_targets_answers_only_once(
    first: tuple[Store, str], generating: list[str], tiny_models: TinyModels, tmp_path: Path
) -> None:
    store, run_id = first
    config = small_config(tiny_models.llama, tiny_models.adapter)
    second = again(store, config)
    assert set(generating) == {str(tiny_models.adapter)}
    fresh, alone = ingested(tmp_path, config)
    try:
        assert generated(store, second) == generated(fresh, alone)
        numbers = (
            "SELECT row, logprob_base, logprob_target FROM token_divergence WHERE run_id = $run ORDER BY row"
        )
        assert store.rows(numbers, run=second) == fresh.rows(numbers, run=alone)
    finally:
        fresh.close()
    messages = [
        row["message"] for row in run_query(store, "run_warnings", run=second, choices=True).to_pylist()
    ]
    assert any(f"The base's answers come from run {run_id}." in message for message in messages)
    assert not any("The target's answers" in message for message in messages)


def test_the_swapped_pair_reuses_both_models_answers(
    first: tuple[Store, str], generating: list[str], tiny_models: TinyModels
) -> None:
    store, run_id = first
    swapped = again(store, small_config(tiny_models.planted, tiny_models.llama))
    assert generating == []
    other = {"base": "target", "target": "base"}
    before = generated(store, run_id)
    assert generated(store, swapped) == {
        (prompt, other[author]): answer for (prompt, author), answer in before.items()
    }


@pytest.mark.parametrize(
    "changed", ["length", "precision", "prompts", "versions", "threads", "configuration", "foreign code"]
)
def test_different_conditions_generate_again(
    changed: str,
    first: tuple[Store, str],
    generating: list[str],
    tiny_models: TinyModels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, _ = first
    options: dict[str, Any] = {"length": {"max_new_tokens": 5}, "precision": {"quantization": "bf16"}}.get(
        changed, {}
    )
    if changed == "foreign code":
        options = {"trust_remote_code": True}
    if changed == "configuration":  # the same weights end their answers elsewhere
        monkeypatch.setattr("extract.reading.generate.end_ids", lambda *_: [0])
    if changed == "threads":
        monkeypatch.setattr("torch.get_num_threads", lambda: 99)
    if changed == "versions":
        monkeypatch.setattr(answers, "recorded_versions", lambda: {"torch": "another"})
    config = small_config(tiny_models.llama, tiny_models.planted, **options)
    again(store, config, small_suite(7 if changed == "prompts" else 6))
    assert sorted(generating) == sorted([str(tiny_models.llama), str(tiny_models.planted)])


def test_answers_of_an_unfinished_extraction_are_not_reused(
    first: tuple[Store, str], generating: list[str], tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = first
    config = small_config(tiny_models.llama, tiny_models.planted, max_new_tokens=4)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("extract.pipeline.extract_chunk", stop)
        with pytest.raises(KeyboardInterrupt):
            again(store, config)
    generating.clear()
    again(store, config)
    assert len(generating) == 2
