"""The README is true: its blocks run (hub names mapped to tiny local models), its lists are complete, its links work.

The blocks run in order in one folder, as a reader would type them, on fewer prompts and with small dictionaries. What
the other pages show is parsed by the command line, or run where it is Python.
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
from typer.exceptions import TyperException
from typer.main import get_command

from fi_store import api
from fi_store.cli import app
from fi_store.config import make_config
from fi_store.prompts import load_suite
from fi_store.shipped import shipped
from fi_store.store.tables import Base
from fi_store.vocabulary import POSITION_CLASSES
from tests.helpers import ROOT
from tests.helpers.command import fi_store
from tests.helpers.tiny import TinyModels

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)
GUIDES = ("docs/tutorial.md", "docs/how-to.md")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "prompts/README.md",
    *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))),
)
SMALL: dict[str, Any] = {
    "limit_per_category": 3, "candidates": 3, "n_latents": 32, "k": 4, "dictionary_steps": 15,
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


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


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
    for text in (
        *blocks("python"),
        *(text for kind, text in BLOCK.findall(page("docs/how-to.md")) if kind == "python"),
    ):
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


def test_every_folder_and_every_file_is_listed(generate: ModuleType) -> None:
    """One line for each; `make docs` writes them."""
    assert generate.with_folders(README) == README, "run `make docs`"
    assert generate.tree() == page("docs/files.md"), "run `make docs`"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 260


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guides_show_commands_that_exist(guide: str) -> None:
    """Every line is parsed as the command line would, options and values included; nothing runs."""
    lines = [line for kind, text in BLOCK.findall(page(guide)) if kind == "sh" for line in text.splitlines()]
    assert len(lines) > 5
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "fi-store", line
        command: Any = get_command(app)
        while hasattr(command, "commands"):
            if hasattr(command, "meant") and (not words or words[0] not in command.commands):
                words = [command.meant, *words]
            command, words = command.commands[words[0]], words[1:]
        command.make_context(line, words)


def test_a_command_that_does_not_exist_would_be_seen() -> None:
    with pytest.raises(TyperException, match="no-such-option"):
        get_command(app).commands["run"].make_context("run", ["--no-such-option"])


def test_links_lead_somewhere() -> None:
    for name in PAGES:
        for link, _, anchor in re.findall(r"\]\(([^)#]+)(#([^)]+))?\)", page(name)):
            if link.startswith("https://"):
                continue
            file = (ROOT / name).parent / link
            assert file.is_file(), f"{name}: {link}"
            if anchor:
                assert anchor in anchors(file.read_text(encoding="utf-8")), f"{name}: {link}#{anchor}"


def test_the_journey_names_code_that_exists() -> None:
    """Every name in `code` on that page is a path, a command, a table, or something that the packages define."""
    defined = {"code", "id", "ingest", *POSITION_CLASSES, *Base.metadata.tables}
    for package in ("fi_store", "extract", "analyze", "render"):
        for file in (ROOT / package).rglob("*.py"):
            defined |= set(
                re.findall(r"^(?:class|def) (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
            )
            defined |= {file.name, "/".join(file.parts[-2:]), file.stem}
    prose = re.sub(r"```.*?```", "", page("docs/journey.md"), flags=re.DOTALL)
    for name in re.findall(r"`([^`]+)`", prose):
        assert name in defined or (ROOT / name).exists() or name.startswith("fi-store "), name


def anchors(text: str) -> set[str]:
    """The anchors that a Markdown page's headings get."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_keeps_its_promises_in_figures() -> None:
    """Figures that the README states about what ships."""
    assert re.search(r"in (\d+) packages", README)
    assert (shipped("organisms") / "demo.json").is_file()
    questions = re.findall(r"^\*\*(\d)\. .+\?\*\*", README, re.MULTILINE)
    assert questions == list("1234567")
