"""Behaviors planted by fine-tuning: does the first finding name them, and does what it says carry them?

Every finding is judged by its own card and by every other card; cheap baselines are judged beside them
(`baselines.py`). Each pair is read once, and each reading is split once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.planted.baselines import baselines, judge_baselines, lens
from bench.planted.causes import gone, predictions
from bench.planted.judge import Card, Expected, hit_at, parts_hit, read_cards
from bench.planted.runs import Finished, Runs, load_settings
from bench.results import Figure, PartResult

MOST_FINDINGS = 3.0
"""The most findings that a single behavior may be told by."""
PARTS_AT = 4
SHARE = 0.15
"""The lower limit of the share closed that a first finding needs."""
CONTROL_PART = 0.25
"""The most that its control may close, as a part of that share."""
GONE, GONE_BY_CONTROL = 0.5, 0.2
CORRELATION = 0.9
WHOLE_APART = 0.25
FOREIGN_SHARE = 0.10
"""Largest share of judgments by other cards that may hit."""


def run(quick: bool, work: Path, organisms: Sequence[Path]) -> PartResult:
    """Makes or reads every run, judges it, and summarizes."""
    settings = load_settings("organisms", quick=quick)
    cards = read_cards(organisms, "behavior")
    runs = Runs(work)
    judged = []
    for card in cards[:1] if quick else cards:
        judged.append(judge_run(runs, card, "forward", cards, settings))
        if card.name in settings["mirrored"]:
            judged.append(judge_run(runs, card, "mirrored", cards, settings))
    return PartResult(figures(judged, judgeable=not quick), {"runs": judged})


def compare(runs: Runs, card: Card, direction: str, settings: dict[str, Any]) -> Finished:
    """The run of a card's pair in one direction."""
    base, target = (card.base, card.target) if direction == "forward" else (card.target, card.base)
    return runs.compare(base, target, settings["options"])


def judge_run(
    runs: Runs, card: Card, direction: str, cards: Sequence[Card], settings: dict[str, Any]
) -> dict[str, Any]:
    """One run and every judgment about it, as JSON values."""
    found = compare(runs, card, direction, settings)

    def make() -> dict[str, Any]:
        through = lens(card.base, runs.cache_dir)
        with runs.open() as store:
            return baselines(store, found.run_id, through, settings["random_features"])

    shown = runs.once(f"baselines of {found.run_id}", make)
    expected = [each if direction == "forward" else each.turned() for each in cards]
    own = next(each for each in expected if each.name == card.name)
    return {
        "organism": card.name,
        "direction": direction,
        "seconds": found.seconds,
        "gate": found.gate["verdict"],
        "findings": found.findings,
        "baselines": shown,
        "gone": gone(found.findings[0]) if found.findings else None,
        **predictions(runs, found.run_id),
        **verdicts(found.findings, shown, own, expected),
    }


def verdicts(
    findings: Sequence[dict[str, Any]], shown: dict[str, Any], own: Card, cards: Sequence[Card]
) -> dict[str, Any]:
    """The hit rule applied to a run's findings and baselines. A card's own behaviors on other cards are not foreign."""
    foreign = [part for card in cards for part in behaviors_of(card) if part not in behaviors_of(own)]
    return {
        "hit_1": hit_at(findings, own.expected, 1),
        "parts": parts_hit(findings, own.parts, PARTS_AT) if own.parts else None,
        "foreign": [hit_at(findings, part, 3) for part in foreign],
        "judged_baselines": judge_baselines(shown, own.expected),
    }


def behaviors_of(card: Card) -> tuple[Expected, ...]:
    """All that was planted in an organism."""
    return card.parts or (card.expected,)


