"""Whole analyses with every kind of dictionary, several seeds, two widths and a ready dictionary; and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from analyze.fit import as_dictionary, load_pretrained
from analyze.groups.recurrence import span_cosine
from fi_store import workflow
from fi_store.config import make_config
from fi_store.dictionaries import load_dictionary
from fi_store.errors import AnalysisError, ConfigError
from fi_store.progress import Progress
from fi_store.store import Store, run_query
from fi_store.vocabulary import POSITION_CLASSES
from tests.helpers.small_runs import SMALL, analyzed, ingested, ready_folder, small_config, small_suite
from tests.helpers.tiny import TinyModels


@pytest.fixture(scope="module")
def run(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    config = small_config(tiny_models.llama, tiny_models.planted)
    store, run_id = ingested(tmp_path_factory.mktemp("kinds"), config, small_suite(16))
    yield store, run_id
    store.close()


@pytest.mark.parametrize("kind", ["paired_sae", "crosscoder", "diff_sae", "pca", "mean_diff"])
def test_every_kind_runs_to_its_results(kind: str, run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id, dictionary=kind)
    (row,) = run_query(store, "dictionary_quality", run=run_id).to_pylist()
    assert row["kind"] == kind
    assert row["beyond_mean_shift"] == pytest.approx(1 - row["dark_matter"] - row["mean_shift"])
    if kind == "mean_diff":
        assert row["beyond_mean_shift"] == pytest.approx(0, abs=1e-5)
    assert (row["ev_target_c"] is None) == (kind in ("diff_sae", "pca", "mean_diff"))
    (path,) = store.rows("select path, n_latents from dictionary where run_id = $run", run=run_id)
    assert load_dictionary(store.folder / path["path"]).config.kind == kind
    features = store.rows("select count(*) as n from feature where run_id = $run", run=run_id)[0]["n"]
    assert features == path["n_latents"] == {"pca": 8, "mean_diff": len(POSITION_CLASSES)}.get(kind, 24)
    scaled = run_query(store, "latent_scaling", run=run_id).num_rows
    assert (scaled > 0) == (kind == "crosscoder")
    assert store.rows("select recurrence from feature_group where recurrence is not null") == []


def test_more_seeds_show_how_often_each_group_recurs(run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id, dictionary="crosscoder", dictionary_seeds=3)
    found = store.rows("select recurrence from feature_group where run_id = $run", run=run_id)
    assert found
    assert {row["recurrence"] for row in found} <= {0.0, 0.5, 1.0}
    assert store.rows("select distinct seed from dictionary where run_id = $run", run=run_id) == [{"seed": 0}]
    assert "recurrence" in run_query(store, "top_findings", run=run_id).column_names


def test_a_group_recurs_if_the_span_contains_its_direction() -> None:
    rows = torch.nn.functional.normalize(
        torch.randn(2, 16, generator=torch.Generator().manual_seed(0)), dim=1
    )
    inside = torch.nn.functional.normalize(rows[0] + rows[1], dim=0)
    assert span_cosine(inside, rows) == pytest.approx(1, abs=1e-6)
    assert span_cosine(torch.linalg.svd(rows)[2][5], rows) == pytest.approx(0, abs=1e-6)


def test_models_of_two_widths_are_analyzed_with_a_crosscoder(tiny_models: TinyModels, tmp_path: Path) -> None:
    config = small_config(tiny_models.llama, tiny_models.llama_wide, **SMALL)
    store, run_id = ingested(tmp_path, config, small_suite(16))
    with store:
        workflow.analyze(store, run_id, Progress())
        (row,) = store.rows("select * from dictionary where run_id = $run", run=run_id)
        assert row["kind"] == "crosscoder"
        assert row["dark_matter"] is None
        assert row["mean_shift"] is None
        assert row["ev_base_d"] is not None
        assert store.rows("select 1 from latent_scaling") == []
        warnings = run_query(store, "run_warnings", run=run_id).column("message").to_pylist()
        assert any("different widths" in text for text in warnings)


def test_a_ready_dictionary_replaces_the_learned_one_at_its_layer(
    run: tuple[Store, str], tmp_path: Path
) -> None:
    store, run_id = run
    folder = ready_folder(tmp_path / "ready", 32, site="resid_post", layer=1, model="somebody/else")
    analyzed(store, run_id, dictionary_file=str(folder), layers="0,1")
    rows = store.rows(
        "select kind, layer, n_latents, ev_base_c from dictionary where run_id = $run", run=run_id
    )
    assert {row["layer"]: row["kind"] for row in rows} == {0: "paired_sae", 1: "pretrained"}
    ready = next(row for row in rows if row["layer"] == 1)
    assert ready["n_latents"] == 64
    assert ready["ev_base_c"] == pytest.approx(1, abs=1e-4)
    warnings = run_query(store, "run_warnings", run=run_id).column("message").to_pylist()
    assert any("somebody/else" in text for text in warnings)


def test_a_ready_dictionary_keeps_its_reconstruction(tmp_path: Path) -> None:
    rows = torch.randn(60, 8) * 3 + 1, torch.randn(60, 8) * 3 + 1
    dictionary = as_dictionary(load_pretrained(ready_folder(tmp_path / "d", 8)), rows, ("resid_post", 0), 0)
    torch.testing.assert_close(dictionary.decode(dictionary.encode(rows[0])), rows[0], atol=1e-4, rtol=1e-4)
    assert torch.allclose(dictionary.w_dec.norm(dim=1), torch.ones(16))


def test_ready_dictionaries_that_do_not_fit_are_refused(run: tuple[Store, str], tmp_path: Path) -> None:
    store, run_id = run
    wrong_layer = ready_folder(tmp_path / "layer", 32, site="mlp_out", layer=7)
    for folder, words in (
        (ready_folder(tmp_path / "width", 31), "width 31; the models have 32 and 32"),
        (wrong_layer, "for mlp_out, layer 7; analyzed: resid_post 1"),
        (tmp_path / "layer" / "nothing", "0 safetensors files"),
    ):
        with pytest.raises(AnalysisError, match=words):
            analyzed(store, run_id, dictionary_file=str(folder))
    with pytest.raises(AnalysisError, match="does not say which site and layer"):
        analyzed(store, run_id, dictionary_file=str(ready_folder(tmp_path / "silent", 32)), layers="0,1")
    poor = ready_folder(tmp_path / "poor", 32)
    save_file({"W_enc": torch.zeros(32, 4), "b_enc": torch.zeros(4), "W_dec": torch.ones(4, 32),
               "b_dec": torch.zeros(32)}, poor / "sae.safetensors")  # fmt: skip
    with pytest.raises(AnalysisError, match="of the variance at resid_post of layer 1"):
        analyzed(store, run_id, dictionary_file=str(poor))
    save_file({"W_enc": torch.zeros(32, 4)}, poor / "sae.safetensors")
    with pytest.raises(AnalysisError, match="has no b_enc"):
        analyzed(store, run_id, dictionary_file=str(poor))
    top = ready_folder(tmp_path / "top", 32, architecture="topk")
    with pytest.raises(AnalysisError, match="k largest"):
        analyzed(store, run_id, dictionary_file=str(top))


def test_a_dictionary_that_does_not_depend_on_the_seed_has_no_recurrence() -> None:
    for options in ({"dictionary": "pca"}, {"dictionary_file": "somewhere"}):
        with pytest.raises(ConfigError, match="always the same"):
            make_config(base_model="a", target_model="b", dictionary_seeds=2, **options)
