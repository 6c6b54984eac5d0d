"""The command line without models: help, usage errors, bad input, and the commands that read a store."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from fi_store import workflow
from fi_store.cli import main
from fi_store.config import RunConfig
from fi_store.console import RichDisplay
from fi_store.progress import Progress
from fi_store.shipped import shipped
from fi_store.threads import SPIN_COUNT, limit_spinning
from tests.helpers import ROOT
from tests.helpers.command import fi_store
from tests.helpers.store_factory import FilledStore


@pytest.fixture
def filled(plain_store: FilledStore) -> FilledStore:
    """Two runs on one base. Read-only."""
    return plain_store


@pytest.fixture
def copy(filled: FilledStore, tmp_path: Path) -> FilledStore:
    """A copy that tests may change."""
    path = tmp_path / "fi-store.duckdb"
    shutil.copyfile(filled.path, path)
    return FilledStore(path, filled.runs)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FI_STORE", raising=False)


def test_help_and_version() -> None:
    for arguments in ((), ("--help",), ("-h",)):
        result = fi_store(*arguments)
        assert result.code == 0
        assert "demo     Compare a bundled real pair, offline." in result.out
    assert fi_store("--version").out == "fi-store 0.1.0\n"


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fi_store", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "fi-store 0.1.0\n"


PAIR = ["run", "--base-model", "a", "--target-model", "b"]
USAGE = [
    (["rn"], "No such command 'rn'. Did you mean 'run'", "fi-store --help"),
    (["run", "--sed", "3"], "No such option: --sed", "fi-store run --help"),
    (["run", "--seed", "x"], "'--seed'", "fi-store run --help"),
    (["run", "--quantization", "int2"], "'--quantization'", "fi-store run --help"),
    (["run"], "--base-model Field required", "fi-store run --help"),
    (["run", "--base-model", "a"], "--target-model Field required", "fi-store run --help"),
    ([*PAIR, "--seed", "-1"], "--seed", "fi-store run --help"),
    ([*PAIR, "--alpha", "2"], "--alpha", "fi-store run --help"),
    (["run", "--config", "absent.toml"], "absent.toml cannot be read", ""),
    ([*PAIR, "--categories", "formal_logc"], "formal_logic", "prompts list"),
    ([*PAIR, "--prompts-file", "no.yaml"], "no.yaml cannot be read", "prompts"),
    ([*PAIR, "--crosscoder-file", "no.json"], "no.json", ""),
    (["run", "--resume", "latest", "--seed", "3"], "--seed cannot be given with it", ""),
    (["runs", "show"], "There is no store at feature_interpretation", "fi-store demo"),
    (["runs", "archive"], "Missing argument 'RUN'", "fi-store runs archive --help"),
    (["query", "top_finding"], "no saved query 'top_finding'", "top_findings"),
    (["query", "top_findings", "--param", "k"], "'k' is not KEY=VALUE", "--param k=20"),
    (["sql", "select 1", "--store", "no.duckdb"], "There is no store at no.duckdb", "--store"),
    (["sql", "select 1", "--limit", "0"], "'--limit'", "fi-store sql --help"),
    (["prompts", "validate", "no.yaml"], "no.yaml cannot be read", ""),
    (["prompts", "show", "--category", "logic"], "no prompt has the category 'logic'", "prompts list"),
    (["backup", "x.duckdb", "--store", "no"], "There is no store at no", "--store"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words", "hint"), USAGE, ids=lambda value: str(value)[:60])
def test_wrong_usage_is_one_sentence_and_the_next_command(
    arguments: list[str], words: str, hint: str
) -> None:
    result = fi_store(*arguments)
    assert result.code == 2
    assert result.out == ""
    first, *rest = result.err.splitlines()
    assert first.startswith("Error: ")
    assert words in first
    if hint:
        assert rest[0].startswith("Next: ")
        assert hint in rest[0]
    assert "Traceback" not in result.err
    assert not Path("feature_interpretation").exists(), "wrong usage leaves no files"


def test_debug_shows_the_traceback_wherever_it_is_given() -> None:
    for arguments in (["--debug", "runs"], ["runs", "--debug"]):
        result = fi_store(*arguments)
        assert result.code == 2
        assert "Traceback" in result.err
        assert "Error: There is no store" in result.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (MemoryError(), 1, "Not enough memory"),
        (OSError(28, "No space left on device", "/x/y"), 1, "/x/y: No space left on device"),
        (RuntimeError("what\x1b[31m"), 1, "Unexpected RuntimeError: what"),
    ],
)
def test_unexpected_errors_are_printed_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr("fi_store.doctor.examine", fail)
    result = fi_store("doctor")
    assert result.code == code
    assert words in result.err
    assert "Traceback" not in result.err
    assert "\x1b" not in result.err


def test_the_demo_takes_its_pair_from_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The demo's pair and size come from demo.json and the organism's card; its folder is an option."""
    organisms = tmp_path / "organisms"
    (organisms / "some").mkdir(parents=True)
    (organisms / "demo.json").write_text('{"folder": "some", "candidates": 2, "max_new_tokens": 7}')
    (organisms / "some" / "card.json").write_text(
        '{"name": "N", "base": "bundled:smollm2", "adapter": "weights"}'
    )
    monkeypatch.setattr("fi_store.shipped.shipped", lambda name: organisms)
    started: list[RunConfig] = []
    monkeypatch.setattr("fi_store.cli.demo.run_new", started.append)
    result = fi_store("demo", "--output-dir", tmp_path / "here", "--seed", 4, "--skip-report")
    assert result.code == 0, result.err
    (config,) = started
    assert (config.base_model, config.target_model) == (
        "bundled:smollm2",
        str(organisms / "some" / "weights"),
    )
    assert (config.candidates, config.max_new_tokens, config.prompts_file) == (2, 7, ())
    assert (config.output_dir, config.seed, config.skip_report) == (tmp_path / "here", 4, True)
    assert fi_store("demo", "--candidates", 3).code == 2


