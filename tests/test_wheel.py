"""The wheel contains everything that the installed package needs, and the package runs from where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into its own folder on top of this environment, without a second torch."""
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *options, str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return target


def run(installed: Path, *arguments: str, cwd: Path) -> str:
    """Runs a command of the installed package in a folder where the checkout cannot be imported."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    environment.pop("FI_STORE", None)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_code_data_and_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    needed = {
        *(f"{package}/py.typed" for package in ("fi_store", "extract", "analyze", "render")),
        *(f"fi_store/data/prompts/{name}.yaml" for name in ("reasoning", "broad", "controls")),
        *(f"fi_store/data/prompts/{name}" for name in ("schema.json", "README.md")),
        "fi_store/data/migrations/env.py",
        "fi_store/store/queries/top_findings.sql",
        "fi_store/data/organisms/demo.json",
        "render/templates/report.html.j2",
    }
    assert needed <= names
    assert any(name.startswith("fi_store/data/migrations/versions/") for name in names)
    cards = {
        name for name in names if name.startswith("fi_store/data/organisms/") and name.endswith("card.json")
    }
    assert len(cards) >= 4
    for card in cards:
        assert card.replace("card.json", "adapter/adapter_model.safetensors") in names
    assert any(name.endswith("licenses/LICENSE") for name in names)

    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("fi_store", "extract", "analyze", "render")
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules <= names, "every module of the four packages is shipped"
    assert not any(name.startswith(("tests/", "bench/", "docs/")) or "__pycache__" in name for name in names)


def test_the_installed_package_finds_its_data(installed: Path, tmp_path: Path) -> None:
    script = (
        "import fi_store, fi_store.shipped as s, fi_store.store.query as q, render\n"
        "print(fi_store.__file__); print(render.__file__)\n"
        "print(*(s.shipped(name) for name in ('prompts', 'migrations', 'organisms')), sep='\\n'); print(q.FOLDER)"
    )
    paths = run(installed, "-c", script, cwd=tmp_path).splitlines()
    assert len(paths) == 6
    assert all(Path(path).is_relative_to(installed) for path in paths), paths


def test_the_installed_command_works(installed: Path, tmp_path: Path) -> None:
    assert "Commands:" in run(installed, "-m", "fi_store", "--help", cwd=tmp_path)
    assert "formal_logic" in run(installed, "-m", "fi_store", "prompts", cwd=tmp_path)
    assert "top_findings" in run(installed, "-m", "fi_store", "query", cwd=tmp_path)
    store = str(tmp_path / "new.duckdb")
    assert "has schema" in run(installed, "-m", "fi_store", "db", "upgrade", "--store", store, cwd=tmp_path)
    assert "no problems" in run(installed, "-m", "fi_store", "verify", "--store", store, cwd=tmp_path)
    rows = run(
        installed, "-m", "fi_store", "sql", "select count(*) as n from run", "--store", store, cwd=tmp_path
    )
    assert "0" in rows
