"""A whole extraction: what the store contains afterwards, that it agrees with the shards, and that nothing depends on
which model is the base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from extract import answers, chunks
from extract import job as opening
from extract.limits import check_shared_ids
from extract.pipeline import ingest
from extract.texts import Answer
from fi_store.errors import ExtractionError, UsageError
from fi_store.progress import Progress
from fi_store.prompts import PromptRecord, PromptSuite
from fi_store.store import Store
from tests.helpers.small_runs import ingested, loaded, small_config, small_suite
from tests.helpers.tiny import TinyModels

Ingested = tuple[Store, str]


@pytest.fixture(scope="module", autouse=True)
def small_chunks() -> Iterator[None]:
    """Several chunks from a handful of prompts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "CHUNK_PROMPTS", 4)
        yield


@pytest.fixture(scope="module")
def adapter_run(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingested]:
    config = small_config(tiny_models.llama, tiny_models.adapter, sites=("resid_post", "mlp_out"))
    store, run_id = ingested(tmp_path_factory.mktemp("adapter"), config)
    yield store, run_id
    store.close()


def rows_of(store: Store, run_id: str, reader: str, layer: int, site: str = "resid_post") -> torch.Tensor:
    listed = store.rows(
        "SELECT * FROM activation_shard WHERE run_id = $run AND kind = 'activation' AND reader = $reader "
        "AND site = $site AND layer = $layer ORDER BY chunk",
        run=run_id, reader=reader, layer=layer, site=site,
    )  # fmt: skip
    first_row = 0
    for shard in listed:
        assert shard["first_row"] == first_row
        first_row += shard["n_rows"]
    return torch.cat([load_file(store.folder / shard["path"])["activations"] for shard in listed])


def test_the_run_records_what_was_done(adapter_run: Ingested) -> None:
    store, run_id = adapter_run
    run = store.run(run_id)
    assert (run.state, run.extraction_run_id, run.dtype, run.device) == (
        "extracted",
        run_id,
        "float32",
        "cpu",
    )
    assert run.chat_template == "target"  # both models have the same template
    assert torch.__version__.startswith(run.versions["torch"])
    ids = sorted([run.base_model_id, run.target_model_id])
    assert run.canonical_first == ("base" if run.base_model_id == ids[0] else "target")
    kinds = {row["kind"] for row in store.rows("SELECT kind FROM run_event WHERE run_id = $run", run=run_id)}
    assert {"state", "choice", "estimate", "timing"} <= kinds
    known = {row["id"] for row in store.rows("SELECT id FROM model")}
    assert known == {run.base_model_id, run.target_model_id}


def test_every_row_of_every_reader_is_listed_once(adapter_run: Ingested) -> None:
    store, run_id = adapter_run
    count = len(store.rows("SELECT row FROM token_divergence"))
    numbers = [row["row"] for row in store.rows("SELECT row FROM token_divergence ORDER BY row")]
    assert numbers == list(range(count))
    assert store.rows("SELECT sum(n_kept) AS n FROM sequence")[0]["n"] == count
    assert store.rows("SELECT DISTINCT reader FROM activation_shard ORDER BY ALL") == [
        {"reader": "base"},
        {"reader": "target"},
    ]
    for reader in ("base", "target"):
        for site in ("resid_post", "mlp_out"):
            for layer in range(2):
                assert rows_of(store, run_id, reader, layer, site).shape == (count, 32)
    suite = small_suite()
    assert len(store.rows("SELECT * FROM generation")) == 2 * len(suite.prompts)
    controls = sum(prompt.control is not None for prompt in suite.prompts)
    assert len(store.rows("SELECT * FROM sequence")) == 2 * len(suite.prompts) + controls


def test_prompt_and_start_are_kept_once_per_prompt(adapter_run: Ingested) -> None:
    store, run_id = adapter_run
    first = store.run(run_id).canonical_first
    found = store.rows(
        "SELECT author, position_class, count(DISTINCT prompt_id) AS n FROM token_divergence GROUP BY ALL"
    )
    classes = {(row["author"], row["position_class"]) for row in found}
    other = "target" if first == "base" else "base"
    assert classes <= {(first, "prompt"), (first, "start"), (first, "response"), (other, "response"),
                       ("control", "prompt"), ("control", "start")}  # fmt: skip
    starts = {row["author"]: row["n"] for row in found if row["position_class"] == "start"}
    assert starts == {first: 6, "control": 4}


