"""Builds one self-contained HTML file: Jinja with autoescape, hashed inline style and scripts, charts as JSON islands.

The page carries its own content security policy: it loads nothing, only the scripts whose hashes it lists may run, and
Vega evaluates chart expressions with its own interpreter (`ast`), since `eval` is forbidden. If the charts cannot
start, the still pictures in the page remain.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from markupsafe import Markup

from fi_store.errors import RenderError
from fi_store.formats import finite
from fi_store.safe_text import one_line, token_label, visible
from render.charts import Figure, palette, vega_config, vega_lite_version
from render.report.data import ReportData
from render.report.templates import TEMPLATES, fill_template

_NO_SCRIPT = "'none'"
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
_ISLAND = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def render_html(data: ReportData, figures: Sequence[Figure]) -> str:
    """The whole page as text."""
    style = _file("report.css")
    scripts = [vega_bundle(), _file("report.js")] if figures else []
    return fill_template(
        "report.html.j2",
        data,
        figures,
        autoescape=True,
        filters={
            "shown": visible,
            "lines": lambda text: visible(text, keep_newlines=True),
            "line": one_line,
            "token": token_label,
            "picture": picture,
            "island": lambda figure: island(_chart(figure)),
        },
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        policy=policy([style], scripts),
        palettes=island({"light": palette(), "dark": palette(dark=True), "config": vega_config()}),
    )


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The content security policy that allows exactly these styles and scripts and loads nothing."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {' '.join(map(_source, styles))}",
            f"script-src {' '.join(map(_source, scripts)) or _NO_SCRIPT}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def island(value: Any) -> Markup:
    """JSON for a `<script type="application/json">`: no character in it can end the element."""
    text = json.dumps(finite(value), ensure_ascii=False, separators=(",", ":"))
    return Markup(text.translate(_ISLAND))


def _chart(figure: Figure) -> dict[str, Any]:
    """Both forms of a figure, with the data that they share stored once."""
    wide, narrow = dict(figure.wide), dict(figure.narrow)
    datasets = {**wide.pop("datasets", {}), **narrow.pop("datasets", {})}
    return {"datasets": datasets, "wide": wide, "narrow": narrow}


def picture(svg: str) -> str:
    """An SVG as a data URL. Inside `<img>` no script of a picture runs."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite, Vega-Embed and the expression interpreter as one script from vl-convert; no network.

    Raises:
        RenderError: the script contains text that would end its own element.
    """
    import vl_convert

    return _inline(
        str(vl_convert.javascript_bundle(_SNIPPET, vl_version=vega_lite_version())), "the Vega bundle"
    )


@cache
def _file(name: str) -> str:
    return _inline((TEMPLATES / name).read_text(encoding="utf-8"), name)


def _inline(text: str, name: str) -> str:
    """Text that a browser hashes to the same value: no carriage returns, and nothing that ends the element early."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lowered = text.lower()
    if any(mark in lowered for mark in ("</script", "</style", "<!--", "\0")):
        raise RenderError(
            f"{name} cannot be embedded in a page.", hint="pip install --upgrade vl-convert-python"
        )
    return text
