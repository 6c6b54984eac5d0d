"""The hit rule: does a finding name what a card says was planted? organisms/README.md states the rule."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
"""A row of the saved query `top_findings`."""

ORGANISMS = Path(__file__).parent / "organisms"
MIRROR = {
    "added": "removed", "removed": "added", "strengthened": "weakened", "weakened": "strengthened",
    "redirected": "redirected", "shared": "shared", "undetermined": "undetermined",
    "promoted_tokens": "suppressed_tokens", "suppressed_tokens": "promoted_tokens",
}  # fmt: skip
LISTED = 10
"""Tokens and words of a finding that count, strongest first."""
NEEDED = 2
"""Expected tokens that must be among them."""
LETTERS = 4
"""Letters that a token needs to match as the beginning of another."""


@dataclass(frozen=True)
class Expected:
    """What a finding must show; `side` is the list that holds the planted words (suppressed in a mirrored pair)."""

    change: tuple[str, ...]
    categories: tuple[str, ...]
    tokens: tuple[str, ...]
    concepts: tuple[str, ...]
    side: str = "promoted_tokens"


@dataclass(frozen=True)
class Card:
    """One organism: `kind` is behavior or null, `target` its adapter folder, `parts` its behaviors if several."""

    name: str
    base: str
    target: Path
    kind: str
    expected: Expected
    parts: tuple[Expected, ...] = ()

    def turned(self) -> Card:
        """What the same organism expects when base and target change sides."""
        return replace(self, expected=mirrored(self.expected), parts=tuple(map(mirrored, self.parts)))


def read_card(folder: Path) -> Card:
    """The card of an organism's folder."""
    content = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    expected, *parts = (_expected(part) for part in (content["expected"], *content.get("parts", ())))
    kind = content["kind"].replace("behaviour", "behavior")  # older cards use the British spelling
    return Card(content["name"], content["base"], folder / content["adapter"], kind, expected, tuple(parts))


def _expected(part: Mapping[str, Sequence[str]]) -> Expected:
    change, categories, tokens, concepts = (
        tuple(part[name]) for name in ("change", "categories", "tokens", "concepts")
    )
    return Expected(change, categories, tokens, concepts)


def read_cards(folders: Sequence[Path], kind: str) -> list[Card]:
    """The cards of one kind in these folders (organisms, or folders of organisms); without any, the shipped ones."""
    found = [
        path.parent
        for folder in folders or (ORGANISMS,)
        for path in (
            [folder / "card.json"] if (folder / "card.json").exists() else sorted(folder.glob("*/card.json"))
        )
    ]
    return [card for card in map(read_card, found) if card.kind == kind]


def mirrored(expected: Expected) -> Expected:
    """What the same behavior looks like when base and target change sides."""
    change = tuple(MIRROR[name] for name in expected.change)
    return replace(expected, change=change, side=MIRROR[expected.side])


def matches(token: str, expected: str) -> bool:
    """Equal, or one begins with the other and the shorter has at least four letters."""
    a, b = sorted((token.strip().casefold(), expected.strip().casefold()), key=len)
    return a == b or (len(a) >= LETTERS and b.startswith(a))


def shows(words: Sequence[str], expected: Expected) -> bool:
    """The token rule: at least two different expected tokens match among these words."""
    return sum(any(matches(word, token) for word in words) for token in set(expected.tokens)) >= NEEDED


def hits(row: Row, expected: Expected) -> bool:
    """Whether one finding hits."""
    pushed = row[expected.side][:LISTED]
    category = any(name in expected.categories for name in row["categories"][:1])
    name = _own_words(row["name"], pushed)
    concept = any(part.casefold() in name for part in expected.concepts)
    evidence = shows([*pushed, *row["words"][:LISTED]], expected)
    return row["change"] in expected.change and evidence and (category or concept)


def hit_at(rows: Sequence[Row], expected: Expected, k: int) -> bool:
    """Whether one of the first k findings hits."""
    return any(hits(row, expected) for row in rows[:k])


def parts_hit(rows: Sequence[Row], parts: Sequence[Expected], k: int) -> bool:
    """Whether each part is hit by a finding of its own among the first k."""
    return any(
        all(hits(row, part) for row, part in zip(chosen, parts, strict=True))
        for chosen in permutations(rows[:k], len(parts))
    )


@cache
def category_names() -> frozenset[str]:
    """The shipped category names, as the last section of organisms/README.md lists them."""
    text = (ORGANISMS / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Category names\n")[2].partition("\n\n")[0]
    return frozenset(re.findall(r"[a-z]+(?:_[a-z]+)+", section))


def _own_words(name: str, pushed: Sequence[str]) -> str:
    """A name in lower case, without words of category names unless they are also among the pushed tokens."""
    tokens = {token.strip().casefold() for token in pushed}
    borrowed = {word for category in category_names() for word in category.split("_")} - tokens
    return re.sub(r"[^\W_]+", lambda match: "" if match[0] in borrowed else match[0], name.casefold())