def test_token_texts_spell_prompts_and_answers(adapter_run: Ingested) -> None:
    store, _ = adapter_run
    spelled = store.rows(
        "SELECT d.prompt_id, d.author, d.position_class, string_agg(t.text, '' ORDER BY d.row) AS text "
        "FROM token_divergence d JOIN run_token t USING (run_id, token_id) GROUP BY ALL"
    )
    texts = {(row["prompt_id"], row["author"], row["position_class"]): row["text"] for row in spelled}
    first = store.run().canonical_first
    for prompt in small_suite().prompts:
        assert texts[prompt.id, first, "prompt"] == prompt.text
        if prompt.control:
            assert texts[prompt.id, "control", "prompt"] == prompt.control
    for row in store.rows("SELECT prompt_id, author, text FROM generation"):
        if row["text"].isascii():
            assert texts.get((row["prompt_id"], row["author"], "response"), "") == row["text"]


def test_summaries_are_means_of_the_shards(adapter_run: Ingested) -> None:
    store, run_id = adapter_run
    base, target = (rows_of(store, run_id, reader, 1) for reader in ("base", "target"))
    for summary in store.rows("SELECT * FROM activation_summary WHERE layer = 1 AND site = 'resid_post'"):
        at = [
            row["row"]
            for row in store.rows(
                "SELECT row FROM token_divergence WHERE sequence_id = $id AND position_class = $name",
                id=summary["sequence_id"], name=summary["position_class"],
            )
        ]  # fmt: skip
        b, t = base[at], target[at]
        assert summary["n_tokens"] == len(at)
        assert summary["norm_base"] == pytest.approx(float(b.norm(dim=1).mean()), rel=1e-5)
        assert summary["relative_difference"] == pytest.approx(
            float((t - b).norm(dim=1).mean() / b.norm(dim=1).mean()), rel=1e-4
        )
        assert summary["cosine"] == pytest.approx(
            float(torch.nn.functional.cosine_similarity(b, t, dim=1).mean()), rel=1e-4
        )
        if summary["author"] == "control":
            assert summary["mean_base"] == summary["mean_target"] == []
        else:
            np.testing.assert_allclose(summary["mean_base"], b.mean(0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(summary["mean_target"], t.mean(0), rtol=1e-4, atol=1e-5)


SWAPPED = {"base": "target", "target": "base", "control": "control"}


@pytest.mark.parametrize(
    "names",
    [("llama", "adapter"), ("llama", "llama_other"), ("qwen2_base", "qwen2_target")],
    ids=lambda n: n[1],
)
def test_swapping_the_models_swaps_every_fact(
    tiny_models: TinyModels, tmp_path: Path, names: tuple[str, str]
) -> None:
    left, right = (getattr(tiny_models, name) for name in names)
    there, run_there = ingested(tmp_path / "there", small_config(left, right))
    back, run_back = ingested(tmp_path / "back", small_config(right, left))
    with there, back:
        assert there.run().canonical_first == SWAPPED[back.run().canonical_first]
        ours = there.rows("SELECT * FROM token_divergence ORDER BY row")
        theirs = back.rows("SELECT * FROM token_divergence ORDER BY row")
        shared = [("prompt_id", "prompt_id"), ("position_class", "position_class"), ("agree", "agree"),
                  ("kl_target_base", "kl_base_target"), ("logprob_base", "logprob_target"),
                  ("promoted_kl", "suppressed_kl")]  # fmt: skip
        for mine, its in zip(ours, theirs, strict=True):
            assert mine["author"] == SWAPPED[its["author"]]
            assert all(mine[column] == its[mirrored] for column, mirrored in shared)
        for layer in range(2):
            for reader in ("base", "target"):
                assert torch.equal(
                    rows_of(there, run_there, reader, layer), rows_of(back, run_back, SWAPPED[reader], layer)
                )
        units = "SELECT prompt_id, unit, cluster, half FROM run_unit ORDER BY unit"
        assert there.rows(units) == back.rows(units)


def test_a_model_against_itself_does_not_differ(tiny_models: TinyModels, tmp_path: Path) -> None:
    store, run_id = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.llama))
    with store:
        (found,) = store.rows(
            "SELECT max(kl_target_base) AS kl, bool_and(agree) AS agree FROM token_divergence"
        )
        assert found == {"kl": 0.0, "agree": True}
        assert store.rows("SELECT max(relative_difference) AS r FROM activation_summary") == [{"r": 0.0}]
        assert torch.equal(rows_of(store, run_id, "base", 1), rows_of(store, run_id, "target", 1))
        assert store.rows("SELECT message FROM run_event WHERE kind = 'warning'") == []


