"""Every error that a user may see, as one tree.

    FiStoreError                exit code 1
      UsageError                exit code 2: an argument, an option, a value
        ConfigError             a configuration that contradicts itself or is out of range
        PromptFileError         a mistake in a prompt file, with its line
        NotFoundError           a run, query or file that does not exist
      ModelError                a reference that cannot be read, or an adapter that does not fit
      ExtractionError           the models ran but the result is unusable, or a disk or memory limit was exceeded
      AnalysisError             data that the method cannot use (NaN, too few rows, one prompt)
      NamingError               a reply that proposes no usable name
        SilentModelError        the model that proposes names cannot be asked
      RenderError               a report or chart that cannot be made
      StoreError
        StoreLockedError        another process has the store open
        SchemaOlderError        the store needs an upgrade
        SchemaNewerError        the package needs an upgrade
        SqlRefusedError         a statement that does more than read; `fi-store sql` is read-only

A message is one sentence saying what happened, and to what; `hint` is the next command to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fi_store.commands import command_line


class FiStoreError(Exception):
    """Base of all expected failures. `str(error)` is the message, `error.hint` the next step (may be empty)."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(FiStoreError):
    exit_code = 2


class ConfigError(UsageError):
    pass


@dataclass(frozen=True)
class Complaint:
    """One mistake in a prompt file: its line, what is wrong, and how to fix it."""

    path: Path
    line: int
    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}. {self.todo[0].upper()}{self.todo[1:]}."


class PromptFileError(UsageError):
    """`complaints` lists every mistake found; if it is empty, the file could not be read at all."""

    def __init__(self, message: str, *, hint: str = "", complaints: Sequence[Complaint] = ()) -> None:
        super().__init__(message, hint=hint)
        self.complaints = tuple(complaints)

    @classmethod
    def of(cls, complaints: Sequence[Complaint]) -> PromptFileError:
        """The error for these complaints: its message is the first one plus the number of others."""
        more = len(complaints) - 1
        message = str(complaints[0]) + (f" There {'is' if more == 1 else 'are'} {more} more." if more else "")
        return cls(
            message, hint=command_line("prompts", "validate", complaints[0].path), complaints=complaints
        )


class NotFoundError(UsageError):
    pass


class ModelError(FiStoreError):
    pass


class ExtractionError(FiStoreError):
    pass


class AnalysisError(FiStoreError):
    pass


class NamingError(FiStoreError):
    pass


class SilentModelError(NamingError):
    pass


class RenderError(FiStoreError):
    pass


class StoreError(FiStoreError):
    pass


class StoreLockedError(StoreError):
    pass


class SchemaOlderError(StoreError):
    pass


class SchemaNewerError(StoreError):
    pass


class SqlRefusedError(StoreError):
    pass
