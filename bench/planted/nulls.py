"""Pairs with nothing to find, and how often something is found all the same.

The base against itself; certified self-distilled adapters; two edits that keep the function (permuted MLP neurons, a
turned residual basis); shams of every planted behavior instead of its target; and base/target labels dealt by a coin in
the effects of the first of these pairs. int8 and nf4 copies are real changes: what is found in them is reported without
a goal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.planted.judge import read_cards
from bench.planted.preserving import permute_neurons, turn_basis
from bench.planted.reopen import reopen, search_after_permuting, with_smallest_floors
from bench.planted.rounded import KINDS, rounded_copy
from bench.planted.runs import BUNDLED, Finished, Runs, load_settings
from bench.results import Figure, PartResult
from extract.models import describe_reference

SHAM_GOAL = 0.2
"""Largest share of the shams that may have a confirmed group."""
PERMUTATION_GOAL = 15
"""Largest number of label permutations that may have a confirmed group."""
KL_SMALL = 0.01
"""Nats per token up to which a function-preserving edit counts as exact except for rounding."""
BASIS_WARNING = "basis differs"


def run(quick: bool, work: Path, organisms: Sequence[Path]) -> PartResult:
    """Runs every kind of null, the quick ones first."""
    settings = load_settings("nulls", quick=quick)
    runs = Runs(work)
    pairs = {"the base against itself": runs.compare(BUNDLED, BUNDLED, settings["options"])}
    for card in read_cards(organisms, "null"):
        pairs[f"null adapter {card.name}"] = runs.compare(card.base, card.target, settings["options"])
    source = Path(describe_reference(BUNDLED, runs.cache_dir)["folder"])
    for name, edit in (("permuted neurons", permute_neurons), ("turned basis", turn_basis)):
        folder = edit(source, work / "models" / name.replace(" ", "-"), seed=0)
        pairs[name] = runs.compare(BUNDLED, folder, settings["options"])
    for kind in KINDS:
        folder = rounded_copy(source, work / "models" / kind, kind)
        pairs[f"{kind} copy"] = runs.compare(BUNDLED, folder, settings["options"])
    found = [
        figure for name, pair in pairs.items() for figure in pair_figures(name, pair, judgeable=not quick)
    ]
    raw: dict[str, Any] = {"pairs": {name: vars(pair) for name, pair in pairs.items()}}
    options = {**settings["options"], "shams": settings["shams"]}
    real = {
        card.name: runs.compare(card.base, card.target, options) for card in read_cards(organisms, "behavior")
    }
    if not real:
        return PartResult(found, raw)
    # The same search on each sham, with floors from the others.
    raw["shams"] = {name: runs.query("sham_targets", pair.run_id) for name, pair in real.items()}
    found += sham_figures(raw["shams"], judgeable=not quick)
    first = next(iter(real.values()))
    raw["permutations"] = permutations(runs, first.run_id, settings["permutations"])
    for floors, searches in raw["permutations"].items():
        found.append(permutation_figure(floors, searches, judgeable=not quick))
    return PartResult(found, raw)


def pair_figures(name: str, pair: Finished, *, judgeable: bool) -> list[Figure]:
    """Figures of one pair: no findings; small KL if an edit keeps the function; the warning if the basis is turned.

    What is found in a rounded copy is only reported.
    """

    def ok(holds: bool) -> bool | None:
        return holds if judgeable else None

    inside = f"{len(pair.shifts)} internal shifts, KL {pair.gate['kl_symmetric']:.2g} nats per token"
    n = len(pair.findings)
    if name.removesuffix(" copy") in KINDS:
        first = f"; first: {pair.findings[0]['name']}" if n else ""
        return [Figure(f"findings: {name}", n, "findings", "", None, inside + first)]
    made = [Figure(f"findings: {name}", n, "findings", "0", ok(n == 0), inside)]
    if name in ("permuted neurons", "turned basis"):
        kl = pair.gate["kl_symmetric"]
        made.append(Figure(f"KL: {name}", kl, "nats per token", f"at most {KL_SMALL}", ok(kl <= KL_SMALL)))
    if name == "turned basis":
        warned = any(BASIS_WARNING in message for message in pair.warnings)
        made.append(Figure(f"warning '{BASIS_WARNING}': {name}", float(warned), "of runs", "1", ok(warned)))
    return made


def sham_figures(shams: Mapping[str, Sequence[dict[str, Any]]], *, judgeable: bool) -> list[Figure]:
    """How many shams have a confirmed group, for each pair and over all pairs."""
    hit = {name: sum(sham["n_confirmed"] > 0 for sham in own) for name, own in shams.items()}
    count = {name: len(own) for name, own in shams.items()}
    detail = {name: ", ".join(str(sham["n_confirmed"]) for sham in own) for name, own in shams.items()}
    title = "shams with a confirmed group"
    total, tried = sum(hit.values()), sum(count.values())
    verdict = total / tried <= SHAM_GOAL if judgeable else None
    return [
        *(
            Figure(f"{title}: {name}", hit[name], f"of {count[name]}", "", None, f"confirmed: {detail[name]}")
            for name in shams
        ),
        Figure(f"{title}, all pairs", total, f"of {tried}", f"at most {SHAM_GOAL:g} of all", verdict),
    ]


def permutations(runs: Runs, run_id: str, count: int) -> dict[str, list[list[int]]]:
    """Numbers of groups [tested, confirmed] in each of `count` label permutations of a run, by kind of floor.

    Permuted labels rarely exceed the floors from shams of the pair's own size, so there may be nothing to test; the
    same permutations with the smallest floors are a harder check of the test itself.
    """

    def make() -> dict[str, Any]:
        with runs.open() as store:
            opened = reopen(store, run_id)
        kinds = {"the shams' floors": opened, "the smallest floors": with_smallest_floors(opened)}
        return {
            name: [search_after_permuting(one, seed) for seed in range(count)] for name, one in kinds.items()
        }

    return runs.once(f"{count} permutations of {run_id}", make)


def permutation_figure(floors: str, searches: Sequence[Sequence[int]], *, judgeable: bool) -> Figure:
    """How many permutations have a confirmed group."""
    hit = sum(confirmed > 0 for _, confirmed in searches)
    tested = sum(tested > 0 for tested, _ in searches)
    verdict = hit <= PERMUTATION_GOAL if judgeable else None
    name = f"label permutations with a confirmed group, {floors}"
    detail = f"{tested} had a group to test"
    return Figure(name, hit, f"of {len(searches)}", f"at most {PERMUTATION_GOAL}", verdict, detail)