def test_probability_that_only_one_model_can_give_is_kept_and_told(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    store, _ = ingested(tmp_path, small_config(tiny_models.qwen2_base, tiny_models.qwen2_target))
    with store:
        (found,) = store.rows(
            "SELECT avg(rest_base) AS base, min(rest_target) AS least FROM token_divergence"
        )
        assert 0 < found["base"] < 0.5
        assert found["least"] > 0
        warnings = store.rows(
            "SELECT message FROM run_event WHERE kind = 'warning' AND message LIKE 'On average%'"
        )
    assert f"the base puts {found['base']:.1%} of its probability" in str(warnings[0]["message"])


def test_a_changed_configuration_is_another_model_when_a_run_goes_on(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    target = shutil.copytree(tiny_models.llama_other, tmp_path / "target")
    config = small_config(tiny_models.llama, target)
    store, run_id = ingested(tmp_path, config)
    with store:
        store.set_state(run_id, "interrupted", "extract")
        settings = json.loads((target / "config.json").read_text(encoding="utf-8"))
        (target / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 0.5}), encoding="utf-8")
        with pytest.raises(UsageError, match=r"The configuration of .*target is not what it was"):
            ingest(store, config, small_suite(), progress=Progress(), resume=run_id)


def test_special_tokens_in_a_system_prompt_are_told(tiny_models: TinyModels) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter, system_prompt="Never write <|im_end|>.")
    job = opening.prepare(loaded(tiny_models.llama, tiny_models.adapter), config, small_suite())
    assert "In the system prompt, <|im_end|> acts as a special token." in job.warnings


def test_a_token_that_only_one_model_has_a_row_for_is_refused(tiny_models: TinyModels) -> None:
    pair = loaded(tiny_models.llama, tiny_models.llama_other)
    pair.base.plain.resize_token_embeddings(len(pair.base.tokenizer) - 5)
    with pytest.raises(ExtractionError, match=r"has \d+ embeddings, and the other model can write '"):
        check_shared_ids(pair)


def test_models_with_different_widths_have_no_cosine(tiny_models: TinyModels, tmp_path: Path) -> None:
    store, run_id = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.llama_wide))
    with store:
        (found,) = store.rows(
            "SELECT count(cosine) AS c, count(relative_difference) AS r, max(layer) AS l FROM activation_summary"
        )
        assert found == {"c": 0, "r": 0, "l": 2}
        assert rows_of(store, run_id, "base", 1).shape[1] == 32
        assert rows_of(store, run_id, "target", 1).shape[1] == 48
        # The last of two layers is at the depth of the second and third of three.
        assert torch.equal(rows_of(store, run_id, "base", 1), rows_of(store, run_id, "base", 2))
        assert not torch.equal(rows_of(store, run_id, "target", 1), rows_of(store, run_id, "target", 2))
        warnings = store.rows(
            "SELECT message FROM run_event WHERE kind = 'warning' AND message LIKE '%layers%'"
        )
        assert "2 and 3 layers" in str(warnings[0]["message"])
        assert store.run().state == "extracted"


def test_empty_answers_are_stored_as_answers(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        answers, "generate_answers", lambda _reader, prompts, *_: [Answer("", 0, True) for _ in prompts]
    )
    store, _ = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.adapter))
    with store:
        found = store.rows("SELECT DISTINCT position_class AS name FROM token_divergence ORDER BY name")
        assert [row["name"] for row in found] == ["prompt", "start"]
        assert store.rows("SELECT count(*) AS n FROM generation WHERE text = '' AND finished") == [{"n": 12}]


def test_one_prompt_is_enough(tiny_models: TinyModels, tmp_path: Path) -> None:
    suite = PromptSuite("one", "1", (PromptRecord("only", "sums", "Why?", family="f"),))
    store, run_id = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.adapter), suite)
    with store:
        assert store.run(run_id).state == "extracted"
        assert store.rows("SELECT count(*) AS n FROM generation") == [{"n": 2}]


def test_unusable_suites_are_refused_before_a_run_is_written(tiny_models: TinyModels, tmp_path: Path) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter)
    double = PromptRecord("p", "sums", "Why?", family="f")
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        for prompts, message in (((), "no prompt"), ((double, double), "are the same")):
            with pytest.raises(UsageError, match=message):
                ingest(store, config, PromptSuite("s", "1", prompts), progress=Progress())
        assert store.rows("SELECT * FROM run") == []


def test_an_error_leaves_the_committed_chunks_and_a_failed_run(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = chunks.write_shards

    def full(folder: Path, run_id: str, reader: str, chunk: int, *rest: object) -> object:
        if chunk == 1:
            raise ExtractionError("The disk is full.")
        return real(folder, run_id, reader, chunk, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(chunks, "write_shards", full)
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        with pytest.raises(ExtractionError, match="full"):
            ingest(
                store,
                small_config(tiny_models.llama, tiny_models.adapter),
                small_suite(),
                progress=Progress(),
            )
        assert store.run().state == "failed"
        assert store.rows("SELECT DISTINCT chunk FROM token_divergence") == [{"chunk": 0}]


def test_an_interrupted_run_has_its_own_state(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(chunks, "read_sequences", stop)
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        with pytest.raises(KeyboardInterrupt):
            ingest(
                store,
                small_config(tiny_models.llama, tiny_models.adapter),
                small_suite(),
                progress=Progress(),
            )
        assert store.run().state == "interrupted"
