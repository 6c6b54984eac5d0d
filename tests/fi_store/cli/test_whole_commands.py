"""Complete commands on tiny models: run, resume, reuse, interrupt, and the effect of every option."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import RwkvConfig

from extract.job import CHUNK_PROMPTS
from fi_store.cli.options import CONFIG_OPTIONS
from fi_store.store import Store
from tests.helpers import ROOT
from tests.helpers.command import Result, fi_store
from tests.helpers.tiny import TinyModels, tiny_gguf, tiny_other

SMALL = (
    "--limit-per-category", 4, "--candidates", 4, "--n-latents", 64, "--k", 8, "--dictionary-steps", 40,
    "--dictionary-batch", 128, "--max-new-tokens", 8, "--layers", "all", "--seed", 1, "--quantization", "fp32",
    "--device", "cpu",
)  # fmt: skip
"""44 prompts, so that the confirmation half has 22 clusters."""


@dataclass(frozen=True)
class Made:
    """A run made by a command."""

    result: Result
    store: Path
    run: str
    folder: Path  # where the report went

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Rows of the run; `$run` is its id, `$source` that of its extraction."""
        with Store.open(self.store, read_only=True) as store:
            source = store.run(self.run).extraction_run_id
            names = {"run": self.run, "source": source}
            return store.rows(sql, **{key: value for key, value in names.items() if f"${key}" in sql})

    def value(self, sql: str) -> Any:
        """The first column of the first row."""
        return next(iter(self.rows(sql)[0].values()))

    @property
    def plan(self) -> dict[str, Any]:
        return dict(json.loads(self.value("SELECT plan FROM analysis_plan WHERE run_id = $run")))

    @property
    def files(self) -> set[str]:
        """The report and chart files, with RUN instead of the id."""
        return {
            str(path.relative_to(self.folder)).replace(self.run, "RUN")
            for kind in ("reports", "visualizations", "features")
            for path in (self.folder / kind / self.run).rglob("*.*")
        }


def make(folder: Path, *arguments: object, store: Path | None = None) -> Made:
    """Runs `fi-store run`, which must succeed."""
    store_option = () if store is None else ("--store", store)
    result = fi_store("run", "--output-dir", folder, *store_option, *arguments)
    assert result.code == 0, result.err
    found = re.search(r"^Run: +(\S+)$", result.out, re.MULTILINE)
    assert found, result.out
    return Made(result, store or folder / "fi-store.duckdb", found[1], folder)


