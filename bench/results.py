"""The format of a results file: versions, figures with their goals, and the raw numbers behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fi_store.versions import recorded_versions


@dataclass(frozen=True)
class Figure:
    """One measured number and its goal."""

    name: str
    value: float
    unit: str
    goal: str
    ok: bool | None  # None: there is no goal, or the run was too short to judge it
    detail: str = ""


@dataclass(frozen=True)
class PartResult:
    """What one part of a measurement found."""

    figures: list[Figure]
    raw: dict[str, Any]  # JSON values only


def read_raw(path: Path) -> dict[str, Any]:
    """The raw section of an earlier results file; empty if there is none."""
    if not path.exists():
        return {}
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["raw"]
    return raw


def write_results(path: Path, figures: Iterable[Figure], raw: dict[str, Any], **versions: str) -> None:
    """Writes the file atomically: a reader never sees half of it."""
    content = {
        "versions": recorded_versions() | versions,
        "figures": [asdict(figure) for figure in figures],
        "raw": raw,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def show(figure: Figure) -> str:
    """One line for people."""
    verdict = {True: "ok", False: "MISSED", None: "not judged"}[figure.ok]
    goal = f" (goal {figure.goal}: {verdict})" if figure.goal else ""
    detail = f"  {figure.detail}" if figure.detail else ""
    return f"{figure.name}: {figure.value:.4g} {figure.unit}{goal}{detail}"
