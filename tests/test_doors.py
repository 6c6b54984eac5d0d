"""Which module may import which, checked in the sources and in the modules that a fresh process loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fi_store
from tests.helpers import ROOT

ROOMS = ("extract", "analyze", "render")
PACKAGES = (*ROOMS, "fi_store")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ABOVE_THE_FLOOR = ("__init__.py", "__main__.py", "cli", "api.py", "workflow.py")
"""The parts of fi_store that may call the rooms (inside functions)."""
HEAVY = ("torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "altair")
LIGHT = {"typer", "rich", "fi_store"}
"""What the command line may import at module level, besides the standard library."""


def module_name(path: Path) -> str:
    """`fi_store.store` for fi_store/store/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}
FACES = {name for name, path in MODULES.items() if path.name == "__init__.py" and "." in name}
"""The sub-packages, by their faces; a room's own `__init__` exports nothing."""


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module (full dotted name), and whether it is imported together with the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {id(inner) for node in ast.walk(tree) if _is_late(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in late
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in MODULES else node.module or ""), id(node) not in late


def _is_late(node: ast.AST) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return True
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def past_a_door(importer: str, imported: str) -> str | None:
    """The face that an import bypasses: it names a module inside a sub-package that does not contain the importer."""
    inside = [face for face in FACES if imported.startswith(f"{face}.") and imported not in FACES]
    closed = [face for face in inside if importer != face and not importer.startswith(f"{face}.")]
    return max(closed, key=len, default=None)


def sub_package(module: str) -> str:
    """The sub-package that a module belongs to, or the module itself if it is directly in a room."""
    return ".".join(module.split(".")[:2])


def test_there_are_sources() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)
    assert len(FACES) > 15


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
def test_imports_go_through_faces(path: Path) -> None:
    """Other sub-packages are imported through their faces; within a sub-package, modules import one another."""
    for module, _ in imports(path):
        face = past_a_door(module_name(path), module)
        assert face is None, f"{path} imports {module}; import it from {face}"


def test_a_bypassed_face_would_be_noticed() -> None:
    assert past_a_door("analyze.pipeline", "fi_store.store.engine") == "fi_store.store"
    assert past_a_door("analyze.pipeline", "fi_store.store.tables.runs") == "fi_store.store.tables"
    assert past_a_door("analyze.pipeline", "fi_store.store.tables") is None  # a face of its own
    assert past_a_door("fi_store.store.query", "fi_store.store.engine") is None


@pytest.mark.parametrize("face", sorted(FACES - {"fi_store.cli"}))
def test_a_face_exports_what_it_lists(face: str) -> None:
    """A face imports only from its own package, and lists every name that it imports."""
    tree = ast.parse(MODULES[face].read_text(encoding="utf-8"))
    taken = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module != "__future__"]
    assert all(node.module is not None and node.module.startswith(f"{face}.") for node in taken)
    (listed,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    assert sorted(alias.name for node in taken for alias in node.names) == sorted(ast.literal_eval(listed))


def test_sub_packages_do_not_import_in_circles() -> None:
    needs: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        ours = {sub_package(module) for module, _ in imports(path) if module in MODULES}
        needs.setdefault(sub_package(name), set()).update(ours - {sub_package(name), "fi_store"})
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        pytest.fail(f"circular imports: {' -> '.join(error.args[1])}")
    assert order.index("fi_store.errors") < order.index("fi_store.store") < order.index("analyze.pipeline")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"


def modules_after(statement: str) -> set[str]:
    """The modules loaded in a fresh process after a statement."""
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


def test_a_model_reference_is_checked_without_torch() -> None:
    """A typo in a reference is refused at once, not after seconds of imports."""
    found = modules_after("from extract.models import parse_reference; parse_reference('bundled:smollm2')")
    assert "extract.models.references" in found
    assert not {"torch", "transformers", "peft"} & found


def test_the_public_names_are_complete() -> None:
    for name in fi_store.__all__:
        assert getattr(fi_store, name) is not None
    assert dir(fi_store) == sorted(fi_store.__all__)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        fi_store.absent  # noqa: B018


def test_the_store_face_keeps_its_names() -> None:
    """Users' scripts import these names."""
    from fi_store.store import Store, add_missing, append_event, now, write_facts

    assert all(map(callable, (Store, add_missing, append_event, now, write_facts)))
