"""Outside similarity files: whole rows, layers from names, and every fault with its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyze.pair import outside as crosscoder_file
from analyze.pair import read_crosscoder_file
from analyze.pair.outside import layer_of
from fi_store.errors import NotFoundError, UsageError
from fi_store.store.tables import LayerSimilarity
from tests.helpers import by_hand

DOWN = "model.layers.12.mlp.down_proj.weight"
GOOD = {DOWN: {"similarities": {DOWN: 0.5}, "differences": {DOWN: 1, "lm_head.weight": -2.5}}}


def row(metric: str, label: str, layers: tuple[int | None, int | None], value: float) -> dict[str, Any]:
    return {
        "source": "crosscoder-file",
        "metric": metric,
        "site": "parameter",
        "label": label,
        "position_class": "all",
        "layer_base": layers[0],
        "layer_target": layers[1],
        "value": value,
        "ci_low": None,
        "ci_high": None,
        "n_units": None,
    }


def test_a_file_and_a_mapping_give_the_same_rows(tmp_path: Path) -> None:
    file = tmp_path / "cross.json"
    file.write_text(json.dumps(GOOD), encoding="utf-8")
    expected = [
        row("similarity", DOWN, (12, 12), 0.5),
        row("difference", DOWN, (12, 12), 1.0),
        row("difference", f"{DOWN} -> lm_head.weight", (12, None), -2.5),
    ]
    assert read_crosscoder_file(file) == expected
    assert read_crosscoder_file(str(file)) == expected
    assert read_crosscoder_file(GOOD) == expected


def test_the_rows_fit_the_table(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        with store.session() as session:
            session.add_all(LayerSimilarity(run_id="r", **one) for one in read_crosscoder_file(GOOD))
        found = store.rows("select label, value from layer_similarity where layer_base = 12 order by value")
    assert [one["value"] for one in found] == [-2.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        (DOWN, 12),
        ("transformer.h.3.attn.c_proj.weight", 3),
        ("blocks/7/mlp", 7),
        ("layer.0", 0),
        ("lm_head.weight", None),
        ("mylayers.4.weight", None),
        ("layers.1.experts.layers.2.weight", None),
    ],
)
def test_layers_are_read_from_names(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            '{"a": {"similarities": {"b": NaN}}}',
            "'a' / 'similarities' / 'b': Input should be a finite number",
        ),
        ('{"a": {"similarities": {"b": 1e999}}}', "finite"),
        ('{"a": {"differences": {"b": "0.5"}}}', "'a' / 'differences' / 'b': Input should be a valid number"),
        ('{"a": {"differences": {"b": true}}}', "valid number"),
        ('{"a": {"differences": {"b": null}}}', "valid number"),
        ('{"a": {"similarity": {"b": 1}}}', "'a' / 'similarity'"),
        ('{"a": {"similarities": {"x -> y": 1}}}', "must not contain ' -> '"),
        ('{"a": {"similarities": [1]}}', "'a' / 'similarities'"),
        ('{"a": 1}', "at 'a'"),
        ("[]", "should be an object"),
        ("{}", "no similarity and no difference"),
        ('{"a": {}}', "no similarity and no difference"),
        ("", "Invalid JSON"),
        ('{"a":' * 5000, "recursion limit"),
        ("\xff", "Invalid JSON"),
    ],
)
def test_faults_name_the_file_and_the_key(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "cross.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError) as caught:
        read_crosscoder_file(file)
    assert str(file) in str(caught.value)
    assert part in str(caught.value)
    assert caught.value.hint


def test_missing_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="no crosscoder file"):
        read_crosscoder_file(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_crosscoder_file(tmp_path)
    file = tmp_path / "large.json"
    file.write_text(json.dumps(GOOD), encoding="utf-8")
    monkeypatch.setattr(crosscoder_file, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="larger than"):
        read_crosscoder_file(file)


NAMES = st.text(min_size=1, max_size=8).filter(lambda text: " -> " not in text)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.dictionaries(
        NAMES,
        st.fixed_dictionaries(
            {"similarities": st.dictionaries(NAMES, NUMBERS), "differences": st.dictionaries(NAMES, NUMBERS)}
        ),
        max_size=4,
    )
)
def test_every_number_becomes_one_row_with_its_own_key(
    content: dict[str, dict[str, dict[str, float]]],
) -> None:
    numbers = sum(len(part) for entry in content.values() for part in entry.values())
    if numbers == 0:
        with pytest.raises(UsageError):
            read_crosscoder_file(content)
        return
    rows = read_crosscoder_file(content)
    assert len({(one["metric"], one["label"]) for one in rows}) == len(rows) == numbers
