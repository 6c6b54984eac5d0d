"""The pipeline knows no organism: no literal in its code names an organism's categories or distinctive words."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from tests.helpers import ROOT

CARDS = sorted((ROOT / "bench" / "planted" / "organisms").glob("*/card.json"))
MODULES = sorted(
    path for folder in ("extract", "analyze", "render") for path in (ROOT / folder).rglob("*.py")
)
EVERYDAY = {
    "answer",
    "final",
    "source",
    "argument",
    "number",
    "valid",
    "null",
    "steps",
    "certain",
    "described",
    "space",
    "sample",
    "probability",
}
"""Words on the cards that any program uses; all others must not appear."""


def literals(path: Path) -> list[str]:
    """All string constants of a module except its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


def test_there_are_cards_and_modules() -> None:
    assert len(CARDS) >= 4
    assert len(MODULES) > 30


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.parent.name)
def test_no_literal_knows_the_card(card: Path) -> None:
    content = json.loads(card.read_text(encoding="utf-8"))
    planted = [content["expected"], *content.get("parts", ())]
    words_of = (word for each in planted for word in (*each["tokens"], *each["categories"]))
    forbidden = {word.casefold() for word in words_of} - EVERYDAY
    for path in MODULES:
        words = {word for text in literals(path) for word in re.findall(r"[a-z_]+", text.casefold())}
        assert not forbidden & words, path
