"""Layer similarity from stored summaries: whole rows, texts averaged per prompt, widths, depths, self pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyze.pair import write_similarity
from analyze.pair.cka import cka, make_gram
from analyze.pair.similarity import layer_similarities
from fi_store.errors import AnalysisError
from fi_store.store import Store
from fi_store.store.tables import LayerSimilarity
from tests.helpers import by_hand

N, D = 12, 4
CLUSTERS = [0, 1, 2, 3, 4, 0, 1, 5, 6, 7, 8, 9]  # prompts of a family are not adjacent
HALVES = ["D" if cluster % 2 else "C" for cluster in CLUSTERS]


def fill(
    store: Store, *, layers: int = 2, width: int = D, base_layers: int | None = None, same: bool = False
) -> str:
    """A run with vectors from a fixed seed. The target has `layers`, and the base too unless `base_layers` is given."""
    run = by_hand.add_run(
        store,
        by_hand.model("base", base_layers or layers, D),
        by_hand.model("base" if same else "target", layers, width),
        CLUSTERS,
        HALVES,
    )
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for layer in range(layers):
        for name, authors in (("prompt", ["base"]), ("response", ["base", "target"])):
            for prompt in range(N):
                for author in authors:
                    shared = rng.normal(size=max(D, width))
                    base = shared[:D]
                    target = (
                        shared[:width]
                        if same
                        else shared[:width] + 0.3 * (layer + 1) * rng.normal(size=width)
                    )
                    numbers = (None, None) if width != D else (0.1 * prompt, 0.9)
                    if same:
                        numbers = (0.0, 1 - 1e-7)
                    rows.append(by_hand.summary(prompt, author, layer, name, base, target, *numbers))
    rows += [by_hand.summary(0, "control", 0, "prompt", [], [], 9.0, 0.0)]
    by_hand.add_summaries(store, run, rows)
    return run


def of(rows: list[dict[str, Any]], metric: str, position_class: str, label: str) -> dict[str, Any]:
    found = [
        row
        for row in rows
        if (row["metric"], row["position_class"], row["label"]) == (metric, position_class, label)
    ]
    assert len(found) == 1
    return found[0]


def test_rows_of_a_pair_with_equal_shapes(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = fill(store)
        found = layer_similarities(store, store.run(run), draws=200)
        vectors = store.rows(
            "select prompt_id, mean_base, mean_target from activation_summary where layer = 1"
            " and position_class = 'response' order by prompt_id"
        )
    assert found.notes == []
    assert len(found.rows) == 2 * 2 * 3
    difference = of(found.rows, "relative_difference", "prompt", "1")
    # The mean of 0, 0.1 ... 1.1; the control text's 9 does not count.
    assert difference["value"] == pytest.approx(0.55)
    assert 0 < difference["ci_low"] < 0.55 < difference["ci_high"] < 1.1
    cosine = of(found.rows, "cosine", "response", "0")
    assert {key: cosine[key] for key in ("source", "site", "layer_base", "layer_target", "n_units")} == {
        "source": "fi-store",
        "site": "resid_post",
        "layer_base": 0,
        "layer_target": 0,
        "n_units": N,
    }
    # Prompt 0 has relative difference 0, so its cosine counts as 1.
    assert cosine["value"] == pytest.approx((11 * 0.9 + 1) / 12)

    # CKA by hand: both answers' vectors averaged per prompt, prompts sorted by cluster
    order = np.argsort(CLUSTERS, kind="stable")
    grams = []
    for side in ("mean_base", "mean_target"):
        means = [
            np.mean([row[side] for row in vectors if row["prompt_id"] == f"p{i}"], axis=0) for i in order
        ]
        grams.append(make_gram(means, np.array(CLUSTERS)[order]))
    expected = cka(*grams)
    row = of(found.rows, "cka", "response", "1")
    assert expected is not None
    assert (row["value"], row["ci_low"], row["ci_high"]) == pytest.approx(tuple(expected))


def test_half_restricts_the_prompts(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = store.run(fill(store))
        d = layer_similarities(store, run, half="D", draws=50)
        assert {row["n_units"] for row in d.rows} == {HALVES.count("D")}
        expected = np.mean([0.1 * i for i in range(N) if HALVES[i] == "D"])
        assert of(d.rows, "relative_difference", "prompt", "0")["value"] == pytest.approx(expected)
        with pytest.raises(AnalysisError, match="no activation summaries in half X"):
            layer_similarities(store, run, half="X")


def test_a_model_with_itself(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        found = layer_similarities(store, store.run(fill(store, same=True)), draws=100)
    expected = {"cka": 1.0, "cosine": 1.0, "relative_difference": 0.0}
    for row in found.rows:
        value = expected[row["metric"]]
        assert (row["value"], row["ci_low"], row["ci_high"]) == (value, value, value)


def test_different_widths_have_cka_alone(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        found = layer_similarities(store, store.run(fill(store, width=7)), draws=50)
    assert {row["metric"] for row in found.rows} == {"cka"}
    assert [row["label"] for row in found.rows if row["position_class"] == "prompt"] == ["0", "1"]


def test_layers_of_different_depths_are_paired_by_relative_depth(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = fill(store, layers=3, base_layers=2)
        write_similarity(store, run)
        rows = store.rows(
            "select label, layer_base, layer_target from layer_similarity"
            " where metric = 'cka' and position_class = 'prompt' order by label"
        )
    assert [tuple(row.values()) for row in rows] == [("b00-t00", 0, 0), ("b01-t01", 1, 1), ("b01-t02", 1, 2)]


def test_writing_twice_replaces_and_leaves_outside_rows(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = fill(store)
        outside = {"run_id": run, "source": "crosscoder-file", "metric": "similarity", "site": "parameter"}
        with store.session() as session:
            session.add(LayerSimilarity(**outside, label="w", position_class="all", value=0.5))
        write_similarity(store, run)
        first = store.rows("select * from layer_similarity order by all")
        write_similarity(store, run)
        assert store.rows("select * from layer_similarity order by all") == first
        assert len(first) == 13


def test_undefined_similarities_are_warned_of(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = by_hand.add_run(store, by_hand.model("a", 1), by_hand.model("b", 1), [0, 1, 2, 3, 4], ["D"] * 5)
        flat = [
            by_hand.summary(i, "base", 0, "start", [1, 1, 1, 1], [i, 1, 0, 0], 0.5, 0.5) for i in range(5)
        ]
        few = [
            by_hand.summary(i, "base", 0, "response", [i, 1, 1, 1], [i, 1, 0, 0], 0.5, 0.5) for i in range(3)
        ]
        by_hand.add_summaries(store, run, flat + few)
        found = write_similarity(store, run)
        warnings = [
            row["message"] for row in store.rows("select message from run_event where kind = 'warning'")
        ]
    assert {row["metric"] for row in found.rows} == {"cosine", "relative_difference"}
    assert warnings == [
        "CKA of layer 0 (resid_post, start) is undefined: one model's vectors do not vary over the prompts.",
        "CKA of layer 0 (resid_post, response) needs 4 prompts.",
    ]


def test_broken_summaries_are_refused(tmp_path: Path) -> None:
    with by_hand.open_new(tmp_path) as store:
        run = by_hand.add_run(store, by_hand.model("a", 2), by_hand.model("b", 2), range(5), ["D"] * 5)
        with pytest.raises(AnalysisError, match="no activation summaries"):
            write_similarity(store, run)
        whole = [
            by_hand.summary(i, "base", layer, "start", [i, 1, i * i, 0], [i, 2, 0, 0], 0.5, 0.5)
            for layer in range(2)
            for i in range(5)
        ]
        by_hand.add_summaries(store, run, whole[:-1])
        with pytest.raises(AnalysisError, match="different prompts"):
            write_similarity(store, run)
        by_hand.add_summaries(store, run, [*whole[:-1], {**whole[-1], "cosine": None}])
        with pytest.raises(AnalysisError, match="missing or infinite"):
            write_similarity(store, run)
        by_hand.add_summaries(store, run, [*whole[:-1], {**whole[-1], "mean_base": [1.0]}])
        with pytest.raises(AnalysisError, match="different lengths"):
            write_similarity(store, run)
