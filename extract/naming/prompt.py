"""The text that a model is asked with. What it quotes is hostile: models and people wrote it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jinja2

from fi_store.naming import PHRASE_WORDS, PROPOSALS, WORDS, NameRequest
from fi_store.safe_text import visible

VERSION = 1
"""Of the template and of how replies are read: another version asks again."""


def prompt_of(request: NameRequest, complaint: str | None = None) -> str:
    """The prompt for a finding. `complaint`: why the last reply could not be used."""
    return _template().render(
        request=request,
        complaint=complaint,
        most=PROPOSALS,
        phrase_words=PHRASE_WORDS,
        words=WORDS,
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # a model reads it; `quoted` delimits
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(quoted=quoted, quoted_list=quoted_list)
    return environment.get_template("prompt.j2")


def quoted(text: str, width: int) -> str:
    """The text as a JSON string of at most `width` characters before escaping.

    Quotes and line breaks are escaped, so nothing leaves its quotes. So are `<` and `[`, with which the control tokens
    of models begin (`<|im_end|>`, `[INST]`).
    """
    shown = visible(text, keep_newlines=True)
    cut = shown if len(shown) <= width else f"{shown[: width - 1]}…"
    return json.dumps(cut, ensure_ascii=False).replace("<", "\\u003c").replace("[", "\\u005b")


def quoted_list(texts: Sequence[str], width: int) -> str:
    """The texts, each quoted; 'none' without any."""
    return ", ".join(quoted(text, width) for text in texts) or "none"
