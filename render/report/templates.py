"""Fills the Jinja templates of both reports; the filters that make model-written text harmless are passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from fi_store import vocabulary
from fi_store.summary import VERSION_1
from fi_store.versions import package_version
from render import words
from render.charts import Figure
from render.report.data import ReportData

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


def fill_template(
    name: str,
    data: ReportData,
    figures: Sequence[Figure],
    *,
    autoescape: bool,
    filters: Mapping[str, Callable[..., Any]],
    **values: Any,
) -> str:
    """The text of a template; a name that it does not know is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name).render(
        data=data,
        figures={figure.key: figure for figure in figures},
        words=words,
        vocabulary=vocabulary,
        version_1=VERSION_1,
        version=package_version(),
        **values,
    )
