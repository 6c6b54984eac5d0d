"""The figures of a run: the saved query behind each chart, its title and caption, and the files written for it.

A figure has a wide and a narrow form (see `drawing.py`), or one small form if it is about one finding. They become
specifications for the page and still pictures (SVG, and PNG at twice the size) that vl-convert draws without a browser
or a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow as pa

from fi_store.progress import Progress
from fi_store.store import Store, run_query
from fi_store.wording import count
from render.charts import categories, features, theme
from render.charts.accuracy import accuracy_chart
from render.charts.callouts import callout_chart
from render.charts.causes import rates_chart, share_by_layer
from render.charts.drawing import NARROW, WIDE
from render.charts.layer_profile import layer_profile
from render.charts.layer_similarity import layer_similarity

PNG_SCALE = 2.0
Spec = dict[str, Any]
Row = dict[str, Any]
_INNER_ID = re.compile(r'(?<=\bid=")(?:clip|gradient_)\d+(?=")|(?<=url\(#)(?:clip|gradient_)\d+(?=\))')


@dataclass(frozen=True)
class Kind:
    """A chart that a run may have: its query, its drawing function, its title and its caption."""

    key: str
    query: str
    draw: Callable[[pa.Table, int], Any | None]
    title: str
    caption: str


@dataclass(frozen=True)
class FindingKind:
    """A small chart that a finding may have; `draw` gets its rows of `top_findings` or `causal_arms`."""

    key: str
    draw: Callable[[pa.Table, int], Any | None]
    title: str
    caption: Callable[[Row], str]


def _rates_caption(row: Row) -> str:
    own = "Base and target: each model's own held-out answers."
    if not row["n_generated"]:
        return own
    return (
        f"{own} The others: {count(row['n_generated'], 'prompt')} answered again, without a patch, with the finding's "
        "features set to the other model's values, and with a control of the same size."
    )


def _shares_caption(row: Row) -> str:
    return (
        f"What a patch of the {row['side']} closes of the gap, layer by layer, with 95% intervals. The test was made "
        f"at layer {row['layer']}; the whole difference is the ceiling."
    )


RATES = FindingKind("rates", rates_chart, "How often the answers have it", _rates_caption)
SHARES = FindingKind("share_by_layer", share_by_layer, "What it closes at each layer", _shares_caption)

KINDS = (
    Kind(
        "layer_profile",
        "layer_profile",
        layer_profile,
        "How much of the gap passes through each layer",
        "How much of the difference between the models has formed by each layer: the share of the gap that passes "
        "through the layer at the positions of a class, from one backward pass in each model. Estimated, not patched.",
    ),
    Kind(
        "callouts",
        "feature_callouts",
        callout_chart,
        "Where the features are",
        "Each point is one feature of a layer. Points on the right are more active in the target than in the base, "
        "points on the left less (×2 means twice as active). Each box names a result, with lines to the features that "
        "it consists of (on a narrow page, numbers replace the boxes).",
    ),
    Kind(
        "similarity",
        "layer_similarity",
        layer_similarity,
        "How alike the layers are",
        "Both models read the same text. A value of 1 means that a layer is alike in both models (CKA: the same "
        "structure; cosine: the same direction). The size of the difference is relative to the base's activations. "
        "Bands are 95% intervals over prompts.",
    ),
    Kind(
        "categories",
        "feature_category_heatmap",
        categories.category_heatmap,
        "On which kinds of prompts the features move",
        "How far each result's features move (mean θ) in each category, on the held-out prompts. A ring marks a "
        "category that differs from the others in a separate test (adjusted p at most 0.05).",
    ),
    Kind(
        "distribution",
        "feature_distribution",
        features.feature_distribution,
        "How the features changed",
        "All features of the analyzed layers that fire, by change class. 'Too uncertain to classify' means that the "
        "data show neither a change nor its absence.",
    ),
    Kind(
        "alignment",
        "feature_alignment",
        features.alignment,
        "Base versus target, feature by feature",
        "Mean activity in both models of every feature that fires. Features on the dashed line are equally active; "
        "a number is the rank of the result that a feature belongs to.",
    ),
    Kind(
        "divergence",
        "category_discrimination",
        categories.category_discrimination,
        "Where the answers differ",
        "How far apart the two models' next-word predictions are while both read the same answers, by category "
        "(lines: 95% intervals over prompts). Zero means identical.",
    ),
    Kind(
        "accuracy",
        "accuracy_by_difficulty",
        accuracy_chart,
        "Right answers by difficulty",
        "The share of answers that were right, from easy prompts (1) to hard ones (5), with 95% intervals over "
        "prompts. The short gray marks show the rate of guessing.",
    ),
)


@dataclass(frozen=True)
class Figure:
    """A drawn figure. The specifications name colors by role; the pictures use the light colors."""

    key: str
    title: str
    caption: str
    alt: str
    wide: Spec
    narrow: Spec
    svg_wide: str
    svg_narrow: str


def draw_figures(store: Store, run_id: str, progress: Progress) -> list[Figure]:
    """Every figure that the run has rows for; those of a finding have its rank in their key."""
    results = run_query(store, "top_findings", run=run_id)
    arms = run_query(store, "causal_arms", run=run_id)
    figures = []
    with progress.task("draw charts", len(KINDS) + results.num_rows) as advance:
        for kind in KINDS:
            figures.append(draw(kind, run_query(store, kind.query, run=run_id)))
            advance(1)
        for number, row in enumerate(results.to_pylist()):
            if row["tier"] == "finding":
                figures.append(draw_of_finding(RATES, row, results.slice(number, 1)))
                figures.append(draw_of_finding(SHARES, row, arms_of(row, arms)))
            advance(1)
    return [figure for figure in figures if figure is not None]


def draw(kind: Kind, table: pa.Table) -> Figure | None:
    """The figure of a table; None when there is nothing to show."""
    return _figure(kind.key, kind.title, kind.caption, "", (kind.draw(table, WIDE), kind.draw(table, NARROW)))


def draw_of_finding(kind: FindingKind, row: Row, table: pa.Table) -> Figure | None:
    """The figure of one finding, in one size for all pages; None when there is nothing to show."""
    chart = kind.draw(table, NARROW)
    about = f"Finding {row['rank']}: "
    return _figure(f"{kind.key}_{row['rank']}", kind.title, kind.caption(row), about, (chart, chart))


def arms_of(row: Row, arms: pa.Table) -> pa.Table:
    """The rows of `causal_arms` of a finding's change and control, and of the whole difference at the same positions.

    All of them are of the patched model with which the finding was tested. Changes that repeat the finding have arms of
    their own, which are left out.
    """
    rows = [arm for arm in arms.to_pylist() if arm["side"] == row["side"]]
    own = [arm for arm in rows if arm["group_id"] == row["group_id"] and arm["kind"] in ("change", "control")]
    patched = {_where(arm) for arm in own if arm["kind"] == "change"}
    whole = [arm for arm in rows if arm["kind"] == "whole" and _where(arm) in patched]
    return pa.Table.from_pylist([*whole, *own], schema=arms.schema)


def _where(arm: Row) -> tuple[str, int, frozenset[str]]:
    return arm["site"], arm["layer"], frozenset(arm["position_classes"])


def _figure(key: str, title: str, caption: str, about: str, charts: tuple[Any, Any]) -> Figure | None:
    """The figure of a chart's wide and narrow forms, which may be one; None if there is no chart."""
    wide, narrow = charts
    if wide is None or narrow is None:
        return None
    description = f"{about}{title}. {caption}"
    specs = [specification(chart, description) for chart in (wide, narrow)]
    pictures = [to_svg(spec) for spec in specs]
    return Figure(key, title, caption, description, specs[0], specs[1], pictures[0], pictures[1])