@pytest.fixture(scope="module")
def first(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A base with a planted adapter. Everything is kept, and alpha lets nearly every group through."""
    folder = tmp_path_factory.mktemp("first") / "project"
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
    return make(folder, *pair, *SMALL, "--keep-activations", "all", "--alpha", 0.9)


@pytest.fixture(scope="module")
def second(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The same pair from a GGUF file. Every option differs from `first`, and some come from a file."""
    folder = tmp_path_factory.mktemp("second")
    (folder / "prompts.yaml").write_text(
        json.dumps(
            {
                name: [f"Tell {name} {n} of {n * 7} things" for n in range(20)]
                for name in ("one", "two", "six")
            }
        )
    )
    (folder / "outside.json").write_text('{"model.layers.1.w": {"similarities": {"model.layers.1.w": 0.25}}}')
    (folder / "run.toml").write_text(
        f'base_model = "{tiny_gguf(folder / "base.gguf", tiny_models.llama)}"\n'
        f'target-model = "{tiny_models.planted}"\n'
        'seed = 99\nk = 4\nskip_report = true\nreport_format = "markdown"\nkeep-activations = "none"\n'
    )
    return make(
        folder / "project", "--config", folder / "run.toml", "--prompts-file", folder / "prompts.yaml",
        "--categories", "one,two", "--limit-per-category", 14, "--cache-dir", folder / "cache", "--seed", 2,
        "--quantization", "bf16", "--device", "cpu",
        "--max-new-tokens", 3, "--sites", "resid_post,mlp_out", "--layers", "1", "--attribution", "off",
        "--n-latents", 32, "--dictionary-steps", 25, "--dictionary-batch", 64, "--candidates", 2,
        "--feature-threshold", 0.25, "--alpha", 0.2, "--skip-naming", "--skip-visualization", "--no-skip-report",
        "--crosscoder-file", folder / "outside.json", "--dictionary", "crosscoder", "--interventions", "off",
    )  # fmt: skip


@pytest.fixture(scope="module")
def third(first: Made, tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Reuses the extraction of `first`, without names or report; its output folder is not the store's."""
    return make(
        tmp_path_factory.mktemp("third"), "--base-model", tiny_models.llama, "--target-model", tiny_models.planted,
        *SMALL, "--alpha", 0.9, "--keep-activations", "all", "--skip-activations", "--skip-naming", "--skip-report",
        "--interventions", "full", "--dictionary-seeds", 2, store=first.store,
    )  # fmt: skip


DICTIONARY = "SELECT {} FROM dictionary WHERE run_id = $run"
PROMPTS = (
    "SELECT p.* FROM run_unit u JOIN prompt p ON p.id = u.prompt_id WHERE u.run_id = $source ORDER BY u.unit"
)

GENERATED = "SELECT count(*) FROM patched_answer WHERE run_id = $run"

CELLS = """
    SELECT count(DISTINCT (layers, position_class)) * (1 + (SELECT count(*) FROM behavior WHERE run_id = $run))
    FROM feature_group WHERE run_id = $run
"""
"""The most groups that those beyond the candidates can be joined to: by layer, position class, and gap."""
EFFECTS: dict[str, Callable[[Made, Made, Made], bool]] = {
    "base_model": lambda a, b, c: (
        "base.gguf" in b.value("SELECT base_reference FROM run WHERE id = $run")
        and b.value("SELECT kind FROM model JOIN run ON model.id = run.base_model_id WHERE run.id = $run") == "gguf"
    ),
    "target_model": lambda a, b, c: (
        a.value("SELECT kind FROM model JOIN run ON model.id = run.target_model_id WHERE run.id = $run") == "adapter"
    ),
    "prompts_file": lambda a, b, c: (
        a.rows(PROMPTS)[0]["key"].startswith("step_by_step") and b.rows(PROMPTS)[0]["text"] == "Tell one 0 of 0 things"
    ),
    "categories": lambda a, b, c: {row["category"] for row in b.rows(PROMPTS)} == {"one", "two"},
    "limit_per_category": lambda a, b, c: (len(a.rows(PROMPTS)), len(b.rows(PROMPTS))) == (44, 28),
    "output_dir": lambda a, b, c: a.store.parent == a.folder and a.folder.name == "project",
    "store": lambda a, b, c: c.store == a.store and not (c.folder / "fi-store.duckdb").exists(),
    "cache_dir": lambda a, b, c: any((b.folder.parent / "cache").rglob("*.safetensors")),
    "device": lambda a, b, c: a.value("SELECT device FROM run WHERE id = $run") == "cpu",
    "quantization": lambda a, b, c: (
        [x.value("SELECT dtype FROM run WHERE id = $run") for x in (a, b)] == ["float32", "bfloat16"]
    ),
    "max_new_tokens": lambda a, b, c: (
        [x.value("SELECT max(n_tokens) FROM generation WHERE run_id = $source") for x in (a, b)] == [8, 3]
    ),
    "seed": lambda a, b, c: (a.plan["seed"], b.plan["seed"]) == (1, 2),
    "layers": lambda a, b, c: (
        {layer for _, layer in a.plan["layers"]} == {0, 1} and {layer for _, layer in b.plan["layers"]} == {1}
    ),
    "sites": lambda a, b, c: (
        {site for site, _ in a.plan["layers"]} == {"resid_post"}
        and {site for site, _ in b.plan["layers"]} == {"resid_post", "mlp_out"}
    ),
    "attribution": lambda a, b, c: (
        a.value("SELECT count(*) FROM attribution WHERE run_id = $source") > 0
        and b.value("SELECT count(*) FROM attribution WHERE run_id = $source") == 0
    ),
    "dictionary": lambda a, b, c: b.value(DICTIONARY.format("kind")) == "crosscoder",
    "dictionary_seeds": lambda a, b, c: (
        a.rows("SELECT 1 FROM feature_group WHERE run_id = $run AND recurrence IS NOT NULL") == []
        and c.rows("SELECT 1 FROM feature_group WHERE run_id = $run AND recurrence IS NULL") == []
    ),
    "n_latents": lambda a, b, c: [x.value(DICTIONARY.format("n_latents")) for x in (a, b)] == [64, 32],
    "k": lambda a, b, c: [x.value(DICTIONARY.format("k")) for x in (a, b)] == [8, 4],
    "dictionary_steps": lambda a, b, c: [x.value(DICTIONARY.format("steps")) for x in (a, b)] == [40, 25],
    "candidates": lambda a, b, c: (a.plan["candidates"], b.plan["candidates"]) == (4, 2)
    and 0 < a.value("SELECT count(*) FROM arm WHERE run_id = $run AND kind = 'group'") <= 4 + a.value(CELLS),
    "feature_threshold": lambda a, b, c: (
        (a.plan["feature_threshold"], b.plan["feature_threshold"]) == (0.03, 0.25)
    ),
    "alpha": lambda a, b, c: (
        (a.plan["alpha"], b.plan["alpha"]) == (0.9, 0.2)
        and b.value("SELECT count(*) FROM behavior WHERE run_id = $run AND confirmed AND p_adjusted > 0.2") == 0
        and a.value("SELECT count(*) FROM behavior WHERE run_id = $run AND confirmed") > 0
    ),
    "crosscoder_file": lambda a, b, c: (
        b.value("SELECT value FROM layer_similarity WHERE run_id = $run AND source = 'crosscoder-file'") == 0.25
    ),
    "skip_activations": lambda a, b, c: c.value("SELECT extraction_run_id FROM run WHERE id = $run") == a.run,
    "interventions": lambda a, b, c: (
        a.rows("SELECT DISTINCT state FROM probe_request WHERE run_id = $run") == [{"state": "answered"}]
        and b.rows("SELECT 1 FROM probe_request WHERE run_id = $run") == []
        and c.value(GENERATED) >= a.value(GENERATED)
    ),
    "keep_activations": lambda a, b, c: (
        {row["state"] for row in a.rows("SELECT state FROM activation_shard WHERE run_id = $source")} == {"present"}
        and {row["state"] for row in b.rows("SELECT state FROM activation_shard WHERE run_id = $source")} == {"removed"}
        and not (b.folder / "activations").exists()
        and (a.folder / "activations" / a.run).is_dir()
    ),
    "skip_visualization": lambda a, b, c: (
        any(name.endswith(".png") for name in a.files) and not any(name.endswith(".png") for name in b.files)
    ),
    "skip_report": lambda a, b, c: "reports/RUN/report.html" in a.files and c.files == set(),
    "report_format": lambda a, b, c: (
        {"reports/RUN/report.html", "reports/RUN/report.md"} <= a.files
        and "reports/RUN/report.md" in b.files
        and "reports/RUN/report.html" not in b.files
    ),
}  # fmt: skip


TESTED_ELSEWHERE = {
    "trust_remote_code": "test_a_folder_with_code_is_refused_unless_it_is_trusted",
    "dictionary_batch": "test_the_batch_size_changes_the_dictionary",
    "dictionary_file": "test_a_ready_dictionary_replaces_the_learned_one_at_its_layer",
    "skip_naming": "test_without_naming_nothing_says_when_it_acts",
    "naming_model": "test_the_workflow_hands_over_the_run_s_naming_model",
    "chat_template": "test_the_choice_is_the_users",
    "system_prompt": "test_wishes_are_in_every_prompt",
    "prefill": "test_wishes_are_in_every_prompt",
    "template_arg": "test_marks_of_thoughts_are_learned_from_the_template",
    "naming_url": "test_a_good_reply_is_kept_and_not_asked_for_again",
}
"""Options whose effect three runs of tiny pairs cannot show -> the test that does."""


def test_every_option_has_a_test() -> None:
    fields = {option.field for option in CONFIG_OPTIONS}
    assert set(EFFECTS) | set(TESTED_ELSEWHERE) == fields
    assert not set(EFFECTS) & set(TESTED_ELSEWHERE)
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for test in TESTED_ELSEWHERE.values():
        assert f"def {test}(" in texts, test


@pytest.mark.parametrize("field", EFFECTS)
def test_every_option_has_its_effect(field: str, first: Made, second: Made, third: Made) -> None:
    assert EFFECTS[field](first, second, third), field


def test_the_batch_size_changes_the_dictionary(first: Made, tiny_models: TinyModels, tmp_path: Path) -> None:
    """No column stores this option: the same extraction with another batch size gives another dictionary."""

    def fit(batch: int) -> list[float]:
        made = make(
            tmp_path, "--base-model", tiny_models.llama, "--target-model", tiny_models.planted, *SMALL, "--alpha", 0.9,
            "--keep-activations", "all", "--skip-activations", "--skip-report", "--dictionary-batch", batch,
            "--interventions", "off", store=first.store,
        )  # fmt: skip
        return [row["ev_base_d"] for row in made.rows("SELECT ev_base_d FROM dictionary WHERE run_id = $run")]

    assert fit(128) == [row["ev_base_d"] for row in first.rows(DICTIONARY.format("ev_base_d"))], (
        "seeded: the same"
    )
    assert fit(32) != fit(128)


def test_an_outside_file_is_drawn_beside_our_values(second: Made, tmp_path: Path) -> None:
    shutil.copyfile(second.store, tmp_path / "fi-store.duckdb")
    result = fi_store(
        "report", second.run, "--store", tmp_path / "fi-store.duckdb", "--report-format", "html"
    )
    assert result.code == 0, result.err
    chart = (tmp_path / "visualizations" / second.run / "similarity.vl.json").read_text(encoding="utf-8")
    assert "outside file" in chart
    assert "0.25" in chart


def test_the_output_of_a_run(first: Made) -> None:
    """Prints results, stage timings, peak memory and the paths of report and store; progress only on stderr."""
    out = first.result.out
    n_findings = first.value("SELECT count(*) FROM finding WHERE run_id = $run")
    assert len(re.findall(r"^\d\. .+$", out, re.MULTILINE)) == min(3, n_findings)
    assert (
        first.value("SELECT sentence FROM behavior WHERE run_id = $run AND confirmed ORDER BY number") in out
    )
    assert "not tested causally" not in out
    assert re.search(r"^  Answering and reading +\d+\.\d s$", out, re.MULTILINE)
    assert re.search(r"^Peak memory \d.* [MG]B\.$", out, re.MULTILINE)
    assert f"Report: {first.folder / 'reports' / first.run / 'report.html'}" in out
    assert f"Store:  {first.store}" in out
    assert "precision: fp32" in first.result.err
    assert first.value("SELECT state FROM run WHERE id = $run") == "complete"


def test_analyzed_layers_are_kept_by_default(tiny_models: TinyModels, tmp_path: Path) -> None:
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
    made = make(tmp_path, *pair, *SMALL, "--layers", "1", "--skip-report", "--interventions", "off")
    layers = "SELECT layer, min(state) AS state FROM activation_shard WHERE run_id = $run GROUP BY layer ORDER BY layer"
    assert made.rows(layers) == [{"layer": 1, "state": "present"}]
    files = (tmp_path / "activations").rglob("*.safetensors")
    assert {path.name.rsplit(".", 2)[0] for path in files} == {"resid_post.01", "gradient.resid_post.01"}
    again = (
        "run", *pair, *SMALL, "--skip-report", "--interventions", "off", "--output-dir", tmp_path, "--skip-activations",
    )  # fmt: skip
    refused = fi_store(*again, "--layers", "0,1")
    assert refused.code == 2
    assert "no longer has activations of layer 0" in refused.err
    assert "numbered from 0" in fi_store(*again, "--layers", "2").err
    assert fi_store(*again, "--layers", "1").code == 0


def test_an_extraction_that_does_not_fit_is_not_reused(first: Made, tiny_models: TinyModels) -> None:
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
    other = fi_store(
        "run", *pair, *SMALL, "--max-new-tokens", 5, "--skip-activations", "--store", first.store
    )
    assert (other.code, "was made with max_new_tokens 8." in other.err) == (2, True)
    other = fi_store(
        "run", *pair, *SMALL, "--limit-per-category", 2, "--skip-activations", "--store", first.store
    )
    assert (other.code, "was made with other prompts." in other.err) == (2, True)
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.llama_other)
    other = fi_store("run", *pair, *SMALL, "--skip-activations", "--store", first.store)
    assert (other.code, "contains no extraction of" in other.err) == (2, True)
    assert "Next: leave out --skip-activations" in other.err


def test_a_reused_extraction_with_another_seed_gives_the_same_as_a_new_one(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
    options = (*pair, *SMALL, "--skip-report", "--skip-visualization")
    fresh = make(tmp_path / "fresh", *options, "--seed", 5)
    earlier = make(tmp_path / "reused", *options)
    reused = make(tmp_path / "reused", *options, "--seed", 5, "--skip-activations")
    assert reused.value("SELECT extraction_run_id FROM run WHERE id = $run") == earlier.run
    assert reused.value("SELECT seed FROM run WHERE id = $run") == 5
    halves = "SELECT prompt_id, half FROM run_unit WHERE run_id = $run ORDER BY unit"
    assert reused.rows(halves) == fresh.rows(halves) != earlier.rows(halves)
    assert reused.plan == fresh.plan
    for facts in (
        "SELECT category, half, effect, ci_low, ci_high, floor, statistic FROM effect WHERE run_id = $run"
        " ORDER BY ALL",
        "SELECT * EXCLUDE (run_id) FROM layer_similarity WHERE run_id = $run ORDER BY ALL",
        "SELECT * EXCLUDE (run_id) FROM pair_gate WHERE run_id = $run",
        "SELECT * EXCLUDE (run_id) FROM category_discrimination WHERE run_id = $run ORDER BY ALL",
        "SELECT * EXCLUDE (run_id) FROM accuracy WHERE run_id = $run ORDER BY ALL",
    ):
        assert reused.rows(facts) == fresh.rows(facts)
        assert reused.rows(facts)


def test_a_base_with_itself_gives_no_difference_and_a_report(tiny_models: TinyModels, tmp_path: Path) -> None:
    made = make(tmp_path, "--base-model", tiny_models.llama, "--target-model", tiny_models.llama, *SMALL)
    assert "No behavioral difference on these prompts." in made.result.out
    assert made.value("SELECT count(*) FROM finding WHERE run_id = $run AND tier <> 'internal_shift'") == 0
    assert {"reports/RUN/report.html", "reports/RUN/report.md"} <= made.files


def test_a_base_without_a_template_goes_through_everything(tiny_models: TinyModels, tmp_path: Path) -> None:
    """qwen2: the base has no template and a padded vocabulary; it does not know the tokens of the target's."""
    made = make(
        tmp_path, "--base-model", tiny_models.qwen2_base, "--target-model", tiny_models.qwen2_target, *SMALL,
        "--alpha", 0.9, "--keep-activations", "none",
    )  # fmt: skip
    assert made.value("SELECT chat_template FROM run WHERE id = $run") == "own"
    assert {"reports/RUN/report.html", "reports/RUN/report.md"} <= made.files
    assert fi_store("doctor", "--store", made.store).code == 0
    assert fi_store("verify", "--store", made.store).code == 0


def test_stage_by_stage_is_the_same_as_run(first: Made, tiny_models: TinyModels, tmp_path: Path) -> None:
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
    store_option = ("--store", tmp_path / "s.duckdb")
    ingested = fi_store("ingest", *pair, *SMALL, "--alpha", 0.9, *store_option)
    assert ingested.code == 0, ingested.err
    (run,) = re.findall(r"Run (\S+) is extracted", ingested.out)
    assert f"Next: fi-store analyze {run} --store {store_option[1]}" in ingested.out
    early = fi_store("report", run, *store_option)
    assert (early.code, f"fi-store analyze {run}" in early.err) == (1, True)
    analyzed = fi_store("analyze", run[:20], *store_option)
    assert analyzed.code == 0, analyzed.err
    assert fi_store("report", *store_option, "--report-format", "markdown").code == 0
    read = "SELECT side, author, round(logprob, 4) FROM intervention WHERE run_id = $run ORDER BY ALL"
    assert Made(analyzed, store_option[1], run, tmp_path).rows(read) == first.rows(read) != []
    query = "SELECT rank, name, round(effect, 6) AS effect FROM finding WHERE run_id = $run ORDER BY rank"
    assert Made(analyzed, store_option[1], run, tmp_path).rows(query) == first.rows(query)


def test_a_dry_run_estimates_and_writes_nothing(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.1, 0.0, 0.0))
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
    for command in ("run", "ingest"):
        result = fi_store(command, *pair, *SMALL, "--output-dir", tmp_path / "p", "--dry-run")
        assert result.code == 0, result.err
        assert re.search(
            r"44 prompts, about [\d,]+ tokens to read: about .+ of disk, .+ of memory", result.out
        )
        assert "nothing was written" in result.out
        assert "The load is high: 2.1 on 4 processors" in result.out + result.err
    assert not (tmp_path / "p").exists()


def test_a_run_that_does_not_fit_is_refused_before_it_begins(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
    result = fi_store("run", *pair, *SMALL, "--output-dir", tmp_path)
    assert result.code == 1
    assert re.search(r"needs about .* of disk", result.err)
    assert "Next: free space (fi-store gc)" in result.err
    assert json.loads(fi_store("runs", "--store", tmp_path / "fi-store.duckdb", "--format", "json").out) == []


def test_bad_models_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    llama = tiny_models.llama
    for base, target, words in (
        ("nobody/nothing-here", llama, "nobody/nothing-here"),
        (tmp_path / "absent", llama, "absent does not exist"),
        (llama, empty, "neither a config.json nor an adapter_config.json"),
        (llama, tiny_models.misfit, "does not fit"),
        ("bundled:gpt9", llama, "no bundled model 'gpt9'"),
    ):
        result = fi_store(
            "run", "--base-model", base, "--target-model", target, *SMALL, "--output-dir", tmp_path / "p"
        )
        assert result.code == 1, result.err
        assert words in result.err
        assert "Traceback" not in result.err
        last = result.err.strip().splitlines()
        assert last[-2].startswith("Error: ")
        assert last[-1].startswith("Next: ")


def test_a_folder_with_code_is_refused_unless_it_is_trusted(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = tmp_path / "coded"
    shutil.copytree(tiny_models.llama, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "tiny_coded"
    config["auto_map"] = {"AutoConfig": "coded.CodedConfig", "AutoModelForCausalLM": "coded.CodedModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "coded.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(tmp_path / 'ran')!r}).write_text('code ran')\n"
        "class CodedConfig(LlamaConfig):\n    model_type = 'tiny_coded'\n"
        "class CodedModel(LlamaForCausalLM):\n    config_class = CodedConfig\n"
    )
    command = ("run", "--base-model", folder, "--target-model", folder, *SMALL, "--dry-run")
    refused = fi_store(*command, "--output-dir", tmp_path / "p")
    assert refused.code == 1
    assert "--trust-remote-code" in refused.err
    assert not (tmp_path / "ran").exists()
    trusted = fi_store(*command, "--output-dir", tmp_path / "p", "--trust-remote-code")
    assert trusted.code == 0, trusted.err
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_resumes(how: signal.Signals, tiny_models: TinyModels, tmp_path: Path) -> None:
    """Stops a real process once its first chunk is committed; the resumed run keeps that chunk's rows."""
    pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
    options = (
        *SMALL,
        "--limit-per-category",
        16,
        "--max-new-tokens",
        48,
        "--interventions",
        "off",
        "--output-dir",
        tmp_path,
    )
    command = [sys.executable, "-m", "fi_store", "run", *map(str, (*pair, *options)), "--skip-visualization"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while len(list(tmp_path.rglob("base/*.0001.safetensors"))) == 0:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(how)
        _, err = process.communicate(timeout=120)
    store = tmp_path / "fi-store.duckdb"
    rows = json.loads(fi_store("runs", "--store", store, "--format", "json").out)
    (run,) = [row["run_id"] for row in rows]
    done = Made(Result(0, "", ""), store, run, tmp_path)
    kept = "SELECT min(run_event.at) AS began, count(*) AS n FROM run_event WHERE run_id = $run AND kind = 'choice'"
    chunks = "SELECT count(DISTINCT chunk) FROM generation WHERE run_id = $run"
    before, choices = done.value(chunks), done.rows(kept)
    n_chunks = -(-176 // CHUNK_PROMPTS)
    assert 1 <= before < n_chunks
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert f"fi-store run --resume {run} --store {store}" in err
        assert "Traceback" not in err
        assert rows[0]["state"] == "interrupted"
    resumed = fi_store("run", "--resume", run, "--output-dir", tmp_path, "--skip-visualization")
    assert resumed.code == 0, resumed.err
    assert done.value(chunks) == n_chunks
    assert done.value("SELECT count(*) FROM generation WHERE run_id = $run") == 2 * 176
    assert done.value("SELECT count(*) - count(DISTINCT row) FROM token_divergence WHERE run_id = $run") == 0
    assert done.rows(kept)[0]["began"] == choices[0]["began"]
    assert done.value("SELECT state FROM run WHERE id = $run") == "complete"
    again = fi_store("run", "--resume", run, "--output-dir", tmp_path, "--report-format", "markdown")
    assert again.code == 0, "resuming a complete run only makes its report again"


def test_two_runs_at_once_in_one_store(first: Made, tiny_models: TinyModels) -> None:
    """The second run is refused with the name of the process that has the store open; the first loses nothing."""
    script = (
        "import sys, fi_store.store as s; x = s.Store.open(sys.argv[1]); print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(first.store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        pair = ("--base-model", tiny_models.llama, "--target-model", tiny_models.planted)
        result = fi_store("run", *pair, *SMALL, "--store", first.store)
        other.communicate("\n")
    assert result.code == 1
    assert f"(process {other.pid})" in result.err
    assert fi_store("verify", "--store", first.store).code == 0


def test_a_model_is_checked_without_a_run(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "attention_hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    rwkv = tiny_other(tmp_path / "rwkv", RwkvConfig, context_length=512, **sizes)
    result = fi_store("models", "check", rwkv, "--device", "cpu", "--quantization", "fp32")
    assert result.code == 0
    assert re.search(r"^architecture +RwkvForCausalLM$", result.out, re.MULTILINE)
    assert re.search(r"^chat template +yes$", result.out, re.MULTILINE)
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in result.out.splitlines() if "│" in line
    ]
    found = {row[0]: row[1:] for row in rows if len(row) == 4}
    assert found["one text again"][2] == found["whole texts together"][2] == "the same"
    assert found["answers together"][2] == "answers one prompt at a time"
    assert float(found["answers together"][0]) > float(found["answers together"][1])
    assert found["attention + MLP with what RwkvBlock adds, layer 0"][2].startswith("only resid_post: ")
    assert found["attention + MLP with what RwkvBlock adds, layer 1"][2].startswith(
        "the same: attn_out is attention"
    )
    assert result.out.endswith("each from its first token on, and answer one prompt at a time.\n")


def test_a_model_that_a_run_would_refuse_fails_its_check(tiny_models: TinyModels, tmp_path: Path) -> None:
    shutil.copytree(tiny_models.llama, tmp_path / "large")
    weights = load_file(tiny_models.llama / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"].fill_(3e38)
    save_file(weights, tmp_path / "large" / "model.safetensors", {"format": "pt"})
    result = fi_store("models", "check", tmp_path / "large", "--device", "cpu", "--quantization", "fp32")
    assert result.code == 1
    assert "activations that are not finite (layer 1, resid_post)" in result.err
