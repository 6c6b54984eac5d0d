"""Numbers, names and layers in words."""

from __future__ import annotations

from render import words


def test_numbers_in_words() -> None:
    assert words.decimal(-0.5) == "−0.50"
    assert words.decimal(-0.001) == "0.00"
    assert words.decimal(None) == "–"
    assert words.amount(0.00213) == "0.0021"
    assert words.amount(1.214) == "1.21"
    assert words.amount(12.44) == "12.4"
    assert words.amounts(0.94, 1.52) == "[0.94, 1.52]"
    assert words.percent(0.0012) == "0.1%"
    assert words.percent(0.991) == "99.1%"
    assert words.percent(-0.02) == "−2%"
    assert words.p_value(0.00001) == "p < 0.0001"
    assert words.p_value(0.0004) == "p = 0.0004"
    assert words.seconds(98.3) == "1 min 38 s"
    assert words.seconds(7500) == "2 h 05 min"
    assert words.times(2.0) == "4.0× as active in the target"
    assert words.times(-1.0) == "2.0× as active in the base"
    assert words.layers([23, 17, 17]) == "layers 17 and 23"
    assert words.wrapped("one two three four", 8, 2) == ["one two", "three…"]
    assert words.wrapped("x" * 20, 8, 3) == ["x" * 8, "x" * 8, "xxxx"]
    assert words.model_name("adapters/steps/adapter") == "steps"
    assert words.model_name("org/model-7b@main") == "model-7b@main"


def test_what_is_known_of_a_change_that_is_no_finding() -> None:
    patched = {"carries_none": False, "share_closed": 0.11, "share_low": 0.08}
    assert words.moved(patched) == "closes a part, not shown to exceed its control"
    assert words.moved({**patched, "share_low": -0.01}) == "no effect shown"
    assert words.moved({**patched, "carries_none": True}) == "carries none of it"
    assert words.moved({**patched, "share_closed": None, "share_low": None}) == "not tested"
