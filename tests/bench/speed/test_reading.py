"""The measurement of reading and answering runs in its short form. Its figures are not judged."""

from __future__ import annotations

import pytest

from bench.speed import reading


@pytest.mark.real
def test_the_short_form_measures_every_row_and_judges_none() -> None:
    found = reading.measure(quick=True)
    assert [figure.ok for figure in found.figures] == [None] * 3
    assert all(figure.value > 0 for figure in found.figures)
