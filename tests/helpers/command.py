"""Runs `fi-store` in this process, as a person would type it, and keeps what it printed."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from fi_store.cli import main


class Result(NamedTuple):
    """What a command left: its exit code and the two streams."""

    code: int
    out: str
    err: str


def fi_store(*arguments: object) -> Result:
    """One command; its arguments are written out, so paths and numbers may be given as they are."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())
