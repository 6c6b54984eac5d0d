"""The README is true: its blocks run (hub names mapped to tiny local models), its lists are complete, its links lead.

The blocks run in order in one folder, as a reader would type them, on fewer prompts and with small dictionaries.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.main import get_command

from fi_store import api
from fi_store.cli import app
from fi_store.config import make_config
from fi_store.prompts import load_suite
from fi_store.shipped import shipped
from tests.helpers import ROOT
from tests.helpers.command import fi_store
from tests.helpers.tiny import TinyModels

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SMALL: dict[str, Any] = {
    "limit_per_category": 3, "shams": 1, "candidates": 3, "n_latents": 32, "k": 4, "dictionary_steps": 15,
    "dictionary_batch": 64, "max_new_tokens": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py, which is a program and not part of a package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def reader(tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A folder with what the README's reader has, and the names that stand for something else here."""
    for name in ("my-finetune", "my-adapter"):
        shutil.copytree(tiny_models.planted, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FI_STORE", raising=False)
    return {
        "HuggingFaceTB/SmolLM2-135M-Instruct": str(tiny_models.llama),
        "bundled:smollm2": str(tiny_models.llama),
    }


def mapped(text: str, names: dict[str, str]) -> str:
    for name, place in names.items():
        text = text.replace(name, place)
    return text


def blocks(language: str) -> list[str]:
    found = [text for kind, text in BLOCKS if kind == language]
    assert found, language
    return found


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "toml", "yaml", "python", "text"}


def test_make_has_the_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert blocks("sh")[0].splitlines() == ["make demo", "make test"]
    named = set(
        re.findall(r"`make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    )
    assert named <= targets


def test_the_commands_run(reader: dict[str, str]) -> None:
    for text in (*blocks("toml"), *blocks("yaml")):
        Path(text.splitlines()[0].removeprefix("# ")).write_text(mapped(text, reader), encoding="utf-8")
    small = [word for name, value in SMALL.items() for word in ("--" + name.replace("_", "-"), str(value))]
    runs: list[str] = []
    for line in filter(None, "\n".join(blocks("sh")[1:]).splitlines()):
        words = shlex.split(mapped(line, reader))
        assert words[0] == "fi-store", line
        if words[1] in ("run", "ingest") and "--resume" not in words:
            words += small
        if "compare" in words or "archive" in words:
            names = {"EARLIER": runs[0], "LATER": runs[-1]}
            words = [names.get(word, word) for word in words]
        result = fi_store(*words[1:])
        assert result.code == 0, f"{line}\n{result.err}"
        if words[1] in ("run", "ingest", "analyze") and "--dry-run" not in words:
            runs = re.findall(
                r"^(\S+-\S+)$", fi_store("sql", "select id from run order by id", "--format", "csv").out, re.M
            )
    assert len(runs) == 4
    assert Path("features.csv").is_file()
    assert Path("monday.bak").is_file()


def test_the_python_runs(reader: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def small(file: Path | None, **options: Any) -> Any:
        return make_config(file, **{**SMALL, "limit_per_category": 8, **options})

    monkeypatch.setattr(api, "make_config", small)
    for text in blocks("python"):
        exec(compile(mapped(text, reader), "README.md", "exec"), {})  # noqa: S102  (our own documentation)
    assert len(list(Path("project/reports").glob("*/report.html"))) == 2
    assert len(list(Path("report/reports").glob("*/report.*"))) == 2
    assert list(Path("charts/visualizations").glob("*/*.png"))


def test_the_other_blocks_are_accepted(tmp_path: Path) -> None:
    for text in blocks("toml"):
        assert make_config(None, **tomllib.loads(text))
    for text in blocks("yaml"):
        assert yaml.safe_load(text)
        file = tmp_path / "prompts.yaml"
        file.write_text(text, encoding="utf-8")
        assert load_suite([file]).prompts


def test_every_command_is_shown_and_every_option_documented(generate: ModuleType) -> None:
    documented = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert documented == generate.commands(), "run `make docs`"
    shell = "\n".join(blocks("sh"))
    for path, command in generate.walk(get_command(app), "fi-store"):
        assert f"## {path}\n" in documented
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help, f"{path} {parameter.name} has no help"
        group = " ".join(path.split()[:2])
        assert re.search(rf"^{group}\b", shell, re.MULTILINE) or group == "fi-store demo", (
            f"{path} is not in the README"
        )


def test_the_file_tree_is_complete(generate: ModuleType) -> None:
    """One line for every file; `make docs` writes it."""
    assert generate.with_tree(README) == README, "run `make docs`"


def test_links_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
            if not link.startswith("https://"):
                assert (ROOT / link).is_file(), f"{page}: {link}"


def test_the_readme_keeps_its_promises_in_figures() -> None:
    """Figures that the README states about what ships."""
    assert re.search(r"in (\d+) packages", README)
    assert (shipped("organisms") / "demo.json").is_file()
    questions = re.findall(r"^\*\*(\d)\. .+\?\*\*", README, re.MULTILINE)
    assert questions == list("1234567")
