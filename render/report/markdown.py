"""Writes the Markdown report: the same records as the page, with every piece of model text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import jinja2

from fi_store.safe_text import markdown, markdown_block, markdown_code, one_line, token_label, visible
from fi_store.versions import package_version
from render import words
from render.charts import Figure
from render.report.data import ReportData
from render.report.html import TEMPLATES


def render_markdown(data: ReportData, figures: Sequence[Figure], pictures: str) -> str:
    """The report as text; `pictures` is the folder of the PNG files, relative to the report."""
    template = environment().get_template("report.md.j2")
    text = template.render(
        data=data,
        figures={figure.key: figure for figure in figures},
        pictures=pictures,
        words=words,
        version=package_version(),
    )
    return text.strip() + "\n"


@cache
def environment() -> jinja2.Environment:
    """Jinja without HTML escaping: what Markdown needs is done by the filters, which the template must use."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        md=lambda text: markdown(one_line(text)),
        token=lambda text: markdown_code(token_label(text)),
        block=markdown_block,
        excerpt=lambda row: markdown_block(
            f"{visible(row['before'])}«{token_label(row['token'])}»{visible(row['after'])}"
        ),
    )
    return made
