"""Reads similarities between parameters that an outside crosscoder measured, to show them beside our own.

The file is JSON: `{parameter: {"similarities": {parameter: number}, "differences": {parameter: number}}}`. Its numbers
are shown as they are. This module does not know their origin or meaning, and nothing is tested on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fi_store.errors import NotFoundError, UsageError

SOURCE = "crosscoder-file"
SITE = "parameter"
POSITION_CLASS = "all"
MAX_BYTES = 64 * 1024 * 1024
"""Larger files are refused: they must be weights or activations, not one number per pair of parameters."""
ARROW = " -> "
"""Joins two different parameter names in a label."""

_LAYER = re.compile(r"(?:^|[./])(?:layers?|h|blocks?)[./](\d{1,6})(?=[./]|$)")


def _without_arrow(name: str) -> str:
    if ARROW in name:
        raise ValueError(f"a parameter's name must not contain {ARROW!r}")
    return name


_Name = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_without_arrow)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class Parameter(BaseModel):
    """What the file says about one parameter."""

    model_config = ConfigDict(extra="forbid", strict=True)
    similarities: dict[_Name, _Number] = {}
    differences: dict[_Name, _Number] = {}


_FILE = TypeAdapter(dict[_Name, Parameter], config=ConfigDict(strict=True))


def read_crosscoder_file(given: Path | str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `layer_similarity` (without `run_id`) from a file, or from a mapping of the same form.

    Metrics are `similarity` and `difference`. The label is the parameter's name, or "one -> other" for two different
    ones. Layers are read from names such as `model.layers.12.mlp.down_proj.weight`, and are None for other names. There
    are no intervals.

    Raises:
        NotFoundError: there is no such file.
        UsageError: the content has another form (the message names the file and the key). NaN, infinities, strings and
            booleans are refused.
    """
    if isinstance(given, Mapping):
        entries = _checked(given, "The crosscoder data")
    else:
        entries = _checked(_read(Path(given)), f"The crosscoder file {given}")
    rows = []
    for name, entry in entries.items():
        for metric, numbers in (("similarity", entry.similarities), ("difference", entry.differences)):
            rows += [_row(metric, name, other, value) for other, value in numbers.items()]
    if not rows:
        where = "The crosscoder data" if isinstance(given, Mapping) else f"The crosscoder file {given}"
        raise UsageError(f"{where} has no similarity and no difference.", hint=_HINT)
    return rows


_HINT = 'the form is {parameter: {"similarities": {parameter: number}, "differences": {parameter: number}}}'


def layer_of(parameter: str) -> int | None:
    """The layer number in a parameter's name (`layers.12.`, `h.12.`, `blocks.12.`), or None unless it is unique."""
    numbers = {int(number) for number in _LAYER.findall(parameter)}
    return numbers.pop() if len(numbers) == 1 else None


def _row(metric: str, name: str, other: str, value: float) -> dict[str, Any]:
    return {
        "source": SOURCE,
        "metric": metric,
        "site": SITE,
        "label": name if name == other else f"{name}{ARROW}{other}",
        "position_class": POSITION_CLASS,
        "layer_base": layer_of(name),
        "layer_target": layer_of(other),
        "value": value,
        "ci_low": None,
        "ci_high": None,
        "n_units": None,
    }


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(
                f"The crosscoder file {file} is larger than {MAX_BYTES // 2**20} MB.", hint=_HINT
            )
        return file.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"There is no crosscoder file {file}.", hint="--crosscoder-file FILE.json"
        ) from error
    except OSError as error:
        raise UsageError(f"The crosscoder file {file} cannot be read: {error.strerror}.") from error


def _checked(content: bytes | Mapping[str, Any], where: str) -> dict[str, Parameter]:
    """The validated entries; the first fault becomes an error with its path."""
    try:
        if isinstance(content, bytes):
            return _FILE.validate_json(content)
        return _FILE.validate_python(dict(content))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        path = " / ".join(repr(part) for part in fault["loc"] if part != "[key]")
        what = fault["msg"].removeprefix("Value error, ")
        at = f" at {path}" if path else ""
        raise UsageError(f"{where} does not have the expected form{at}: {what}.", hint=_HINT) from error