def figures(judged: Sequence[dict[str, Any]], *, judgeable: bool) -> list[Figure]:
    """The table of this part; the quick form judges nothing."""

    def figure(
        name: str, value: float, unit: str, goal: str, holds: Callable[[float], bool], detail: str = ""
    ) -> Figure:
        return Figure(name, value, unit, goal, holds(value) if judgeable else None, detail)

    single = [one for one in judged if one["parts"] is None]
    first = {where(one): one["findings"][0] for one in judged if one["findings"]}
    out = [
        figure(f"first finding hits: {where(one)}", one["hit_1"], "", "1", bool, title(one)) for one in single
    ]
    if single:
        most = max(len(one["findings"]) for one in single)
        counts = by_run({where(one): len(one["findings"]) for one in single})
        goal = f"at most {MOST_FINDINGS:.0f}"
        out.append(
            figure("findings of a single behavior, most", most, "", goal, MOST_FINDINGS.__ge__, counts)
        )
    for one in judged:
        if one["parts"] is not None:
            names = "; ".join(row["name"] for row in one["findings"][:PARTS_AT])
            title_ = f"each behavior is one of the first four findings: {where(one)}"
            out.append(figure(title_, one["parts"], "", "1", bool, names))
    lows = {name: row["share_low"] for name, row in first.items()}
    parts = {
        name: row["share_control"] / row["share_closed"]
        for name, row in first.items()
        if row["share_control"] is not None and row["share_closed"]
    }
    patched = {where(one): one["gone"]["patch"] for one in judged if one["gone"]}
    control = {where(one): one["gone"]["control"] for one in judged if "control" in (one["gone"] or ())}
    for name, values, worst, unit, goal, holds in (
        ("first finding, lower limit of the share closed", lows, min, "of the gap", f">= {SHARE}", SHARE.__le__),
        ("first finding, control", parts, max, "of the share closed", f"<= {CONTROL_PART}", CONTROL_PART.__ge__),
        ("gone from answers with the patch", patched, min, "of the rates' difference", f">= {GONE}", GONE.__le__),
        ("gone from answers with the control", control, max, "of the rates' difference",
         f"< {GONE_BY_CONTROL}", GONE_BY_CONTROL.__gt__),
    ):  # fmt: skip
        if values:
            out.append(figure(f"{name}, worst", worst(values.values()), unit, goal, holds, by_run(values)))
    out += predicted(judged, figure)
    foreign = [hit for one in judged for hit in one["foreign"]]
    if foreign:
        rate = sum(foreign) / len(foreign)
        goal = f"at most {FOREIGN_SHARE:.2f}"
        out.append(figure("hit at 3 by other cards", rate, "of judgments", goal, FOREIGN_SHARE.__ge__))
    for name in judged[0]["judged_baselines"]:
        hit = np.concatenate([np.atleast_1d(one["judged_baselines"][name]) for one in judged])
        rate = float(hit.mean()) if len(hit) else 0.0
        out.append(Figure(f"baseline: {name}", rate, "", "", None, f"{int(hit.sum())} of {len(hit)}"))
    seconds = float(np.mean([one["seconds"] for one in judged]))
    return [*out, Figure("seconds of a run", seconds, "s", "", None, "mean")]


def predicted(judged: Sequence[dict[str, Any]], figure: Callable[..., Figure]) -> list[Figure]:
    """Attribution against exact patches: over all tested changes, and for the whole last layer."""
    out = []
    pairs = np.asarray([[row["attributed"], row["share"]] for one in judged for row in one["changes"]])
    if len(pairs) > 2:
        r = float(np.corrcoef(pairs.T)[0, 1])
        goal = f">= {CORRELATION}"
        out.append(
            figure("attribution against patches", r, "r", goal, CORRELATION.__le__, f"{len(pairs)} patches")
        )
    whole = {where(one): row for one in judged for row in one["whole"] if row["attributed"] is not None}
    if whole:
        apart = max(abs(row["attributed"] / row["share"] - 1) for row in whole.values())
        detail = "; ".join(
            f"{name} {row['attributed']:.2f}, {row['share']:.2f}" for name, row in whole.items()
        )
        name = "attribution against the patch of the whole last layer, furthest"
        goal = f"within {WHOLE_APART:.0%}"
        out.append(figure(name, apart, "apart", goal, WHOLE_APART.__ge__, detail))
    return out


def where(one: dict[str, Any]) -> str:
    """A run as the table calls it."""
    return str(one["organism"]) + (", mirrored" if one["direction"] == "mirrored" else "")


def title(one: dict[str, Any]) -> str:
    """The name of a run's first finding."""
    return str(one["findings"][0]["name"]) if one["findings"] else "no finding"


def by_run(values: dict[str, float]) -> str:
    """A number for each run."""
    return "; ".join(f"{name} {value:.2g}" for name, value in values.items())
