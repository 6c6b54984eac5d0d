"""Compares code as data: parsed and normalized, never run."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any, NamedTuple

MAX_CODE = 2_000
"""Characters of code that are parsed."""
MAX_STARTS = 40
"""Positions in a text at which lists and objects are looked for."""

_LANGUAGE = re.compile(r"[\w+-]{0,20}[ \t]{0,5}\n")
_INLINE = re.compile(r"`([^`\n]{1,2000})`")
_STATED = re.compile(
    r"(?:answer|result|list|expression|code|output)\s?(?:is|:|=)\s?:?\s*([^\n]{1,2000})", re.IGNORECASE
)
_REASON = re.compile(r"\b(?:because|since|explanation)\b", re.IGNORECASE)
_STATEMENTS = ("Module(", *(f"{kind.__name__}(" for kind in ast.stmt.__subclasses__()))


class Code(NamedTuple):
    """Code that a reply gives: as written, in normal form, and how it was found."""

    text: str
    form: str
    how: str


def find_code(reply: str, language: str, *, statements: bool) -> Code | None:
    """The code of a reply: its last code block that parses, else code within the text, else a line that is code.

    Without `statements`, only values count: a reply may quote the program whose output it gives.
    """
    blocks = [(_LANGUAGE.sub("", block, count=1), "code block") for block in reply.split("```")[1::2]]
    inline = [(found[1], "code in the text") for found in _INLINE.finditer(reply)]
    stated = [(found[1].strip(" .`*"), "stated") for found in _STATED.finditer(reply)]
    lines = [(line.strip(" .`*"), "last line") for line in reply.strip().split("\n")[-3:]]
    tiers = (blocks, [(reply, "whole reply")], inline[-20:], stated[-20:], lines)
    for text, how in (one for tier in tiers for one in reversed(tier)):
        form = normal_form(text, language)
        if form is None or (not statements and has_statements(form)):
            continue
        if how == "code block" or not _is_prose(form):
            return Code(text.strip(), form, how)
    return _within(reply[-MAX_CODE:], language)


def normal_form(text: str, language: str) -> str | None:
    """Code in a form that depends only on its meaning as data, not on spaces, quotes, brackets or the order of keys.

    None if it is not code of the language, too long, or nested too deeply.
    """
    text = text.strip()
    if not text or len(text) > MAX_CODE:
        return None
    try:
        return _python(text) if language == "python" else _json(text)
    except (ValueError, RecursionError, MemoryError):  # ValueError: NUL bytes, long integers, bad JSON
        return None


def has_statements(form: str) -> bool:
    """Whether a normal form is of code that does something rather than of a value."""
    return form.startswith(_STATEMENTS)


def _is_prose(form: str) -> bool:
    """A lone word parses as a name, and "Answer: x" as an annotation."""
    return form.startswith(("Name(", "AnnAssign("))


def _within(text: str, language: str) -> Code | None:
    """The last list, dictionary or object in a text, but none from the reasons given for one."""
    found, end = None, 0
    for start in [one.start() for one in re.finditer(r"[\[{]", text)][-MAX_STARTS:]:
        if start < end:  # inside the previous one
            continue
        if found is not None and _REASON.search(text[end:start]):
            break
        depth = 0
        for bracket in re.compile(r"[\[\]{}]").finditer(text, start):
            depth += 1 if bracket[0] in "[{" else -1
            if not depth:
                form = normal_form(text[start : bracket.end()], language)
                if form is not None:
                    found, end = Code(text[start : bracket.end()], form, "code in the text"), bracket.end()
                break
    return found


def _python(text: str) -> str | None:
    text = re.sub(r"^(?:>>>|\.\.\.) ?", "", text, flags=re.MULTILINE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's complaints about a model's escapes do not matter
            body = ast.parse(text).body
    except SyntaxError:
        return None
    if not body:
        return None
    if len(body) == 1:
        return ast.dump(_bare(body[0]))
    return ast.dump(ast.Module(body=body, type_ignores=[]))


def _bare(statement: ast.stmt) -> ast.AST:
    """The expression of a statement that only shows or names it: `print(x)`, `name = x`, `return x`, `x`."""
    value = (
        statement.value if isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign, ast.Return)) else None
    )
    if value is None:
        return statement
    if (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id == "print"
        and len(value.args) == 1
        and not value.keywords
    ):
        return value.args[0]
    return value


def _json(text: str) -> str:
    return json.dumps(_plain(json.loads(text, parse_constant=_no_constant)), sort_keys=True)


def _plain(value: Any) -> Any:
    """JSON data in which 1.0 and 1 are the same number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
