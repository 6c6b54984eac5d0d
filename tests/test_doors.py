"""Who may import whom: read from the sources, and from the modules that a fresh process really loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fi_store
from tests.helpers import ROOT

ROOMS = ("extract", "analyze", "render")
SOURCES = sorted(path for package in (*ROOMS, "fi_store") for path in (ROOT / package).rglob("*.py"))
ABOVE_THE_FLOOR = ("__init__.py", "__main__.py", "cli", "api.py", "workflow.py")
"""What stands in fi_store and may call the rooms (inside functions)."""
HEAVY = ("torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "altair")
LIGHT = {"typer", "rich", "fi_store"}
"""What the command line may import at module level, beside the standard library."""


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module (full dotted name) and whether it is imported when the file is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {id(inner) for node in ast.walk(tree) if _is_late(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in late
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) not in late


def _is_late(node: ast.AST) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return True
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_there_are_sources() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == {*ROOMS, "fi_store"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    room = parts[0]
    for module, now in imports(path):
        top = module.split(".")[0]
        if room in ROOMS:
            assert top not in set(ROOMS) - {room}, f"{room} imports {module}"
            assert not module.startswith(("fi_store.cli", "fi_store.api", "fi_store.workflow")), module
        elif parts[1] in ABOVE_THE_FLOOR:
            assert not (top in ROOMS and now), f"{path}: {module} at module level"
        else:
            assert top not in ROOMS, f"the floor imports {module}"
            assert not module.startswith(("fi_store.cli", "fi_store.api", "fi_store.workflow")), module
        if room == "fi_store":
            assert not (top in HEAVY and now), f"{path}: {module} at module level"
        if parts[:2] == ("fi_store", "cli") or parts == ("fi_store", "__init__.py"):
            assert not now or top in LIGHT or top in sys.stdlib_module_names, (
                f"{path}: {module} at module level"
            )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh process has loaded after a statement."""
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement", ["import fi_store", "import fi_store.cli", "from fi_store.cli import main; main(['--help'])"]
)
def test_the_command_line_loads_nothing_heavy(statement: str) -> None:
    heavy = {
        *HEAVY,
        "sqlalchemy",
        "alembic",
        "duckdb",
        "pydantic",
        "numpy",
        "pyarrow",
        "yaml",
        "jinja2",
        "pandas",
    }
    assert not heavy & modules_after(statement)


def test_the_public_names_exist_and_are_all() -> None:
    for name in fi_store.__all__:
        assert getattr(fi_store, name) is not None
    assert dir(fi_store) == sorted(fi_store.__all__)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        fi_store.absent  # noqa: B018
