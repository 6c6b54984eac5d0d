"""A pair in two bases gets a warning; a pair that differs in behavior, or hardly inside, does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyze.pair import basis_warning
from fi_store.store.tables import LayerSimilarity, PairGate
from tests.helpers import by_hand

SAME, DIFFERENT = "no_behavioral_difference", "different"


def warned(folder: Path, apart: list[float], cka: list[float], verdict: str = SAME) -> str | None:
    fixed = {"source": "fi-store", "site": "resid_post", "ci_low": None, "ci_high": None, "n_units": 9}
    with by_hand.open_new(folder) as store:
        run = by_hand.add_run(store, by_hand.model("a"), by_hand.model("b"), [0, 1], ["C", "C"])
        with store.session() as session:
            for position_class, factor in (("response", 1.0), ("prompt", 0.0)):
                for layer, values in enumerate(zip(apart, cka, strict=True)):
                    for metric, value in zip(("relative_difference", "cka"), values, strict=True):
                        session.add(
                            LayerSimilarity(
                                run_id=run,
                                metric=metric,
                                label=str(layer),
                                layer_base=layer,
                                layer_target=layer,
                                position_class=position_class,
                                value=factor * value,
                                **fixed,
                            )
                        )
        numbers = dict.fromkeys(("gap", "gap_low", "gap_high", "kl_symmetric", "kl_low", "kl_high"), 0.0)
        gate = PairGate(run_id=run, **numbers, agreement=1.0, n_units=2, verdict=verdict)
        return basis_warning(store, run, gate)


@pytest.mark.parametrize(
    ("apart", "cka", "verdict", "expected"),
    [
        ([1.4, 1.4, 1.3], [1.0, 0.99, 0.98], SAME, True),
        ([1.4, 1.4, 0.0], [1.0, 0.99, 0.2], SAME, True),  # one odd layer
        ([1.4, 1.4, 1.3], [1.0, 0.99, 0.98], DIFFERENT, False),
        ([0.02, 0.03, 0.02], [1.0, 1.0, 1.0], SAME, False),
        ([1.4, 1.4, 1.3], [0.5, 0.4, 0.6], SAME, False),
        ([], [], SAME, False),
    ],
)
def test_both_signs_are_needed(
    tmp_path: Path, apart: list[float], cka: list[float], verdict: str, expected: bool
) -> None:
    found = warned(tmp_path, apart, cka, verdict)
    assert (found is not None) == expected
    if found is not None:
        assert found.startswith("The basis differs")
        assert "140%" in found
        assert "CKA 0.99" in found
