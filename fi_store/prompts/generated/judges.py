"""How generated prompts are graded, and which are left out because their answer cannot be trusted.

A `Judge` turns an item of a reasoning_gym generator into an answer and a grader as prompt files have them. The doubts
recompute an answer, or know when it depends on something that the question leaves open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, NamedTuple

Item = Mapping[str, Any]
"""An item of a generator: question, answer and metadata."""


class Judge(NamedTuple):
    """How an item's answer is compared: `read` returns the answer as a prompt file has it, and the grader."""

    kind: str
    read: Callable[[Item], tuple[str, dict[str, Any]]]


def number(tolerance: float = 0, *, percent: bool = False) -> Judge:
    grader: dict[str, Any] = {"kind": "number", "tolerance": tolerance}
    return Judge("number", lambda item: (item["answer"], grader | ({"percent": True} if percent else {})))


def choice(*options: str) -> Judge:
    return Judge(
        "choice", lambda item: (item["answer"].lower(), {"kind": "choice", "options": list(options)})
    )


def in_order(universe: Callable[[Item], list[str]], separator: str) -> Judge:
    """An ordered list; the generator writes its items with `separator` between them."""

    def read(item: Item) -> tuple[str, dict[str, Any]]:
        answer = ", ".join(item["answer"].split(separator))
        return answer, {"kind": "set", "universe": list(dict.fromkeys(universe(item))), "ordered": True}

    return Judge("set", read)


EXACT = Judge("exact", lambda item: (item["answer"], {"kind": "exact"}))
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
RELATIONS = (
    "mother", "father", "sister", "brother", "daughter", "son", "wife", "husband", "grandmother", "grandfather",
    "aunt", "uncle", "niece", "nephew", "mother-in-law", "father-in-law", "daughter-in-law", "son-in-law",
    "granddaughter", "grandson",
)  # fmt: skip


def row(item: Item) -> tuple[str, dict[str, Any]]:
    """All numbers of a puzzle row and no others; a pattern, because a row is too long for a grader of lists."""
    numbers = r"[\s,]+".join(item["answer"].split())
    return item["answer"], {"kind": "regex", "pattern": rf"(?:^|[^\d\s,])[\s\[]*{numbers}(?![\s,]*\d)"}


def date(item: Item) -> tuple[str, dict[str, Any]]:
    if item["answer"] in _WEEKDAYS:
        return item["answer"], {"kind": "choice", "options": list(_WEEKDAYS)}
    return (choice("yes", "no") if item["answer"] in ("Yes", "No") else number()).read(item)


def islanders(item: Item) -> tuple[str, dict[str, Any]]:
    kinds = item["metadata"]["knight_knave_terms"]
    universe = [
        f"{name} is {kinds[kind]}" for name in item["metadata"]["names"] for kind in ("a_knight", "a_knave")
    ]
    statements = item["answer"].rstrip(".").replace(" and ", " ")
    return statements, {"kind": "set", "universe": universe}


def color(item: Item) -> tuple[str, dict[str, Any]]:
    return choice(*item["metadata"]["initial_state"].values()).read(item)


def path_nodes(item: Item) -> list[str]:
    return sorted(set(re.findall(r"\d+", item["question"].rpartition("task:")[2])), key=int)


def syllogism_doubt(item: Item) -> str | None:
    """Recomputes the answer over all worlds, with and without the rule that no class is empty."""
    metadata = item["metadata"]
    premises = [_statement(metadata["premise1"]), _statement(metadata["premise2"])]
    conclusion = _statement(metadata["conclusion"])
    follows = {_follows(premises, conclusion, inhabited=inhabited) for inhabited in (True, False)}
    if len(follows) > 1:
        return "the answer depends on whether classes may be empty"
    return None if follows == {item["answer"] == "Yes"} else "the generator's answer is wrong"


def _statement(text: str) -> tuple[str, str, str]:
    """(quantifier, subject, predicate) of a statement such as "Some birds are not lawyers"."""
    found = re.fullmatch(r"(All|No|Some) (\w+) are (not )?(\w+)", text)
    if found is None:
        raise ValueError(f"not a statement: {text}")
    return found[1] + (" not" if found[3] else ""), found[2], found[4]


def _follows(
    premises: list[tuple[str, str, str]], conclusion: tuple[str, str, str], *, inhabited: bool
) -> bool:
    terms = sorted({term for statement in (*premises, conclusion) for term in statement[1:]})
    things = [
        frozenset(term for term, applies in zip(terms, chosen, strict=True) if applies)
        for chosen in product((False, True), repeat=len(terms))
    ]
    for number in range(1 << len(things)):
        world = [thing for bit, thing in enumerate(things) if number >> bit & 1]
        if inhabited and not all(any(term in thing for thing in world) for term in terms):
            continue
        if all(_holds(premise, world) for premise in premises) and not _holds(conclusion, world):
            return False
    return True


def _holds(statement: tuple[str, str, str], world: list[frozenset[str]]) -> bool:
    quantifier, subject, predicate = statement
    among = [predicate in thing for thing in world if subject in thing]
    return {"All": all(among), "No": not any(among), "Some": any(among)}.get(quantifier, not all(among))


def polygon_doubt(item: Item) -> str | None:
    return None if 0 < float(item["answer"]) < 180 else "no convex polygon has such an angle"


def fraction_doubt(item: Item) -> str | None:
    whole = item["metadata"]["simplified_denominator"] == 1
    return "a whole number, which needs no fraction" if whole else None


def letter_doubt(item: Item) -> str | None:
    metadata = item["metadata"]
    same = "".join(metadata["span"]).count(metadata["target_letter"]) == int(item["answer"])
    return None if same else "the answer depends on whether capitals count"


def article_doubt(item: Item) -> str | None:
    articles = {"a", "an", "the"} & set(item["answer"].lower().split())
    return "an article in the answer, which graders ignore" if articles else None


def legs_doubt(item: Item) -> str | None:
    return "the answer counts arms as legs" if "starfish" in item["metadata"]["animals"] else None


def relation_doubt(item: Item) -> str | None:
    return "the generator's answer is wrong" if item["answer"].endswith("in-law") else None