def test_the_shipped_demo_is_complete() -> None:
    folder = shipped("organisms")
    chosen = folder / json.loads((folder / "demo.json").read_text())["folder"]
    card = json.loads((chosen / "card.json").read_text())
    assert (chosen / card["adapter"] / "adapter_model.safetensors").is_file()
    assert card["kind"] == "behavior"


def test_a_reader_that_exits_early_is_not_an_error(filled: FilledStore) -> None:
    command = (
        f"{sys.executable} -m fi_store query exploration --param k=5000 --store {filled.path} --format csv"
    )
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_console_that_lacks_characters_shows_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results, tables and errors on streams that can only show Western European characters, a terminal among them."""
    Path("mine.yaml").write_text('sums:\n  - "Is 1 \u2264 2?"\n', encoding="utf-8")

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for kind in (io.TextIOWrapper, Terminal):
        out, err = (kind(io.BytesIO(), encoding="cp1252") for _ in range(2))
        with monkeypatch.context() as patched:
            patched.setenv("COLUMNS", "200")
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            for output_format in ("table", "csv", "markdown"):
                assert (
                    main(["prompts", "show", "--prompts-file", "mine.yaml", "--format", output_format]) == 0
                )
            assert main(["query", "\u2264"]) == 2
            with RichDisplay() as display:
                display.begin("\u2264 1", 2)(1)
                display.note("\u2264 2")
        for stream in (out, err):
            stream.flush()
        assert out.buffer.getvalue().count(b"Is 1 ? 2?") == 3
        assert err.buffer.getvalue().count(b"? ") >= 1


def test_runs_are_listed_shown_and_found_by_the_environment(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FI_STORE", str(filled.path))
    listed = json.loads(fi_store("runs", "--format", "json").out)
    assert [row["run_id"] for row in listed] == list(reversed(filled.runs))
    assert len(json.loads(fi_store("runs", "list", "--limit", 1, "--format", "json").out)) == 1
    shown = fi_store("runs", "show", filled.runs[0]).out
    assert f"Run:    {filled.runs[0]} (complete)" in shown
    assert "  candidates = 12" in shown


def test_the_default_store_is_the_project_in_this_folder(filled: FilledStore, tmp_path: Path) -> None:
    (tmp_path / "feature_interpretation").mkdir()
    shutil.copyfile(filled.path, tmp_path / "feature_interpretation" / "fi-store.duckdb")
    assert fi_store("runs").code == 0


def test_an_archived_run_is_hidden_until_it_is_unarchived(copy: FilledStore) -> None:
    first, second = copy.runs
    assert fi_store("runs", "archive", "latest", "--store", copy.path).out == f"Run {second} is archived.\n"
    rows = json.loads(fi_store("runs", "--store", copy.path, "--format", "json").out)
    assert [row["run_id"] for row in rows] == [first]
    rows = json.loads(fi_store("runs", "--archived", "--store", copy.path, "--format", "json").out)
    assert [row["run_id"] for row in rows] == [second, first]
    assert first in fi_store("runs", "show", "--store", copy.path).out
    assert fi_store("runs", "unarchive", second, "--store", copy.path).code == 0
    assert second in fi_store("runs", "show", "--store", copy.path).out


def test_queries_are_listed_described_and_run(filled: FilledStore, tmp_path: Path) -> None:
    names = [row["query"] for row in json.loads(fi_store("query", "--format", "json").out)]
    assert {"top_findings", "findings_by_pair", "features_across_pairs"} <= set(names)
    assert len(names) >= 8
    described = fi_store("query", "top_findings", "--describe").out
    assert "k (integer, default 12)" in described
    assert "SELECT" in described
    ask = ("query", "top_findings", "--store", filled.path, "--param", f"run={filled.runs[0]}")
    rows = json.loads(fi_store(*ask, "-p", "k=2", "--format", "json").out)
    assert [row["rank"] for row in rows] == [1, 2]
    table = list(csv.DictReader(io.StringIO(fi_store(*ask, "--format", "csv").out)))
    assert table[0]["name"] == rows[0]["name"]
    assert fi_store(*ask, "--format", "markdown").out.startswith("| rank |")
    file = tmp_path / "new" / "rows.parquet"
    assert fi_store(*ask, "--format", "parquet", "--output", file) == (0, "", "")
    assert pq.read_table(file).column("name")[0].as_py() == rows[0]["name"]
    wrong = fi_store(*ask, "-p", "k=many")
    assert wrong.code == 2
    assert "not a valid integer" in wrong.err


def test_sql_reads_and_nothing_else(filled: FilledStore) -> None:
    ask = ("sql", "--store", filled.path, "--format", "json")
    assert json.loads(fi_store(*ask, "select count(*) as n from run").out) == [{"n": 2}]
    assert len(json.loads(fi_store(*ask, "--limit", 3, "select * from prompt").out)) == 3
    for statement in ("delete from run", "select 1; select 2", "attach 'x'", "copy run to 'x'"):
        refused = fi_store(*ask, statement)
        assert refused.code in (1, 2)
        assert refused.err.startswith("Error: ")
    slow = fi_store(
        *ask, "--timeout", 0.5, "select sum(a.i * b.i) from range(1000000) a(i), range(100000) b(i)"
    )
    assert slow.code == 1


def test_compare_and_history(copy: FilledStore) -> None:
    rows = json.loads(fi_store("compare", *copy.runs, "--store", copy.path, "--format", "json").out)
    assert {row["status"] for row in rows} <= {"stable", "drifted", "new", "gone"}
    assert rows
    with duckdb.connect(str(copy.path)) as connection:
        found = connection.execute(
            "SELECT count(*) FROM feature_match WHERE run_a = $1", [copy.runs[0]]
        ).fetchone()
    assert found == (len(rows),)
    rows = json.loads(fi_store("history", "--store", copy.path, "--limit", 2, "--format", "json").out)
    assert [row["rank"] for row in rows] == [1, 2, 1, 2]
    assert rows[0]["created_at"] < rows[2]["created_at"]
    target = rows[0]["target"]
    rows = json.loads(fi_store("history", "--store", copy.path, "--target", target, "--format", "json").out)
    assert {row["target"] for row in rows} == {target}
    assert (
        json.loads(fi_store("history", "--store", copy.path, "--base", "zzz", "--format", "json").out) == []
    )


def test_prompts_are_listed_shown_and_validated(tmp_path: Path) -> None:
    rows = json.loads(fi_store("prompts", "--format", "json").out)
    assert len(rows) == 11
    assert sum(row["prompts"] for row in rows) == 384
    rows = json.loads(fi_store("prompts", "show", "--category", "formal_logic", "--format", "json").out)
    assert len(rows) == 32
    assert rows[0]["id"].startswith("formal_logic/")
    file = tmp_path / "mine.yaml"
    file.write_text("sums:\n  - 1 + 1?\n  - 2 + 2?\n")
    assert (
        json.loads(fi_store("prompts", "list", "--prompts-file", file, "--format", "json").out)[0]["prompts"]
        == 2
    )
    good = fi_store("prompts", "validate", file)
    assert good.code == 0
    assert "2 prompts in 1 category: no problems." in good.out
    assert "2 families; with fewer than 24, nothing can be tested" in good.out
    file.write_text("sums:\n  - 1 + 1?\n  - 1 + 1?\n")
    assert "mine.yaml:3: the same prompt" in fi_store("prompts", "validate", file).out


def test_doctor_reports_problems(copy: FilledStore) -> None:
    result = fi_store("doctor", "--store", copy.path)
    assert result.code == 1, "the store's shards have rows but no files"
    assert "problem  file of the store: " in result.out
    assert "2 runs, 2 of them complete" in result.out
    with duckdb.connect(str(copy.path)) as connection:
        connection.execute(
            "DELETE FROM model; UPDATE run SET state = 'interrupted' WHERE id = $1", [copy.runs[0]]
        )
    result = fi_store("doctor", "--store", copy.path)
    assert "2 rows of run refer to a missing model (base_model_id)" in result.out
    assert f"Next: fi-store run --resume {copy.runs[0]}" in result.out
    absent = fi_store("doctor")
    assert absent.code == 0
    assert "there is no store at feature_interpretation" in absent.out


def test_doctor_says_that_the_machine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for load, said in ((1.9, False), (2.1, True)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert ("the load is high: 2.1 on 4 processors" in fi_store("doctor").out) == said


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_stop_spinning_unless_the_user_decided(given: dict[str, str]) -> None:
    environment = dict(given)
    limit_spinning(environment)
    assert environment == (given or {"GOMP_SPINCOUNT": SPIN_COUNT})
    code = (
        "import os, sys, fi_store; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    clean = {"PATH": "", "PYTHONPATH": str(ROOT), **given}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(environment.get("GOMP_SPINCOUNT"))


def test_gc_lists_first_and_removes_with_apply(copy: FilledStore) -> None:
    folder = copy.path.parent
    with duckdb.connect(str(copy.path)) as connection:
        shards = connection.execute("SELECT run_id, path, n_bytes FROM activation_shard").fetchall()
    for _, name, n_bytes in shards:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0" * min(n_bytes, 64))
    stray = folder / "activations" / "gone" / "left.partial"
    stray.parent.mkdir()
    stray.write_bytes(b"12345")
    gc = ("gc", "--store", copy.path)
    listed = fi_store(*gc).out
    assert "no run: 1 file, 5 bytes (not in the store)" in listed
    assert stray.exists()
    assert "Removed 5 bytes" in fi_store(*gc, "--apply").out
    assert not stray.parent.exists()
    assert fi_store(*gc).out == "Nothing to remove.\n"
    fi_store("runs", "archive", copy.runs[0], "--store", copy.path)
    assert f"{copy.runs[0]}: " in fi_store(*gc).out
    fi_store(*gc, "--apply")
    assert {run for run, name, _ in shards if (folder / name).exists()} == {copy.runs[1]}
    fi_store(*gc, "--run", copy.runs[1], "--apply")
    assert not (folder / "activations").exists()
    with duckdb.connect(str(copy.path)) as connection:
        states = connection.execute("SELECT DISTINCT state FROM activation_shard").fetchall()
    assert states == [("removed",)]


def test_gc_does_not_remove_files_outside_the_folder(copy: FilledStore, tmp_path: Path) -> None:
    precious = tmp_path.parent / "precious"
    precious.write_text("mine")
    with duckdb.connect(str(copy.path)) as connection:
        connection.execute(
            "UPDATE activation_shard SET path = '../precious' WHERE run_id = $1", [copy.runs[0]]
        )
    result = fi_store("gc", "--run", copy.runs[0], "--apply", "--store", copy.path)
    assert result.code == 1
    assert "outside its folder" in result.err
    assert precious.read_text() == "mine"


def test_verify_backup_and_db(copy: FilledStore, tmp_path: Path) -> None:
    assert fi_store("verify", "--store", copy.path).out.endswith("no problems.\n")
    assert "the newest one." in fi_store("db", "--store", copy.path).out
    target = tmp_path / "copies" / "one.bak"
    assert fi_store("backup", target, "--store", copy.path).code == 0
    assert fi_store("db", "backup", target, "--store", copy.path).code == 0, (
        "a backup can replace an earlier one"
    )
    assert sorted(target.parent.iterdir()) == [target]
    assert fi_store("runs", "--store", target, "--format", "csv").out.count("\n") == 3
    refused = fi_store("backup", "x.duckdb", "--store", copy.path)
    assert refused.code == 2
    assert "must not end in .duckdb" in refused.err
    assert fi_store("db", "upgrade", "--store", tmp_path / "new.duckdb").code == 0
    assert fi_store("runs", "--store", tmp_path / "new.duckdb").code == 0


def test_verify_notices_a_damaged_block(copy: FilledStore) -> None:
    """Overwrites blocks in the middle of the file; the header stays readable."""
    size = copy.path.stat().st_size
    with copy.path.open("r+b") as file:
        for at in range(3 * 4096 * 4, size, 262_144):
            file.seek(at + 8192)
            file.write(b"\xa5" * 4096)
    result = fi_store("verify", "--store", copy.path)
    assert result.code == 1
    assert result.err.startswith("Error: ")
    assert "Traceback" not in result.err


def test_older_and_newer_schemas_are_refused(copy: FilledStore) -> None:
    with duckdb.connect(str(copy.path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = fi_store("runs", "--store", copy.path)
    assert (newer.code, "newer fi-store" in newer.err) == (1, True)
    with duckdb.connect(str(copy.path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    older = fi_store("runs", "--store", copy.path)
    assert (older.code, f"Next: fi-store db upgrade --store {copy.path}" in older.err) == (1, True)


def test_a_store_in_use_names_the_other_process(copy: FilledStore) -> None:
    script = (
        "import sys, fi_store.store as s; x = s.Store.open(sys.argv[1]); print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(copy.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        result = fi_store("runs", "--store", copy.path)
        other.communicate()
    assert result.code == 1
    assert f"(process {other.pid})" in result.err
    assert "Next: " in result.err


def test_the_report_command_makes_the_report_again(copy: FilledStore, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    result = fi_store(
        "report", "latest", "--store", copy.path, "--report-format", "markdown", "--skip-visualization",
        "--output-dir", elsewhere,
    )  # fmt: skip
    assert result.code == 0, result.err
    report = elsewhere / "reports" / copy.runs[1] / "report.md"
    assert f"Report: {report}" in result.out
    assert report.read_text(encoding="utf-8").startswith("# ")
    assert not list(copy.path.parent.rglob("*.png"))
    assert fi_store("report", "--store", copy.path, "--report-format", "pdf").code == 2


def test_an_interrupted_stage_says_how_to_resume(copy: FilledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("analyze.pipeline.analyze", interrupt)
    result = fi_store("analyze", copy.runs[0], "--store", copy.path)
    assert result.code == 130
    assert "Interrupted; finished work is kept." in result.err
    assert f"Next: fi-store run --resume {copy.runs[0]} --store {copy.path}" in result.err


def test_progress_draws_bars_on_a_terminal_and_lines_elsewhere() -> None:
    from rich.console import Console

    for terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, width=100)
        with RichDisplay(console) as display:
            progress = Progress(display)
            with progress.task("reading [red]x\x1b[31m", 3) as advance:
                advance(1)
                advance(2)
            progress.note("a [bold]choice")
            progress.note("careful", warning=True)
            display.end("a long task", 12.34)
        shown = stream.getvalue()
        assert "a [bold]choice" in shown
        assert "Warning: careful" in shown
        assert "a long task: 12.3 s" in shown
        assert ("reading [red]x" in shown) == terminal
        assert terminal or "\x1b" not in shown
        assert set(progress.seconds) == {"reading [red]x\x1b[31m"}


def test_exported_files_keep_their_relative_paths(filled: FilledStore, tmp_path: Path) -> None:
    from fi_store.store import Store

    file = filled.path.parent / "reports" / "r" / "report.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    with Store.open(filled.path, read_only=True) as store:
        assert workflow.export(store, [file], filled.path.parent) == [file]
        assert workflow.export(store, [file], tmp_path) == [tmp_path / "reports" / "r" / "report.md"]
