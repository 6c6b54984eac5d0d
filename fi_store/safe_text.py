"""Makes text that a model wrote safe to print in terminals, spreadsheets and Markdown.

Does not handle HTML: there, Jinja's autoescape does the escaping after `visible` has replaced invisible characters.
"""

from __future__ import annotations

import re
import unicodedata

_KEPT_FORMAT = "\u00ad\u200c\u200d"
"""The soft hyphen, and the joiners that emoji and several scripts need. They cannot reorder or hide text."""
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~@$])")
_LINE_START = re.compile(r"(?m)^(\s*)([-+=>]|\d+(?=[.)](?:\s|$)))")
_LINK_START = re.compile(r"(?i)(?<=[a-z])(:)(?=//)|(?<=\bwww)(\.)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_RUNS_OF_BLANKS = re.compile(r"\s+")


def visible(text: str, *, keep_newlines: bool = False) -> str:
    """The text with every control and format character made visible, so that none takes effect.

    An escape, a direction override or a zero-width character becomes its code point in brackets, such as `[U+001B]`, so
    nothing can move the cursor or reorder or hide text. A tab becomes spaces. A line break becomes `↵`, or is kept.
    """
    return "".join(_visible_character(character, keep_newlines) for character in text)


def _visible_character(character: str, keep_newlines: bool) -> str:
    if character == "\n":
        return "\n" if keep_newlines else "↵"
    if character == "\t":
        return "    "
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _KEPT_FORMAT):
        return f"[U+{ord(character):04X}]"
    return character


def one_line(text: str, width: int | None = None) -> str:
    """The text on one line, with whitespace collapsed, cut with an ellipsis at `width` characters."""
    flat = _RUNS_OF_BLANKS.sub(" ", visible(_RUNS_OF_BLANKS.sub(" ", text))).strip()
    return flat if width is None or len(flat) <= width else flat[: width - 1].rstrip() + "…"


def token_label(token: str) -> str:
    """A token for people: spaces around words are dropped, a token of only spaces is shown as `␣`."""
    bare = token.strip()
    if bare:
        return visible(bare)
    return visible(token).replace(" ", "␣") if token else "(empty)"


def spreadsheet_cell(text: str) -> str:
    """Text that a spreadsheet will not run as a formula: a leading `=`, `+`, `-` or `@` gets an apostrophe in front.

    Source: OWASP, "CSV Injection".
    """
    escaped = visible(text, keep_newlines=True)
    return "'" + escaped if text.startswith(_FORMULA) or escaped.lstrip().startswith(_FORMULA) else escaped


def markdown(text: str, *, keep_newlines: bool = False) -> str:
    """Text escaped so that Markdown (CommonMark, plus GitHub's tables and autolinks) shows it literally."""
    escaped = visible(text, keep_newlines=keep_newlines).replace("&", "&amp;")
    escaped = _MARKDOWN.sub(r"\\\1", escaped)
    escaped = _LINK_START.sub(lambda found: "\\" + found.group(0), escaped)
    return _LINE_START.sub(lambda found: _guarded(found[1], found[2]), escaped)


def _guarded(blanks: str, mark: str) -> str:
    return f"{blanks}{mark[:-1]}&#{ord(mark[-1])};" if mark.isdigit() else f"{blanks}\\{mark}"


def markdown_code(text: str) -> str:
    """The text as an inline code span, whatever backticks it contains."""
    escaped = visible(text) or " "
    longest = max((len(run) for run in re.findall(r"`+", escaped)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if escaped.startswith("`") or escaped.endswith("`") else ""
    return f"{ticks}{pad}{escaped}{pad}{ticks}"


def markdown_block(text: str) -> str:
    """The text as a fenced block, whatever fences it contains."""
    escaped = visible(text, keep_newlines=True)
    longest = max((len(run) for run in re.findall(r"`+", escaped)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{escaped}\n{fence}"