def specification(chart: Any, description: str) -> Spec:
    """The chart as Vega-Lite, checked against the schema, without a configuration of its own."""
    spec: Spec = chart.to_dict()
    spec.pop("config", None)
    spec["description"] = description
    return spec


def _ready(spec: Spec) -> Spec:
    return {**theme.colored(spec), "config": theme.colored(theme.vega_config())}


def to_svg(spec: Spec) -> str:
    """The still picture of a specification, in the light colors."""
    import vl_convert

    svg = str(vl_convert.vegalite_to_svg(_ready(spec), vl_version=vega_lite_version(), allowed_base_urls=[]))
    return _renumbered(svg)


def _renumbered(svg: str) -> str:
    """The picture with its inner ids renumbered from 1: Vega counts them across all pictures of a process."""
    numbers: dict[str, str] = {}
    return _INNER_ID.sub(lambda match: numbers.setdefault(match[0], f"part{len(numbers) + 1}"), svg)


def to_png(spec: Spec) -> bytes:
    """The picture as PNG at twice the size, for documents that cannot hold SVG."""
    import vl_convert

    drawn = vl_convert.vegalite_to_png(
        _ready(spec), vl_version=vega_lite_version(), scale=PNG_SCALE, allowed_base_urls=[]
    )
    return bytes(drawn)


def vega_lite_version() -> str:
    """The major and minor version of Vega-Lite that this Altair writes for, as vl-convert names it."""
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def write_figures(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Writes `<key>.svg`, `<key>.png` and the specification `<key>.vl.json` of each figure; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in figures:
        for suffix, content in (
            ("svg", figure.svg_wide.encode("utf-8")),
            ("png", to_png(figure.wide)),
            ("vl.json", json.dumps(_ready(figure.wide), indent=1).encode("utf-8")),
        ):
            path = folder / f"{figure.key}.{suffix}"
            path.write_bytes(content)
            written.append(path)
    return written
