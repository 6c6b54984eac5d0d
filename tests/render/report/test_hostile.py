"""Reports are harmless whatever the models wrote."""

from __future__ import annotations

import json

import pytest
from markdown_it import MarkdownIt

from fi_store.errors import RenderError
from fi_store.store import Store
from render.report import render_report
from render.report.html import _inline, island, policy
from tests.helpers.page import Page, copied
from tests.helpers.planted import N_FINDINGS
from tests.helpers.store_factory import HOSTILE, FilledStore


@pytest.fixture(scope="module")
def hostile(hostile_store: FilledStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str]:
    path = copied(hostile_store, tmp_path_factory.mktemp("hostile"))
    with Store.open(path) as store:
        page, text = render_report(store, "latest")[:2]
    return Page(page.read_text(encoding="utf-8")), text.read_text(encoding="utf-8")


def test_no_tag_written_by_a_model_becomes_one(hostile: tuple[Page, str]) -> None:
    page, _ = hostile
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(str(attributes["src"]).startswith("data:image/svg+xml;base64,") for attributes in images)
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert sum(not attributes for attributes in scripts) == 2  # Vega and the page's own
    assert all(attributes.get("type") == "application/json" for attributes in scripts if attributes)
    assert "<script>alert(1)</script>" in page.words
    assert '<img src=x onerror="alert(1)">' in page.words
    assert "{{ 7*7 }}" in page.words


def test_no_control_or_override_reaches_a_reader(hostile: tuple[Page, str]) -> None:
    page, markdown = hostile
    for text in (page.words, markdown):
        for character in "\x1b\x07\u202e\u202c\u2028":
            assert character not in text
    assert "[U+202E]" in page.words
    assert "U+202E" in markdown


def test_markdown_has_no_foreign_markup(hostile: tuple[Page, str]) -> None:
    _, markdown = hostile
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = reader.parse(markdown)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [
        token for token in [*tokens, *inline] if token.type in ("html_block", "html_inline", "link_open")
    ]
    assert [str(token.attrs["src"]).split("/")[:3] for token in inline if token.type == "image"] == [
        ["..", "..", "visualizations"]
    ] * (8 + 2 * N_FINDINGS)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert not [heading for heading in headings if heading.startswith("not a heading")]
    for i, token in enumerate(tokens):
        if token.type == "tr_open":
            cells = 0
            for later in tokens[i:]:
                cells += later.type in ("th_open", "td_open")
                if later.type == "tr_close":
                    break
            assert cells in (3, 4, 5, 6, 7)


def test_json_islands_cannot_end_their_element() -> None:
    value = {"text": HOSTILE[0] + "<!-- & \u2028\u2029", "number": float("nan")}
    text = str(island(value))
    for character in "<>&\u2028\u2029":
        assert character not in text
    assert json.loads(text) == {"text": value["text"], "number": None}


def test_policy_names_hashes_and_loads_nothing() -> None:
    made = policy(["body{}"], [])
    assert made.startswith("default-src 'none'; ")
    assert "script-src 'none'" in made
    # printf 'body{}' | openssl dgst -sha256 -binary | base64
    assert "style-src 'sha256-fJgEClQWV1hGkK4qHMO0KotTsVnMYMXTq7/suurGyUo='" in made
    assert "unsafe" not in made


def test_a_script_that_would_end_itself_is_refused() -> None:
    with pytest.raises(RenderError):
        _inline("a = '</SCRIPT>'", "x.js")
    assert _inline("a\r\nb\rc", "x.js") == "a\nb\nc"
