"""Alignment: which positions two tokenizations of a text share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extract.texts import Format, Rendering, choose_rendering, make_tokenizers
from extract.texts.alignment import aligned_positions
from extract.texts.tokens import Encoded
from tests.helpers.small_runs import loaded
from tests.helpers.tiny import TinyModels


def test_a_character_split_over_tokens_is_no_boundary(tiny_models: TinyModels) -> None:
    pair = loaded(tiny_models.llama, tiny_models.llama_other)
    rendering, _ = choose_rendering(pair, ["naïve"])
    rendered = rendering.render("naïve")
    encoded = make_tokenizers(pair, rendering, ["naïve"]).encode("base", rendered, "")
    positions = [
        position
        for position in aligned_positions(encoded, encoded, rendered)
        if position.position_class == "prompt"
    ]
    ends = [encoded.ends[position.base] for position in positions]
    assert len(ends) == len(set(ends))
    side = rendered.base
    pieces = [end for end in encoded.ends if side.content_start < end <= side.content_end]
    assert len(pieces) > len(positions)  # the two bytes of the ï end at the same character


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=20),
    st.lists(st.integers(1, 4), min_size=1, max_size=20),
)
def test_alignment_is_symmetric_and_ordered(left: list[int], right: list[int]) -> None:
    length = min(sum(left), sum(right))
    plain = Format("none", "q", "s")
    rendered = Rendering("none", "", plain, plain).render("x" * max(1, length))

    def cut(steps: list[int]) -> Encoded:
        ends, at = [], 0
        for step in steps:
            at = min(at + step, len(rendered.base.text))
            ends.append(at)
        ends[-1] = len(rendered.base.text)
        return Encoded(list(range(len(ends))), [0, *ends[:-1]], ends, len(ends))

    first, second = cut(left), cut(right)
    found = aligned_positions(first, second, rendered)
    mirrored = aligned_positions(second, first, rendered)
    assert [(base, target, name) for target, base, name in mirrored] == found
    assert [row.base for row in found] == sorted({row.base for row in found})
    assert [row.target for row in found] == sorted({row.target for row in found})
