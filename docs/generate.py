"""Writes what documents itself: the folders in README.md, docs/files.md and docs/commands.md. Run by `make docs`.

The line of a file is the first sentence of its own docstring, heading or front matter, the line of a folder that of its
`__init__.py`; the commands come from the command line's own help. A test checks that all of it is up to date.
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

from typer.main import get_command

from fi_store.cli import app

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMANDS = ROOT / "docs" / "commands.md"
FILES = ROOT / "docs" / "files.md"
BEGIN, END = "<!-- folders: written by docs/generate.py -->\n", "<!-- end of folders -->\n"
WIDTH = 100
TOP = "the top folder"
GIVEN = {
    ".ci/run": "Installs the system packages that tests need and runs all checks",
    ".gitignore": "What is generated, not written",
    "CHANGELOG.md": "What changed, for those who use it",
    "CONTRIBUTING.md": "How to change it, on one page",
    "LICENSE": "Apache-2.0",
    "Makefile": "make demo, make test and the rest",
    "README.md": "What fi-store is and how to use it",
    "alembic.ini": "Alembic's settings, for those who write migrations",
    "bench/peers-dictionary.lock": "What the trainer is compared with, pinned with hashes",
    "bench/planted/organisms/demo.json": "Which of the folders here the demo compares",
    "docs/report.png": "The picture of a report in README.md",
    "pyproject.toml": "The package, its dependencies and the tools' settings",
    "requirements.lock": "Every dependency with its version and hashes, made by make lock",
    "extract/naming/prompt.j2": "What a language model is asked about a finding",
    "migrations/script.py.mako": "The form of a new migration",
    "prompts/concepts.yaml": "The concept bank: what features are named with, from the literature's taxonomies",
    "prompts/schema.json": "The format of prompt files as a JSON Schema, for editors and other programs",
    "render/templates/ability.html.j2": "The page's section on right answers",
    "render/templates/ability.md.j2": "The same in Markdown",
    "render/templates/behaviors.html.j2": "The page's section on what the answers do differently",
    "render/templates/behaviors.md.j2": "The same in Markdown",
    "render/templates/card.html.j2": "A finding's card on the page",
    "render/templates/contents.html.j2": "The page's list of contents",
    "render/templates/findings.html.j2": "The page's sections on findings, also of version 1, and what nothing carries",
    "render/templates/findings.md.j2": "The same in Markdown",
    "render/templates/layers.html.j2": "The page's section on where the difference forms",
    "render/templates/limits.html.j2": "The page's section on what the run could and could not have seen",
    "render/templates/limits.md.j2": "The same in Markdown",
    "render/templates/method.html.j2": "The page's method and limits",
    "render/templates/parts.html.j2": "Pieces that the page repeats: a result, a figure, a table",
    "render/templates/provenance.html.j2": "The page's models, versions and timings",
    "render/templates/report.css": "How the page looks, in a light and a dark form",
    "render/templates/report.html.j2": "The HTML report",
    "render/templates/report.js": "Draws the page's charts from the JSON beside them",
    "render/templates/report.md.j2": "The Markdown report",
}
"""Files that cannot say it themselves."""
FOLDERS = {
    "fi_store/": "The floor: configuration, workflow, the Python functions, and what all rooms share",
    "migrations/": "The schema of a store, revision by revision",
    "prompts/": "The prompts that ship, and the concepts that results are named with",
    "render/templates/": "What the report's page and its Markdown look like",
    "docs/": "Tutorial, how-to guide, reference, explanations",
    "tests/": "Tests, in the same folders as what they test; helpers in `tests/helpers/`",
}
"""Folders that are no packages, or whose package has nothing to say."""
INSIDE = ("fi_store/", "extract/", "analyze/", "render/")
"""Folders whose sub-folders are shown in README.md."""


def tracked() -> list[str]:
    """The files of the repository, sorted."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return sorted(name for name in set(names) if name and (ROOT / name).is_file())


def folders() -> str:
    """The folders of the repository as one block: one line each, sub-folders of the packages indented."""
    found = {
        f"{parent}/" for name in tracked() for parent in Path(name).parents if str(parent) not in (".", ".ci")
    }
    shown = [
        name
        for name in sorted(found)
        if name.count("/") == 1 or (name.count("/") == 2 and name.startswith(INSIDE))
    ]
    rows = []
    for name in shown:
        depth = name.count("/") - 1
        rows.append(f"{'  ' * depth + name.split('/')[-2] + '/':<17} {folder_line(name)}")
    return "```text\n" + "\n".join(rows) + "\n```\n"


