"""Saved queries: named `.sql` files with typed parameters that return a store's rows as Arrow tables.

A file begins with comment lines of the form `-- key: value`: `name`, `description`, an optional `chart`, and one line
for each parameter, such as `-- parameter: k integer = 12 -- how many rows`. Parameters without `= …` are required.
DuckDB binds values as `$name`; they are never written into the SQL. Does not know how rows are drawn.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from fi_store.errors import NotFoundError, UsageError
from fi_store.store.store import Store

FOLDER = Path(__file__).resolve().parent / "queries"
_LINE = re.compile(r"^--\s*(?P<key>[a-z]+):\s*(?P<value>.*?)\s*$")
_PARAMETER = re.compile(
    r"^(?P<name>[a-z_]+)\s+(?P<type>[a-z]+)(?:\s*=\s*(?P<default>.*?))?\s+--\s+(?P<what>.+)$"
)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a query. `type` is run, text, integer, number or boolean."""

    name: str
    type: str
    required: bool
    default: Any
    description: str


@dataclass(frozen=True)
class SavedQuery:
    """A named query with its parameters in order and the kind of chart that shows its rows, if any."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    chart: str | None
    sql: str


def list_queries() -> tuple[SavedQuery, ...]:
    """Every saved query, sorted by name."""
    return tuple(_queries()[name] for name in sorted(_queries()))


def get_query(name: str) -> SavedQuery:
    """The query with this name.

    Raises:
        NotFoundError: there is none; the hint lists similar names.
    """
    found = _queries().get(name)
    if found is None:
        close = difflib.get_close_matches(name, _queries(), n=3, cutoff=0.5)
        close += [other for other in sorted(_queries()) if name and name in other and other not in close][:3]
        hint = f"did you mean {' or '.join(close)}?" if close else "list them with: fi-store query"
        raise NotFoundError(f"There is no saved query {name!r}.", hint=hint)
    return found


def run_query(store: Store, query: str, /, **parameters: Any) -> pa.Table:
    """The rows of a saved query. Values can be Python values, or text as on the command line.

    Raises:
        NotFoundError: the query or the run does not exist.
        UsageError: a parameter is unknown or missing, or a value has the wrong type.
    """
    saved = get_query(query)
    return store.arrow(saved.sql, **_bound(store, saved, parameters))


def _bound(store: Store, saved: SavedQuery, given: Mapping[str, Any]) -> dict[str, Any]:
    known = {parameter.name for parameter in saved.parameters}
    for name in given:
        if name not in known:
            has = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise UsageError(f"The query {saved.name} has no parameter {name!r}.", hint=has)
    values: dict[str, Any] = {}
    for parameter in saved.parameters:
        if parameter.name not in given and parameter.required:
            raise UsageError(
                f"The query {saved.name} needs the parameter {parameter.name} ({parameter.description}).",
                hint=f"fi-store query {saved.name} --param {parameter.name}=…",
            )
        value = given.get(parameter.name, parameter.default)
        if value is not None:
            value = _typed(saved.name, parameter, value)
            if parameter.type == "run":
                value = store.run(value).id
        elif parameter.name in given and (parameter.required or parameter.default is not None):
            raise UsageError(f"The parameter {parameter.name} of {saved.name} must have a value.")
        values[parameter.name] = value
    return values


def _typed(query: str, parameter: Parameter, value: Any) -> Any:
    try:
        return _TYPES[parameter.type](value)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"The parameter {parameter.name} of {query} is {value!r}, which is not a valid {parameter.type}.",
            hint=parameter.description,
        ) from error


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError("not an integer")
    number = int(value)
    if not 0 <= number < 2**63:
        raise ValueError("outside the range of DuckDB's BIGINT, or negative")
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _boolean(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError("neither true nor false")
    return words[value.lower()]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not text")
    return value


_TYPES: dict[str, Callable[[Any], Any]] = {
    "run": _text,
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}


@cache
def _queries() -> dict[str, SavedQuery]:
    found = [
        parse_query(path.read_text(encoding="utf-8"), path.name) for path in sorted(FOLDER.glob("*.sql"))
    ]
    return {query.name: query for query in found}


def parse_query(text: str, file: str) -> SavedQuery:
    """Reads a query file.

    Raises:
        ValueError: the file is not valid; the message names the file and line.
    """
    keys: dict[str, str] = {}
    parameters: list[Parameter] = []
    lines = text.splitlines()
    number = 0
    for number, line in enumerate(lines, start=1):
        found = _LINE.match(line)
        if found is None:
            break
        if found["key"] == "parameter":
            parameters.append(_parameter(found["value"], f"{file}, line {number}"))
        elif found["key"] in ("name", "description", "chart") and found["key"] not in keys:
            keys[found["key"]] = found["value"]
        else:
            raise ValueError(f"{file}, line {number}: the key {found['key']!r} is unknown or repeated")
    for needed in ("name", "description"):
        if not keys.get(needed):
            raise ValueError(f"{file}: no line '-- {needed}: …' at the top")
    if f"{keys['name']}.sql" != file:
        raise ValueError(f"{file}: contains the query {keys['name']!r}")
    sql = "\n".join(lines[number - 1 :]).strip()
    return SavedQuery(keys["name"], keys["description"], tuple(parameters), keys.get("chart"), sql)


def _parameter(text: str, where: str) -> Parameter:
    found = _PARAMETER.match(text)
    if found is None or found["type"] not in _TYPES:
        raise ValueError(
            f"{where}: not 'NAME TYPE = DEFAULT -- description' with a type of {', '.join(_TYPES)}"
        )
    raw = found["default"]
    default = None if raw in (None, "null") else _TYPES[found["type"]](raw)
    return Parameter(found["name"], found["type"], raw is None, default, found["what"])
