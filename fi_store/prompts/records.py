"""A prompt and a suite of prompts as frozen records; they know neither the store nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fi_store.ids import content_id


@dataclass(frozen=True)
class PromptRecord:
    """One prompt as a file (or a caller) gave it; `key` is its name there, `id` a hash of its content."""

    key: str
    category: str
    text: str
    family: str
    control: str | None = None
    skill: str | None = None
    difficulty: int | None = None
    language: str = "en"
    answer: str | None = None
    grader: dict[str, Any] | None = None
    failure_mode: str | None = None
    failure_answer: str | None = None

    @cached_property
    def id(self) -> str:
        """Hash of what the models see and how an answer is graded.

        A prompt without a failure answer keeps the id it had before failure answers existed, so older runs still match.
        """
        judged = (
            self.answer,
            self.grader,
            *([self.failure_answer] if self.failure_answer is not None else []),
        )
        return content_id("prompt", self.category, self.family, self.text, self.control, *judged)


@dataclass(frozen=True)
class PromptSuite:
    """The prompts of a run, in order, with the name and version of the files they came from."""

    name: str
    version: str
    prompts: tuple[PromptRecord, ...]

    @cached_property
    def id(self) -> str:
        """Hash over the prompts in order."""
        return content_id("prompt_set", [prompt.id for prompt in self.prompts])

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in order of first appearance."""
        return tuple(dict.fromkeys(prompt.category for prompt in self.prompts))
