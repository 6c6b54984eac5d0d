"""Charts: the rows behind them, the layout of the boxes, and specifications that are valid and load nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fi_store.progress import Progress
from fi_store.store import Store, run_query
from fi_store.vocabulary import ARM_KINDS, CHANGE_CLASSES, POSITION_CLASSES
from render.charts import (
    accuracy,
    callout_layout,
    categories,
    causes,
    draw_figures,
    drawing,
    features,
    theme,
    write_figures,
)
from render.charts import (
    layer_similarity as similarity,
)
from render.charts.figures import KINDS, RATES, arms_of, draw
from render.charts.layer_profile import TOGETHER, profile_rows
from tests.helpers.planted import N_FINDINGS
from tests.helpers.store_factory import CATEGORIES, LAYERS, PLANTED, FilledStore


@pytest.fixture(scope="module")
def store(plain_store: FilledStore) -> Iterator[Store]:
    with Store.open(plain_store.path) as opened:
        yield opened


def similarity_table(rows: list[dict[str, Any]]) -> pa.Table:
    filled = [
        {
            "source": "fi-store",
            "site": "resid_post",
            "label": str(row["layer_base"]),
            "position_class": "response",
            "ci_low": row["value"] - 0.1,
            "ci_high": row["value"] + 0.1,
            "n_units": 9,
            **row,
        }
        for row in rows
    ]
    return pa.Table.from_pylist(filled)


def test_similarity_is_drawn_at_the_deeper_models_layers_of_one_site() -> None:
    table = similarity_table(
        [
            {"metric": "cka", "layer_base": 0, "layer_target": 0, "value": 0.70},
            {"metric": "cka", "layer_base": 5, "layer_target": 7, "value": 0.6},
            {"metric": "cka", "layer_base": 5, "layer_target": 8, "value": 0.8},
            {"metric": "cka", "layer_base": 5, "layer_target": 8, "value": 0.99, "site": "attn_out"},
            {"metric": "relative_difference", "layer_base": 5, "layer_target": 7, "value": 0.6},
            {"metric": "other", "layer_base": 5, "layer_target": 5, "value": 0.8},
        ]
    )
    rows = similarity.similarity_rows(table)
    assert [(row["panel"], row["layer"], row["value"]) for row in rows] == [
        (0, 0, 0.70),
        (0, 7, 0.6),
        (0, 8, 0.8),
        (2, 7, 0.6),
    ]
    assert rows[0]["low"] == pytest.approx(0.6)


def test_an_outside_file_is_drawn_beside_our_figures() -> None:
    outside = {"source": "crosscoder-file", "position_class": "all"}
    table = similarity_table(
        [
            {"metric": "cka", "layer_base": 3, "layer_target": 3, "value": 0.9},
            {
                **outside,
                "metric": "similarity",
                "layer_base": 3,
                "layer_target": 3,
                "value": 0.8,
                "label": "a.3",
            },
            {
                **outside,
                "metric": "similarity",
                "layer_base": 3,
                "layer_target": 3,
                "value": 0.7,
                "label": "b.3",
            },
            {
                **outside,
                "metric": "difference",
                "layer_base": 3,
                "layer_target": 4,
                "value": 0.7,
                "label": "a -> b",
            },
            {
                **outside,
                "metric": "similarity",
                "layer_base": None,
                "layer_target": None,
                "value": 0.7,
                "label": "c",
            },
        ]
    )
    rows = [row for row in similarity.similarity_rows(table) if row["series"] == similarity.OUTSIDE]
    assert [(row["panel"], row["value"]) for row in rows] == [(0, 0.8), (0, 0.7)]


def test_similarity_of_the_store(store: Store) -> None:
    rows = similarity.similarity_rows(run_query(store, "layer_similarity"))
    ours = [row for row in rows if row["series"] != similarity.OUTSIDE]
    assert {row["layer"] for row in ours} == set(range(30))
    assert {row["series"] for row in ours} == {POSITION_CLASSES[n] for n in ("prompt", "start", "response")}
    assert all(row["low"] <= row["value"] <= row["high"] for row in ours)


def test_distribution_counts_every_living_feature(store: Store) -> None:
    rows = features.distribution_rows(run_query(store, "feature_distribution"))
    alive = store.rows(
        "SELECT count(*) AS n FROM feature WHERE alive AND run_id = $run", run=store.run("latest").id
    )[0]["n"]
    assert sum(row["n"] for row in rows) == alive
    assert {row["number"] for row in rows} == set(LAYERS)
    for layer in LAYERS:
        assert sum(row["share"] for row in rows if row["number"] == layer) == pytest.approx(1)


def test_heatmap_rings_only_confirmed_contrasts(store: Store) -> None:
    rows = categories.heatmap_rows(run_query(store, "feature_category_heatmap"))
    assert len(rows) == N_FINDINGS * len(CATEGORIES)
    assert {row["category"] for row in rows if row["sure"]} == {"step by step reasoning"}
    assert rows[0]["result"].startswith("1. ")


def test_alignment_floors_silent_features() -> None:
    row = {"change": "added", "layer": 1, "latent": 2, "rank": 1, "name": "x"}
    norms = {"decoder_norm_base": 1.0, "decoder_norm_target": 1.0}
    table = pa.Table.from_pylist([{**row, **norms, "mean_base": 0.0, "mean_target": 5.0}])
    assert features.alignment_rows(table)[0]["base"] == pytest.approx(0.005)
    silent = pa.Table.from_pylist([{**row, **norms, "mean_base": 0.0, "mean_target": 0.0}])
    assert features.alignment_rows(silent) == []


def test_divergence_bars_carry_the_interval_of_the_query() -> None:
    row = {
        "category": "formal_logic",
        "kl_symmetric": 0.1,
        "n_prompts": 2,
        "agreement": 0.5,
        "n_same_answers": 0,
        "share": 0.25,
    }
    table = pa.Table.from_pylist(
        [{**row, "kl_low": 0.03, "kl_high": 0.2}, {**row, "kl_low": None, "kl_high": None}]
    )
    rows = categories.divergence_rows(table)
    assert [(row["low"], row["high"]) for row in rows] == [(0.03, 0.2), (None, None)]
    assert rows[0]["category"] == "formal logic"


def test_accuracy_has_a_point_for_each_model_and_difficulty(store: Store) -> None:
    table = run_query(store, "accuracy_by_difficulty")
    rows = accuracy.accuracy_rows(table)
    assert [(row["difficulty"], row["model"]) for row in rows] == [
        (difficulty, model) for difficulty in range(1, 6) for model in ("base", "target")
    ]
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)
    assert sum(row["n"] for row in rows) == 2 * 40
    assert [row["accuracy"] for row in rows if row["difficulty"] == 5] == [0, 1]
    assert sum(row["cut_off"] for row in rows) == 52


# Causes


def test_a_finding_has_a_dot_for_each_rate(store: Store) -> None:
    table = run_query(store, "top_findings")
    assert [(row["label"], row["shown"]) for row in causes.rate_rows(table.slice(0, 1))] == [
        ("base", "5%"), ("target", "96%"), ("no patch", "100%"), ("its patch on", "12%"), ("control on", "88%"),
    ]  # fmt: skip
    assert [row["label"] for row in causes.rate_rows(table.slice(2, 1))] == ["base", "target"]
    captions = [RATES.caption(row) for row in table.to_pylist()]
    assert "8 prompts answered again" in captions[0]
    assert "answered again" not in captions[2]


def test_shares_are_those_of_the_tested_side_and_positions(store: Store) -> None:
    arms = run_query(store, "causal_arms")
    finding = run_query(store, "top_findings").to_pylist()[0]
    rows = causes.share_rows(arms_of(finding, arms))
    whole = [row for row in rows if row["kind"] == ARM_KINDS["whole"]]
    change = [row for row in rows if row["kind"] == ARM_KINDS["change"]]
    assert [row["layer"] for row in whole] == list(PLANTED[0].layers)  # of one class and one model
    assert [row["layer"] for row in change] == list(PLANTED[0].layers)
    assert whole[0]["share"] == pytest.approx(finding["ceiling"])
    assert change[0]["share"] == pytest.approx(finding["share_closed"])
    assert len(rows) == len(whole) + len(change) + 1  # the control
    base = causes.share_rows(arms_of({**finding, "side": "base"}, arms))
    assert base[0]["share"] < whole[0]["share"]
    assert causes.share_by_layer(arms_of({**finding, "group_id": "another"}, arms)) is None


def test_a_profile_has_a_line_for_all_classes_together(store: Store) -> None:
    table = run_query(store, "layer_profile")
    rows = profile_rows(table)
    together = [row for row in rows if row["series"] == TOGETHER]
    assert [row["layer"] for row in together] == list(LAYERS)
    assert together[-1]["share"] == pytest.approx(0.5)
    assert {row["series"] for row in rows} == {TOGETHER, "in the answer", "at the start of the answer"}
    other = pa.Table.from_pylist(
        [{**row, "site": "attn_out"} for row in table.to_pylist()], schema=table.schema
    )
    assert profile_rows(pa.concat_tables([table, other])) == rows
    assert profile_rows(other) == rows


# Callouts


@given(
    st.lists(st.tuples(st.floats(-50, 900), st.floats(20, 90)), min_size=1, max_size=14),
    st.floats(300, 900),
)
def test_boxes_never_overlap_and_stay_inside_when_they_fit(
    boxes: list[tuple[float, float]], high: float
) -> None:
    wanted, heights = [center for center, _ in boxes], [height for _, height in boxes]
    tops = callout_layout.spread(wanted, heights, 0.0, high, 10.0)
    order = sorted(range(len(boxes)), key=lambda i: tops[i])
    for above, below in pairwise(order):
        assert tops[above] + heights[above] + 10.0 <= tops[below] + 1e-6
    assert min(tops) >= -1e-6
    if sum(heights) + 10.0 * (len(boxes) - 1) <= high:
        assert max(top + height for top, height in zip(tops, heights, strict=True)) <= high + 1e-6


def test_a_box_with_room_is_centered_on_its_point() -> None:
    assert callout_layout.spread([100.0, 300.0], [40.0, 40.0], 0.0, 400.0, 10.0) == [80.0, 280.0]
    assert callout_layout.spread([100.0, 100.0], [40.0, 40.0], 0.0, 400.0, 10.0) == [55.0, 105.0]


def test_every_result_has_a_box_on_its_side(store: Store) -> None:
    points = callout_layout.point_rows(run_query(store, "feature_callouts"))
    frame, boxes = callout_layout.lay_out(points, 880)
    assert sorted(box.rank for box in boxes) == list(range(1, N_FINDINGS + 1))
    for box in boxes:
        planted = PLANTED[box.rank - 1]
        assert (box.left == 0) == (planted.log2 < 0)
        assert box.left + box.width <= frame.left or box.left >= frame.right
        assert box.top >= 0
        assert box.bottom <= frame.height
        assert box.text.splitlines()[0] == f"{box.rank}  {CHANGE_CLASSES[planted.change]}"
        assert planted.name.split()[0] in box.text


def test_frame_maps_pixels_and_data_back() -> None:
    frame = callout_layout.Frame(880, 400, 262, 618, 4.0, 6)
    assert frame.ratio(frame.x(1.7)) == pytest.approx(1.7)
    assert frame.band(frame.y(2.3)) == pytest.approx(2.3)
    assert (frame.x(-4.0), frame.x(4.0)) == (262, 618)


def test_numbers_on_one_spot_share_a_label() -> None:
    frame = callout_layout.Frame(300, 300, 0, 300, 4.0, 3)
    spots = [(3, 1.0, 1.0), (1, 1.0, 1.0), (2, -3.0, 1.0), (4, 1.05, 1.05)]
    points = [{"rank": rank, "x": x, "y": y, "boxed": True} for rank, x, y in spots]
    points.append({"rank": 1, "x": 0.0, "y": 0.0, "boxed": False})
    assert [row["ranks"] for row in callout_layout.number_rows(points, frame)] == ["1, 3, 4", "2"]


def test_points_are_clipped_and_keep_their_band() -> None:
    row = {"feature_id": "a", "layer": 17, "latent": 1, "position_class": "start", "change": "added", "theta": 1.0,
           "rank": None, "name": None, "result_change": None, "boxed": False}  # fmt: skip
    table = pa.Table.from_pylist(
        [{**row, "log2_ratio": 9.0}, {**row, "layer": 4, "log2_ratio": -9.0}, {**row, "log2_ratio": None}]
    )
    points = callout_layout.point_rows(table)
    assert [point["x"] for point in points] == [callout_layout.LIMIT, -callout_layout.LIMIT]
    assert [round(point["y"]) for point in points] == [1, 0]


# Specifications and pictures


def strings(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for item in part.values():
            yield from strings(item)
    elif isinstance(part, list):
        for item in part:
            yield from strings(item)


def test_specifications_load_nothing_and_use_known_colors(store: Store) -> None:
    figures = draw_figures(store, store.run("latest").id, Progress())
    assert [figure.key for figure in figures] == [
        *(kind.key for kind in KINDS),
        "rates_1", "share_by_layer_1", "rates_2", "share_by_layer_2",
        *(f"{key}_{rank}" for rank in (3, 4, 5) for key in ("rates", "share_by_layer")),
    ]  # fmt: skip
    roles = {f"${role}" for role in theme.palette()}
    for figure in figures:
        for spec in (figure.wide, figure.narrow):
            body = {key: item for key, item in spec.items() if key != "datasets"}
            assert '"url"' not in json.dumps(body)
            assert {
                text for text in strings(body) if text.startswith("$") and text != spec["$schema"]
            } <= roles
            assert not any(text.startswith("#") for text in strings(body))
            assert spec["description"] == figure.alt
        assert "<script" not in figure.svg_wide
        assert "$ink" not in figure.svg_wide


def test_both_palettes_have_the_same_roles() -> None:
    assert theme.palette().keys() == theme.palette(dark=True).keys()


def test_model_written_text_is_not_taken_for_a_color() -> None:
    spec = {
        "datasets": {"a": [{"name": "$ink"}]},
        "mark": {"color": "$ink"},
        "data": {"values": [{"x": "$ink"}]},
    }
    colored = theme.colored(spec)
    assert colored["mark"]["color"] == theme.LIGHT["ink"]
    assert colored["datasets"] == spec["datasets"]
    assert colored["data"] == spec["data"]


def test_pictures_are_written_at_twice_the_size(store: Store, tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.key == "divergence")
    figure = draw(kind, run_query(store, kind.query))
    assert figure is not None
    paths = write_figures([figure], tmp_path / "charts")
    assert [path.name for path in paths] == ["divergence.svg", "divergence.png", "divergence.vl.json"]
    png = paths[1].read_bytes()
    assert png.startswith(b"\x89PNG")
    width, _ = struct.unpack(">II", png[16:24])
    assert width == 2 * drawing.WIDE
    assert paths[0].read_text().startswith("<svg")
    assert json.loads(paths[2].read_text())["config"]["background"] == theme.LIGHT["paper"]


def test_pictures_have_the_promised_width(store: Store) -> None:
    for figure in draw_figures(store, store.run("latest").id, Progress()):
        for svg, width in ((figure.svg_wide, drawing.WIDE), (figure.svg_narrow, drawing.NARROW)):
            drawn = float(svg.split('width="')[1].split('"')[0])
            assert drawn <= width + 1, figure.key


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.key)
def test_no_rows_make_no_figure(store: Store, kind: Any) -> None:
    assert draw(kind, run_query(store, kind.query).slice(0, 0)) is None


def test_hostile_text_is_inert_in_pictures(hostile_store: FilledStore) -> None:
    with Store.open(hostile_store.path) as opened:
        for figure in draw_figures(opened, hostile_store.runs[0], Progress()):
            for svg in (figure.svg_wide, figure.svg_narrow):
                assert "<script" not in svg
                assert "<img" not in svg
                assert "\x1b" not in svg
                assert "\u202e" not in svg