def folder_line(name: str) -> str:
    """What a folder is for: the first sentence of its package."""
    if name in FOLDERS:
        return FOLDERS[name]
    text = (ROOT / name / "__init__.py").read_text(encoding="utf-8")
    return first_sentence(ast.get_docstring(ast.parse(text)) or "")


def tree() -> str:
    """docs/files.md: a block for each folder, a line for each file."""
    lines = {name: line for name in tracked() if (line := describe(name)) is not None}
    blocks = ["# Files\n\nEvery file, in the words of the file itself. Written by `make docs`.\n"]
    for title, chosen in _folders(list(lines)).items():
        short = {name: name if title == TOP else name.removeprefix(title) for name in chosen}
        width = max(map(len, short.values()))
        rows = [f"{short[name].ljust(width)}  {lines[name]}" for name in chosen]
        blocks.append(f"## {title}\n\n```text\n" + "\n".join(rows) + "\n```\n")
    return "\n".join(blocks)


def _folders(names: list[str]) -> dict[str, list[str]]:
    """Folder -> its files, the top folder first."""
    found: dict[str, list[str]] = {TOP: []}
    for name in names:
        folder = str(Path(name).parents[1 if name.endswith("card.json") else 0])
        found.setdefault(TOP if folder in (".", ".ci") else folder + "/", []).append(name)
    return found


def describe(name: str) -> str | None:
    """One line on a file; None for those that have none of their own (weights, type markers, an organism's card)."""
    path = ROOT / name
    if name in GIVEN:
        return GIVEN[name]
    if name.endswith(("py.typed", ".safetensors", "adapter_config.json")) or path.stat().st_size == 0:
        return None
    if name.endswith(".py"):
        return first_sentence(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    if name.endswith(".sql"):
        return first_sentence(_after("-- description: ", path))
    if name.endswith(".yaml"):
        return first_sentence(_after("description: ", path).strip('"'))
    if name.endswith(".md"):
        return _after("# ", path)
    if name.endswith("card.json"):
        return "What was planted in the adapter beside it"
    raise SystemExit(f"docs/generate.py does not know how to describe {name}; say it in GIVEN")


def _after(start: str, path: Path) -> str:
    """What follows `start` on the first line that begins with it."""
    return next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(start))[
        len(start) :
    ]


def first_sentence(text: str) -> str:
    """The first sentence on one line; a long one is cut after its last clause that fits."""
    flat = " ".join(text.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[a-z0-9`)])[.](?:\s|$)", flat)[0].rstrip(".")
    if len(sentence) <= WIDTH:
        return sentence
    cuts = [found.start() for found in re.finditer(r"[,:;] ", sentence) if 20 <= found.start() <= WIDTH]
    return sentence[: cuts[-1]] if cuts else sentence[: sentence.rindex(" ", 0, WIDTH)] + " ..."


def commands() -> str:
    """Every command with every argument and option, in the words of `--help`."""
    parts = [
        "# Commands\n",
        "Every command, argument and option. Written by `make docs` from what `--help` says.\n",
        "`RUN` is a run's id, a unique beginning of it, or `latest`. Exit codes: 0, 1 for a failure, 2 for wrong "
        "usage, 130 when interrupted. `--debug` shows the traceback of an error, in any command.\n",
    ]
    root: Any = get_command(app)
    for path, command in walk(root, "fi-store"):
        parts.append(f"## {path}\n")
        parts.append(re.sub(r"\s+", " ", command.help or "").strip() + "\n")
        rows = [row for parameter in command.params if (row := _row(parameter)) is not None]
        if rows:
            parts.append("| | |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def walk(command: Any, path: str) -> list[tuple[str, Any]]:
    """Every command below (and with) this one that does something by itself, with its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(path, command)]
    return [found for name, below in inner.items() for found in walk(below, f"{path} {name}")]


def _row(parameter: Any) -> str | None:
    if parameter.name == "help":
        return None
    if parameter.param_type_name == "argument":
        return f"| `{parameter.metavar or parameter.name.upper()}` | {parameter.help or ''} |"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    text = (parameter.help or "").replace("|", "\\|")
    return f"| {names} | {text} |"


def with_folders(readme: str) -> str:
    """The README with a fresh list of folders between its two marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{folders()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_folders(README.read_text(encoding="utf-8")), encoding="utf-8")
    FILES.write_text(tree(), encoding="utf-8")
    COMMANDS.write_text(commands(), encoding="utf-8")
