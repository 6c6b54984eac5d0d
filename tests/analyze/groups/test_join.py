"""The groups that are patched one by one, and how the others are joined."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.groups import Group, Member, join_rest

PARTS = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1), st.floats(0.01, 1.0))


def groups_of(parts: list[tuple[int, int, int, float]]) -> list[Group]:
    """Groups of two features each, the largest share first."""
    made = []
    for number, (index, position_class, gap, share) in enumerate(parts):
        effects: Any = SimpleNamespace(site="resid_post", layer=index)
        members = (Member(2 * number, 0.75, 1), Member(2 * number + 1, 0.25, -1))
        made.append(Group(f"g{number}", effects, index, position_class, members, 2 * share, share, gap))
    return sorted(made, key=lambda group: -group.share)


@given(st.lists(PARTS, min_size=1, max_size=12), st.integers(0, 12))
def test_what_is_not_patched_alone_is_joined_by_layer_class_and_gap(
    parts: list[tuple[int, int, int, float]], first: int
) -> None:
    groups = groups_of(parts)
    found = join_rest("run", groups, first)
    assert found[:first] == groups[:first]
    rest = found[first:]
    cells = [(group.index, group.position_class, group.gap) for group in rest]
    assert sorted(cells) == sorted({(g.index, g.position_class, g.gap) for g in groups[first:]})
    assert [group.share for group in rest] == sorted((group.share for group in rest), reverse=True)
    assert sum(group.share for group in found) == pytest.approx(sum(group.share for group in groups))
    latents = [member.latent for group in found for member in group.members]
    assert sorted(latents) == list(range(2 * len(parts)))
    for group in rest:
        assert sum(member.weight for member in group.members) == pytest.approx(1)
        weights = [member.weight for member in group.members]
        assert weights == sorted(weights, reverse=True)


def test_a_joined_group_weighs_features_by_what_they_hold() -> None:
    (joined,) = join_rest("run", groups_of([(0, 1, 0, 0.3), (0, 1, 0, 0.1)]), 0)
    assert {member.latent: round(member.weight, 6) for member in joined.members} == {
        0: 0.5625, 1: 0.1875, 2: 0.1875, 3: 0.0625,
    }  # fmt: skip
    assert (joined.attributed, joined.share) == (pytest.approx(0.8), pytest.approx(0.4))
