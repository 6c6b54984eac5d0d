"""The Python functions, called as in the documentation, on tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fi_store
from fi_store import (
    FiStoreError,
    RunHandle,
    create_visualizations,
    extract_activations_for_comparison,
    generate_report,
    name_features,
    open_store,
    run_feature_interpretation_pipeline,
)
from fi_store.prompts import load_suite
from tests.helpers.tiny import TinyModels

LISTS = {name: [f"Tell {name} {n} about {n * 3} sheep" for n in range(16)] for name in ("sums", "letters")}
SMALL: dict[str, Any] = {
    "candidates": 3, "n_latents": 32, "k": 4, "dictionary_steps": 20, "dictionary_batch": 64,
    "max_new_tokens": 4, "layers": "1", "device": "cpu", "quantization": "fp32",
}  # fmt: skip


class Recorder:
    """A display that records its labels and notes."""

    def __init__(self) -> None:
        self.labels: list[str] = []

    def begin(self, label: str, total: int | None) -> Any:
        self.labels.append(label)
        return lambda _steps: None

    def end(self, label: str, seconds: float) -> None:
        assert label in self.labels

    def note(self, message: str, *, warning: bool = False) -> None:
        self.labels.append(message)


def test_the_whole_pipeline(
    tiny_models: TinyModels, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    display = Recorder()
    run = run_feature_interpretation_pipeline(
        base_model=str(tiny_models.llama),
        target_model=str(tiny_models.planted),
        prompt_categories=LISTS,
        output_dir=tmp_path / "project",
        threshold=0.02,
        crosscoder_data={"model.layers.1.w": {"similarities": {"model.layers.1.w": 0.5}}},
        report_format="markdown",
        cache_dir=tmp_path / "cache",
        display=display,
        **SMALL,
    )
    assert isinstance(run, RunHandle)
    assert run.store == tmp_path / "project" / "fi-store.duckdb"
    assert (tmp_path / "project" / "reports" / run.run_id / "report.md").is_file()
    assert "Answering and reading" in display.labels
    assert capfd.readouterr().out == "", "the functions print nothing"
    with open_store(run) as store, pytest.raises(FiStoreError):
        store.set_state(run.run_id, "failed", "extract")  # opened for reading
    with open_store(tmp_path / "project") as store:
        found = store.run(run.run_id)
        assert (found.state, found.config["feature_threshold"]) == ("complete", 0.02)
        outside = store.rows("SELECT value FROM layer_similarity WHERE source = 'crosscoder-file'")
        assert outside == [{"value": 0.5}]
        prompts = store.rows("SELECT category, count(*) AS n FROM prompt GROUP BY category ORDER BY category")
        assert prompts == [{"category": "letters", "n": 16}, {"category": "sums", "n": 16}]
    again = run_feature_interpretation_pipeline(
        base_model=str(tiny_models.llama), target_model=str(tiny_models.planted), prompt_categories=LISTS,
        output_dir=tmp_path / "project", skip_activations=True, skip_naming=True, skip_report=True, **SMALL,
    )  # fmt: skip
    with open_store(again) as store:
        assert store.run(again.run_id).extraction_run_id == run.run_id


def test_step_by_step(tiny_models: TinyModels, tmp_path: Path) -> None:
    data = extract_activations_for_comparison(
        base_model=str(tiny_models.llama),
        target_model=str(tiny_models.planted),
        prompt_categories=LISTS,
        output_dir=tmp_path / "project",
        **SMALL,
    )
    with open_store(data) as store:
        assert store.run(data.run_id).state == "extracted"
    features = name_features(
        data,
        threshold=0.05,
        skip_naming=True,
        candidates=2,
        crosscoder_data={"model.layers.0.w": {"differences": {"model.layers.0.w": 1.0}}},
    )
    assert features == data
    with open_store(data) as store:
        config = store.run(data.run_id).config
        assert (config["feature_threshold"], config["skip_naming"], config["candidates"]) == (0.05, True, 2)
        assert json.loads(Path(config["crosscoder_file"]).read_text())["model.layers.0.w"]
    with open_store(data) as store:
        assert store.rows("SELECT DISTINCT state FROM probe_request") == [{"state": "answered"}]
    charts = create_visualizations(features, output_dir=tmp_path / "charts")
    assert any(path.suffix == ".png" for path in charts)
    assert any(path.suffix == ".svg" for path in charts)
    assert all(path.is_relative_to(tmp_path / "charts") and path.stat().st_size > 0 for path in charts)
    files = generate_report(
        features, output_dir=tmp_path / "out", report_format="html", skip_visualization=True
    )
    assert tmp_path / "out" / "reports" / data.run_id / "report.html" in files
    assert not any(path.suffix in (".png", ".md") for path in files)
    with pytest.raises(FiStoreError, match="max_new_tokens was fixed"):
        name_features(data, max_new_tokens=9)
    with pytest.raises(FiStoreError, match="--alpha"):
        name_features(data, alpha=7)


@pytest.mark.parametrize("form", ["file", "string", "files", "texts", "suite"])
def test_prompts_come_in_many_forms(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fi_store import api

    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps({"sums": ["1 + 1?", "2 + 2?"]}))
    forms: dict[str, Any] = {
        "file": file, "string": str(file), "files": [file], "texts": ["1 + 1?", "2 + 2?"], "suite": load_suite([file]),
    }  # fmt: skip
    suites: list[Any] = []
    monkeypatch.setattr("fi_store.workflow.check_inputs", lambda config, suite: None)
    monkeypatch.setattr(
        "fi_store.workflow.extract", lambda store, config, suite, progress: suites.append(suite) or "id"
    )
    handle = api.extract_activations_for_comparison(
        base_model="a", target_model="b", prompts=forms[form], output_dir=tmp_path
    )
    assert handle == RunHandle(tmp_path / "fi-store.duckdb", "id")
    assert [prompt.text for prompt in suites[0].prompts] == ["1 + 1?", "2 + 2?"]
    assert suites[0].categories == (("prompts",) if form == "texts" else ("sums",))


def test_contradictory_arguments_are_refused(tmp_path: Path) -> None:
    pair: dict[str, Any] = {"base_model": "a", "target_model": "b", "output_dir": tmp_path}
    with pytest.raises(FiStoreError, match="give one of them"):
        run_feature_interpretation_pipeline(**pair, prompt_categories={"a": ["b"]}, prompts=["c"])
    with pytest.raises(FiStoreError, match="mixes"):
        run_feature_interpretation_pipeline(**pair, prompts=["c", Path("d")])
    with pytest.raises(FiStoreError, match="--color"):
        run_feature_interpretation_pipeline(**pair, color="red")
    with pytest.raises(FiStoreError, match="no report format"):
        generate_report(RunHandle(tmp_path / "s.duckdb", "x"), report_format="pdf")
    with pytest.raises(FiStoreError, match="There is no store"):
        open_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_public_names() -> None:
    assert fi_store.__version__ == "0.1.0"
    for name in ("run_feature_interpretation_pipeline", "name_features", "generate_report", "open_store"):
        assert getattr(fi_store, name).__doc__
