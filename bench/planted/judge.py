"""The hit rule: does a result name what a card says was planted? organisms/README.md states the rule."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
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
SAME = (
    "rank", "tier", "categories", "trigger_tokens", "layers", "position_class", "scope", "floor", "p_value",
    "q_value", "n_units", "named", "category_p", "rate_p", "causal_status",
)  # fmt: skip
"""Fields of a result that do not depend on which model is the base."""
TURNED = {"effect": "effect", "ci_low": "ci_high", "ci_high": "ci_low",
          "log2_ratio": "log2_ratio", "log2_low": "log2_high", "log2_high": "log2_low"}  # fmt: skip
"""Field -> the field whose negated number it holds when the models change places."""
LISTED = 10
"""Tokens of a result that count, strongest first."""
NEEDED = 2
"""Expected tokens that must be among them."""
LETTERS = 4
"""Letters that a token needs to match as the beginning of another."""


@dataclass(frozen=True)
class Expected:
    """What a result must show; `side` is the list that holds the planted words (suppressed in a mirrored pair)."""

    change: tuple[str, ...]
    categories: tuple[str, ...]
    tokens: tuple[str, ...]
    concepts: tuple[str, ...]
    side: str = "promoted_tokens"


@dataclass(frozen=True)
class Card:
    """One organism: `kind` is behavior or null, `target` is its adapter folder."""

    name: str
    base: str
    target: Path
    kind: str
    expected: Expected


def read_card(folder: Path) -> Card:
    """The card of an organism's folder."""
    content = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    parts = {name: tuple(values) for name, values in content["expected"].items()}
    expected = Expected(parts["change"], parts["categories"], parts["tokens"], parts["concepts"])
    kind = content["kind"].replace("behaviour", "behavior")  # older cards use the British spelling
    return Card(content["name"], content["base"], folder / content["adapter"], kind, expected)


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
    """What the same organism expects when base and target change places."""
    change = tuple(MIRROR[name] for name in expected.change)
    return replace(expected, change=change, side=MIRROR[expected.side])


def are_mirrored(rows: Sequence[Row], others: Sequence[Row]) -> bool:
    """Whether the exchanged pair's results are these with the models' places changed, to the last bit."""
    return len(rows) == len(others) and all(
        other[name] == value
        for row, other in zip(rows, others, strict=True)
        for name, value in _turned(row).items()
    )


def _turned(row: Row) -> dict[str, Any]:
    """What a result must be when base and target change places, without the sentences that name the models."""
    numbers = {name: row[source] if row[source] is None else -row[source] for name, source in TURNED.items()}
    words = {name: row[MIRROR[name]] for name in ("promoted_tokens", "suppressed_tokens")}
    rates = {"rate_base": row["rate_target"], "rate_target": row["rate_base"]}
    return {
        **{name: row[name] for name in SAME},
        **numbers,
        **words,
        **rates,
        "change": MIRROR[row["change"]],
    }


def matches(token: str, expected: str) -> bool:
    """Equal, or one begins with the other and the shorter has at least four letters."""
    a, b = sorted((token.strip().casefold(), expected.strip().casefold()), key=len)
    return a == b or (len(a) >= LETTERS and b.startswith(a))


def hits(row: Row, expected: Expected) -> bool:
    """Whether one result hits."""
    listed = row[expected.side][:LISTED]
    tokens = {word for word in expected.tokens if any(matches(token, word) for token in listed)}
    strongest = row["categories"][:1]
    category = any(name in expected.categories for name in strongest)  # never, if the card has none
    name = _own_words(row["name"], listed)
    concept = any(part.casefold() in name for part in expected.concepts)
    return row["change"] in expected.change and len(tokens) >= NEEDED and (category or concept)


def hit_at(rows: Sequence[Row], expected: Expected, k: int) -> bool:
    """Whether one of the first k results hits."""
    return any(hits(row, expected) for row in rows[:k])


def permuted_hits(rows: Sequence[Row], expected: Expected, k: int, *, draws: int, seed: int) -> float:
    """Share of hits at k with shuffled category names: what a result does not owe to its category."""
    names = sorted(category_names())
    generator = random.Random(seed)
    n_hits = 0
    for _ in range(draws):
        shuffled = dict(zip(names, generator.sample(names, len(names)), strict=True))
        n_hits += hit_at([with_categories(row, shuffled) for row in rows[:k]], expected, k)
    return n_hits / draws


def with_categories(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    """A result with its categories renamed; a category that `names` lacks keeps its name."""
    return {**row, "categories": [names.get(name, name) for name in row["categories"]]}


@cache
def category_names() -> frozenset[str]:
    """The shipped category names, as the last section of organisms/README.md lists them."""
    text = (ORGANISMS / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Category names\n")[2].partition("\n\n")[0]
    return frozenset(re.findall(r"[a-z]+(?:_[a-z]+)+", section))


def _own_words(name: str, listed: Sequence[str]) -> str:
    """A name in lower case, without words of category names unless they are also among the listed tokens."""
    tokens = {token.strip().casefold() for token in listed}
    borrowed = {word for category in category_names() for word in category.split("_")} - tokens
    return re.sub(r"[^\W_]+", lambda match: "" if match[0] in borrowed else match[0], name.casefold())
