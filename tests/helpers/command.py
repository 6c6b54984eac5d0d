"""Runs `fi-store` commands in this process and captures what they print."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from fi_store.cli import main


class Result(NamedTuple):
    """The exit code and output of a command."""

    code: int
    out: str
    err: str


def fi_store(*arguments: object) -> Result:
    """Runs one command. Arguments are converted to strings, so paths and numbers can be passed directly."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())
