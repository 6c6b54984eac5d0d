"""Makes text that a model wrote harmless for whoever prints it: terminals, spreadsheets, Markdown.

Knows nothing of HTML: there, Jinja's autoescape does that part, after `visible` has shown what cannot be seen.
"""

from __future__ import annotations

import re
import unicodedata

_KEPT_FORMAT = "\u00ad\u200c\u200d"
"""Soft hyphen and the joiners that emoji and several scripts need; they cannot reorder or hide text."""
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~@$])")
_LINE_START = re.compile(r"(?m)^(\s*)([-+=>]|\d+(?=[.)](?:\s|$)))")
_LINK_START = re.compile(r"(?i)(?<=[a-z])(:)(?=//)|(?<=\bwww)(\.)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_RUNS_OF_BLANKS = re.compile(r"\s+")


def visible(text: str, *, keep_newlines: bool = False) -> str:
    """The text with every control and format character shown instead of obeyed.

    An escape, a direction override or a zero-width character becomes its code point in brackets, as `[U+001B]`, so
    that nothing moves the cursor, reorders or hides what is read. A tab becomes blanks; a line break `↵` or itself.
    """
    return "".join(_shown(character, keep_newlines) for character in text)


def _shown(character: str, keep_newlines: bool) -> str:
    if character == "\n":
        return "\n" if keep_newlines else "↵"
    if character == "\t":
        return "    "
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _KEPT_FORMAT):
        return f"[U+{ord(character):04X}]"
    return character


def one_line(text: str, width: int | None = None) -> str:
    """The text on one line, blanks run together, cut with an ellipsis at `width` characters."""
    flat = _RUNS_OF_BLANKS.sub(" ", visible(_RUNS_OF_BLANKS.sub(" ", text))).strip()
    return flat if width is None or len(flat) <= width else flat[: width - 1].rstrip() + "…"


def token_label(token: str) -> str:
    """A token as a person reads it: blanks around words dropped, pure blanks shown."""
    bare = token.strip()
    if bare:
        return visible(bare)
    return visible(token).replace(" ", "␣") if token else "(empty)"


def spreadsheet_cell(text: str) -> str:
    """Text that a spreadsheet will not take for a formula: an apostrophe stands before a first `=`, `+`, `-`, `@`.

    Source: OWASP, "CSV Injection".
    """
    shown = visible(text, keep_newlines=True)
    return "'" + shown if text.startswith(_FORMULA) or shown.lstrip().startswith(_FORMULA) else shown


def markdown(text: str, *, keep_newlines: bool = False) -> str:
    """Text that Markdown (CommonMark and GitHub's tables and autolinks) shows literally."""
    shown = visible(text, keep_newlines=keep_newlines).replace("&", "&amp;")
    shown = _MARKDOWN.sub(r"\\\1", shown)
    shown = _LINK_START.sub(lambda found: "\\" + found.group(0), shown)
    return _LINE_START.sub(lambda found: _guarded(found[1], found[2]), shown)


def _guarded(blanks: str, mark: str) -> str:
    return f"{blanks}{mark[:-1]}&#{ord(mark[-1])};" if mark.isdigit() else f"{blanks}\\{mark}"


def markdown_code(text: str) -> str:
    """An inline code span that holds the text whatever backticks are in it."""
    shown = visible(text) or " "
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def markdown_block(text: str) -> str:
    """A fenced block that holds the text whatever fences are in it."""
    shown = visible(text, keep_newlines=True)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
