"""Writes the Markdown report: the same records as the page, with all model-written text escaped."""

from __future__ import annotations

from collections.abc import Sequence

from fi_store.safe_text import markdown, markdown_block, markdown_code, one_line, token_label, visible
from render.charts import Figure
from render.report.data import ReportData
from render.report.templates import fill_template


def render_markdown(data: ReportData, figures: Sequence[Figure], pictures: str) -> str:
    """The report as text; `pictures` is the folder of the PNG files, relative to the report.

    Jinja escapes nothing here: the template must pass every piece of text through one of the filters.
    """
    text = fill_template(
        "report.md.j2",
        data,
        figures,
        autoescape=False,
        filters={
            "md": lambda text: markdown(one_line(text)),
            "token": lambda text: markdown_code(token_label(text)),
            "block": markdown_block,
            "pieces": lambda pieces: markdown_block(
                "".join(f"«{piece.text}»" if piece.marked else piece.text for piece in pieces)
                or "(an empty answer)"
            ),
            "excerpt": lambda row: markdown_block(
                f"{visible(row['before'])}«{token_label(row['token'])}»{visible(row['after'])}"
            ),
        },
        pictures=pictures,
    )
    return text.strip() + "\n"
