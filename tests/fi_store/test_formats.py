"""Table formats: all show the same values, and text that a model wrote has no effect in any of them."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fi_store.errors import UsageError
from fi_store.formats import MAX_COLUMNS, cell, format_table
from fi_store.safe_text import (
    markdown,
    markdown_block,
    markdown_code,
    one_line,
    spreadsheet_cell,
    token_label,
    visible,
)
from tests.helpers.store_factory import HOSTILE

TABLE = pa.table(
    {
        "name": ["plain", '=HYPERLINK("http://x","y")', "\x1b[31mred", None],
        "number": [-1.5, 2.0, float("nan"), 4.0],
        "tokens": [[" Step", "\n"], [], ["|"], None],
        "at": [dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)] * 4,
    }
)
TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
NASTY = st.text(alphabet="\\`*_{}[]()<>#+-.!|~&@$^:/ \n=1w", max_size=40)


def written(fmt: str, table: pa.Table = TABLE) -> str:
    stream = io.StringIO()
    format_table(table, fmt, stream)
    return stream.getvalue()


def test_json_keeps_every_character_and_has_no_nan() -> None:
    rows = json.loads(written("json"))
    assert rows[2] == {
        "name": "\x1b[31mred",
        "number": None,
        "tokens": ["|"],
        "at": "2026-03-02T09:30:00+00:00",
    }
    assert written("json").isascii()


def test_csv_numbers_stay_numbers_and_formulas_become_text() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv"))))
    assert rows[0]["number"] == "-1.5"
    assert rows[1]["name"] == '\'=HYPERLINK("http://x","y")'
    assert "\x1b" not in written("csv")
    assert json.loads(rows[0]["tokens"]) == [" Step", "\n"]
    assert rows[3]["name"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "  =1", "\n=1", "\r=1"])
def test_no_cell_begins_like_a_formula(text: str) -> None:
    assert spreadsheet_cell(text).startswith("'")


def test_the_terminal_shows_control_characters() -> None:
    shown = written("table")
    assert "\x1b" not in shown
    assert "[U+001B][31mred" in shown
    assert "Step, ↵" in shown


def test_many_columns_become_one_block_per_row() -> None:
    wide = pa.table({f"column_{number}": [number, number] for number in range(MAX_COLUMNS + 1)})
    assert "row 2 of 2" in written("table", wide)
    assert written("table", wide.slice(0, 0)).strip() == "No rows."


def test_parquet_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a file"):
        format_table(TABLE, "parquet", io.StringIO())
    format_table(TABLE, "parquet", tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").num_rows == 4
    with pytest.raises(UsageError, match="no format 'xml'"):
        format_table(TABLE, "xml")


def test_a_file_is_written_as_utf8(tmp_path: Path) -> None:
    format_table(pa.table({"a": ["č–✓"]}), "csv", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "a\nč–✓\n"


def test_markdown_table_keeps_its_shape() -> None:
    tokens = (
        MarkdownIt("commonmark")
        .enable("table")
        .parse(written("markdown", pa.table({"a": list(HOSTILE), "b": ["x"] * 7})))
    )
    assert sum(token.type == "tr_open" for token in tokens) == 1 + len(HOSTILE)
    assert sum(token.type == "td_open" for token in tokens) == 2 * len(HOSTILE)


def rendered_types(text: str) -> set[str]:
    """Every type of token that a Markdown parser finds in the text (with autolinks and raw HTML on)."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found = set()
    for token in reader.parse(text):
        found |= {token.type, *(child.type for child in token.children or ())}
    return found


@given(TEXT | NASTY)
def test_escaped_markdown_is_only_text(text: str) -> None:
    kinds = rendered_types(f"x {markdown(one_line(text))}")
    assert kinds <= {"paragraph_open", "inline", "paragraph_close", "text", "text_special"}


@given(TEXT | NASTY)
def test_escaped_markdown_says_what_was_written(text: str) -> None:
    shown = one_line(text)
    html = MarkdownIt("commonmark", {"html": True}).render(f"x {markdown(shown)}")
    read = html.removeprefix("<p>").removesuffix("</p>\n")
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        read = read.replace(entity, character)
    assert read.strip() == f"x {shown}".strip()


@given(TEXT | NASTY)
def test_code_spans_and_blocks_contain_their_text(text: str) -> None:
    kinds = rendered_types(f"x {markdown_code(token_label(text))} y")
    assert kinds == {"paragraph_open", "inline", "paragraph_close", "text", "code_inline"}
    assert rendered_types(markdown_block(text)) == {"fence"}


@given(TEXT)
def test_visible_leaves_no_control_characters(text: str) -> None:
    for character in visible(text):
        kind = unicodedata.category(character)
        assert kind not in ("Cc", "Cs", "Zl", "Zp")
        assert kind != "Cf" or character in "\u00ad\u200c\u200d"


@given(st.text(alphabet=st.characters(categories=["L", "N", "P"]), max_size=50))
def test_visible_leaves_ordinary_text_alone(text: str) -> None:
    assert visible(text) == text


def test_links_are_broken() -> None:
    assert "\\://" in markdown("see https://evil.example")
    assert "www\\." in markdown("see www.evil.example")


def test_cells_for_people() -> None:
    assert cell(None) == ""
    assert cell(True) == "yes"
    assert cell(0.123456) == "0.1235"
    assert cell([" Step", " ", ""]) == "Step, ␣, (empty)"
    assert one_line("a\n\n b", 3) == "a b"
    assert one_line("abcdef", 4) == "abc…"
