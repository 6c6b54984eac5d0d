"""Clusters and halves: families stay together, near-copies join them, the split is reproducible and even."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fi_store.errors import UsageError
from fi_store.prompts import (
    PromptRecord,
    PromptSuite,
    Unit,
    assign_units,
    check_halves,
    cluster_prompts,
    lone_categories,
)
from fi_store.prompts.split import shingles, split_halves


def prompt(key: str, text: str, family: str | None = None, category: str = "a") -> PromptRecord:
    return PromptRecord(key, category, text, family=family or key)


def test_families_and_near_copies_are_one_cluster_and_clusters_chain() -> None:
    long = "a bakery fills four trays with six rolls each and then sells nine of the rolls"
    prompts = (
        prompt("one", long),
        prompt("two", long + " today", family="f"),  # near copy of one
        prompt("three", "something else entirely", family="f"),  # family of two
        prompt("four", "a bakery sells rolls"),
    )
    assert cluster_prompts(prompts) == [0, 0, 0, 1]


def test_short_texts_are_one_shingle() -> None:
    assert shingles("Why not?") == {("why", "not?")}
    assert len(shingles("one two three four")) == 2


def test_the_similarity_threshold_is_inclusive() -> None:
    # 10 words have 8 shingles; changing the last two words leaves 6 in common of 10: Jaccard 0.6.
    left = "a b c d e f g h i j"
    right = "a b c d e f g h x y"
    assert cluster_prompts((prompt("l", left), prompt("r", right))) == [0, 0]
    assert cluster_prompts((prompt("l", left), prompt("r", "a b c d e f g x y z"))) == [0, 1]


@pytest.mark.parametrize("count", [4, 60])
def test_a_common_preamble_joins_nobody_but_near_copies_stay_together(count: int) -> None:
    preamble = " ".join(f"rule{number}" for number in range(41))
    prompts = [prompt(f"p{i}", f"{preamble} how many w{i} x{i} y{i} z{i} are there") for i in range(count)]
    assert cluster_prompts(tuple(prompts)) == list(range(count))
    copy = prompt("copy", f"{preamble} how many w0 x0 y0 z0 are there today")
    assert cluster_prompts((*prompts, copy)) == [*range(count), 0]
    same = prompt("same", prompts[1].text.upper())
    assert cluster_prompts((*prompts, same)) == [*range(count), 1]


def test_halves_without_enough_clusters_are_refused_and_lone_categories_are_named() -> None:
    def units(*cells: tuple[str, str]) -> list[Unit]:
        return [Unit(prompt(str(i), str(i), category=c), i, i, half) for i, (c, half) in enumerate(cells)]

    whole = units(("a", "D"), ("a", "D"), ("a", "C"), ("a", "C"))
    check_halves(whole)
    assert lone_categories(whole) == []
    (warning,) = lone_categories(units(("a", "D"), ("a", "C"), ("b", "C"), ("a", "D")))
    assert warning == "All prompts of category b are in the confirmation half, so it is not compared."
    with pytest.raises(UsageError, match="The confirmation half has 1 of 4 clusters of prompts"):
        check_halves(units(("a", "D"), ("a", "D"), ("a", "D"), ("a", "C")))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=60),
    st.integers(0, 5),
)
def test_halves_hold_whole_clusters_and_are_balanced(drawn: list[tuple[str, int]], seed: int) -> None:
    suite = PromptSuite(
        "s",
        "1",
        tuple(
            prompt(f"p{i}", f"{i} {category}{i} x{i}", family=f"{category}{family}", category=category)
            for i, (category, family) in enumerate(drawn)
        ),
    )
    units = assign_units(suite, seed)
    assert units == assign_units(suite, seed)
    halves: dict[int, set[str]] = {}
    for unit in units:
        halves.setdefault(unit.cluster, set()).add(unit.half)
    assert all(len(found) == 1 for found in halves.values())
    for category in {category for category, _ in drawn}:
        sizes = Counter(unit.cluster for unit in units if unit.prompt.category == category)
        counts = Counter(unit.half for unit in units if unit.prompt.category == category)
        # Large clusters are dealt first, to the smaller half, so the halves differ by at most one cluster.
        assert abs(counts["D"] - counts["C"]) <= max(sizes.values())


def test_another_seed_gives_another_split() -> None:
    categories, clusters = ["a"] * 40, list(range(40))
    # Two independent even splits of 40 clusters agree with probability 1 / C(40, 20) < 1e-11.
    assert split_halves(categories, clusters, 0) != split_halves(categories, clusters, 1)
