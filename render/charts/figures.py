"""The figures of a run: the saved query behind each chart, its title and caption, and the files written for it.

A figure has a wide and a narrow form (see `drawing.py`). Both become specifications for the page and
still pictures (SVG, and PNG at twice the size) that vl-convert draws without a browser or a network.
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
from render.charts import categories, features, theme
from render.charts.accuracy import accuracy_chart
from render.charts.callouts import callout_chart
from render.charts.drawing import NARROW, WIDE
from render.charts.layer_similarity import layer_similarity

PNG_SCALE = 2.0
Spec = dict[str, Any]
_INNER_ID = re.compile(r'(?<=\bid=")(?:clip|gradient_)\d+(?=")|(?<=url\(#)(?:clip|gradient_)\d+(?=\))')


@dataclass(frozen=True)
class Kind:
    """A chart that a run may have: its query, its drawing function, its title and its caption."""

    key: str
    query: str
    draw: Callable[[pa.Table, int], Any | None]
    title: str
    caption: str


KINDS = (
    Kind(
        "callouts",
        "feature_callouts",
        callout_chart,
        "Where the changes sit",
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
        "Which kinds of prompts each change affects",
        "Mean effect of each result in each category, on the held-out prompts. A ring marks a category that differs "
        "from the others in a separate test (adjusted p at most 0.05).",
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
    """Every figure that the run has rows for."""
    figures = []
    with progress.task("draw charts", len(KINDS)) as advance:
        for kind in KINDS:
            figure = draw(kind, run_query(store, kind.query, run=run_id))
            if figure is not None:
                figures.append(figure)
            advance(1)
    return figures


def draw(kind: Kind, table: pa.Table) -> Figure | None:
    """The figure of a table; None when there is nothing to show."""
    wide, narrow = kind.draw(table, WIDE), kind.draw(table, NARROW)
    if wide is None or narrow is None:
        return None
    description = f"{kind.title}. {kind.caption}"
    specs = [specification(chart, description) for chart in (wide, narrow)]
    pictures = [to_svg(spec) for spec in specs]
    return Figure(
        kind.key, kind.title, kind.caption, description, specs[0], specs[1], pictures[0], pictures[1]
    )


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
