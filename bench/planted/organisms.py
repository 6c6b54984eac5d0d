"""Behaviors planted by fine-tuning: does the run's first result name them, forward and mirrored?

The pair of every `behavior` card is run by the public command in both directions and with several seeds. The findings
are judged by their own card (hit at 1 and at 3), by every other card, and with shuffled category names; cheap baselines
are judged beside them (`baselines.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.planted.baselines import baseline_rows, with_given_change
from bench.planted.judge import Card, Expected, are_mirrored, hit_at, mirrored, permuted_hits, read_cards
from bench.planted.reopen import reopen
from bench.planted.runs import Finished, Runs, load_settings
from bench.results import Figure, PartResult

DIRECTIONS = ("forward", "mirrored")
NEEDED_SHARE = 2 / 3
"""Share of the seeds for which the first result must hit."""
FOREIGN_SHARE = 0.10
"""Largest share of judgments by other cards that may hit."""


def run(quick: bool, work: Path, organisms: Sequence[Path]) -> PartResult:
    """Makes or reads every run, judges it, and summarizes."""
    settings = load_settings("organisms", quick=quick)
    cards = read_cards(organisms, "behavior")
    runs = Runs(work)
    judged = [
        one
        for card in (cards[:1] if quick else cards)
        for direction in DIRECTIONS
        for one in judge_pair(runs, card, direction, cards, settings)
    ]
    return PartResult(figures(judged, judgeable=not quick), {"runs": judged})


def judge_pair(
    runs: Runs, card: Card, direction: str, cards: Sequence[Card], settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """The runs of all seeds in one direction; the pair is read once, with the first seed's shams."""
    judged = [judge_run(runs, card, direction, seed, cards, settings) for seed in settings["seeds"]]
    runs.remove_activations(compare(runs, card, direction, settings["seeds"][0], settings).run_id)
    return judged


def judge_run(
    runs: Runs, card: Card, direction: str, seed: int, cards: Sequence[Card], settings: dict[str, Any]
) -> dict[str, Any]:
    """One run and every judgment about it, as JSON values."""
    found = compare(runs, card, direction, seed, settings)
    baselines = runs.once(f"baselines of {found.run_id}", lambda: _baselines(runs, found, seed, settings))
    return {
        "organism": card.name,
        "direction": direction,
        "seed": seed,
        "seconds": found.seconds,
        "gate": found.gate["verdict"],
        "findings": found.findings,
        **verdicts(found.findings, baselines, card, direction, cards, settings["label_draws"], seed),
    }


def compare(runs: Runs, card: Card, direction: str, seed: int, settings: dict[str, Any]) -> Finished:
    """The run of a card's pair in one direction; later seeds reuse the first seed's extraction with another split."""
    base, target = (card.base, card.target) if direction == "forward" else (card.target, card.base)
    again = seed != settings["seeds"][0]
    return runs.compare(base, target, {**settings["options"], "seed": seed, "skip_activations": again})


def _baselines(runs: Runs, found: Finished, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    with runs.open() as store:
        opened = reopen(store, found.run_id, shams=False)
        first = found.findings[0]["position_class"] if found.findings else None
        return baseline_rows(store, opened, settings["random_latents"], seed, first)


def verdicts(
    findings: Sequence[dict[str, Any]],
    baselines: dict[str, Any],
    card: Card,
    direction: str,
    cards: Sequence[Card],
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """The hit rule applied to a run's findings and baselines."""
    expected = turned(card, direction)
    others = [turned(other, direction) for other in cards if other.name != card.name]
    guess = with_given_change(baselines["strongest_category"], expected)
    return {
        "hit_1": hit_at(findings, expected, 1),
        "hit_3": hit_at(findings, expected, 3),
        "foreign": [hit_at(findings, other, 3) for other in others],
        "permuted_3": permuted_hits(findings, expected, 3, draws=draws, seed=seed),
        "category_baseline": hit_at([guess], expected, 1),
        "latent_baseline": [hit_at([row], expected, 1) for row in baselines["random_latents"]],
        "place_baseline": [hit_at([row], expected, 1) for row in baselines["latents_in_place"]],
    }


def turned(card: Card, direction: str) -> Expected:
    """What a card expects of its pair in this direction."""
    return card.expected if direction == "forward" else mirrored(card.expected)


def figures(judged: Sequence[dict[str, Any]], *, judgeable: bool) -> list[Figure]:
    """The table of this part; the quick form judges nothing."""

    def ok(holds: bool) -> bool | None:
        return holds if judgeable else None

    out = []
    pairs = dict.fromkeys((one["organism"], one["direction"]) for one in judged)
    for name, direction in pairs:
        own = [one for one in judged if (one["organism"], one["direction"]) == (name, direction)]
        first, three = share(own, "hit_1"), share(own, "hit_3")
        where = f"{name}, {direction}"
        first_name = own[0]["findings"][0]["name"] if own[0]["findings"] else "no result"
        out += [
            Figure(
                f"hit at 1: {where}",
                first,
                "of seeds",
                "at least 2 in 3",
                ok(first >= NEEDED_SHARE),
                first_name,
            ),
            Figure(f"hit at 3: {where}", three, "of seeds", "always", ok(three == 1)),
        ]
    foreign = [hit for one in judged for hit in one["foreign"]]
    if foreign:
        rate = sum(foreign) / len(foreign)
        out.append(
            Figure("hit at 3 by other cards", rate, "of pairs", "at most 0.10", ok(rate <= FOREIGN_SHARE))
        )
    exact = [mirrors_exactly(judged, one) for one in judged if one["direction"] == "forward"]
    out += [
        Figure(
            "exchanged runs that are mirrored to the last bit",
            sum(exact) / len(exact),
            "of runs",
            "all",
            ok(all(exact)),
            f"{sum(exact)} of {len(exact)}, {sum(len(one['findings']) for one in judged) // 2} results",
        ),
        Figure("hit at 3, category names shuffled", share(judged, "permuted_3"), "of runs", "", None),
        Figure("baseline: strongest category", share(judged, "category_baseline"), "of runs", "", None),
        latents_hit("baseline: a random latent", judged, "latent_baseline"),
        latents_hit(
            "baseline: a random latent in the first result's position class", judged, "place_baseline"
        ),
        Figure("seconds of a run", share(judged, "seconds"), "s", "", None, "mean"),
    ]
    return out


def mirrors_exactly(judged: Sequence[dict[str, Any]], forward: dict[str, Any]) -> bool:
    """Whether the run of the exchanged pair with the same seed has the same results, mirrored."""
    own = [one for one in judged if (one["organism"], one["seed"]) == (forward["organism"], forward["seed"])]
    (back,) = (one for one in own if one["direction"] == "mirrored")
    return are_mirrored(forward["findings"], back["findings"])


def latents_hit(name: str, judged: Sequence[dict[str, Any]], key: str) -> Figure:
    """The share of the drawn latents, over all runs, that hit."""
    latent_hits = [hit for run in judged for hit in run[key]]
    rate = sum(latent_hits) / len(latent_hits) if latent_hits else 0.0
    return Figure(name, rate, "of latents", "", None, f"{sum(latent_hits)} of {len(latent_hits)}")


def share(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Mean of a verdict over runs."""
    return sum(float(row[name]) for row in rows) / len(rows)
