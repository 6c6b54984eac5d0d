"""Reads one chat template: what it writes around a user's text, how it ends an answer, and how it marks a thought.

A template is split once, so that a run's prompts stay the same even if it would write something else on another day.
It is hostile text: transformers renders it in a sandbox, and whatever it raises becomes one sentence.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fi_store.errors import ExtractionError

if TYPE_CHECKING:
    from fi_store.config import RunConfig

USER, ANSWER, THOUGHT, SYSTEM, BOS = (
    f"fi-store-{name}-0f3a" for name in ("user-text", "answer", "thought", "system-prompt", "first-token")
)
"""Take the place of texts while a template is split, and of the beginning-of-text token that it may write."""
PLAIN_PREFIX, PLAIN_SUFFIX = "Question: ", "\nAnswer:"
"""The format without a chat template."""
FAILURES = (
    TemplateError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""What a template may raise."""
GIVEN = {"messages", "raise_exception", "strftime_now"}
"""Names in a template that transformers defines."""
GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


class Marks(NamedTuple):
    """What stands before and after a thought."""

    open: str
    close: str


THINK = Marks("<think>", "</think>")
"""How most models mark a thought, with or without a template that says so."""


@dataclass(frozen=True)
class Wishes:
    """What a user wants to be in every prompt. `arguments` are for chat templates, `prefill` begins each answer."""

    system_prompt: str | None = None
    arguments: Mapping[str, Any] | None = None
    prefill: str = ""

    @classmethod
    def of(cls, config: RunConfig) -> Wishes:
        """The wishes in a run's configuration."""
        pairs = (argument.split("=", 1) for argument in config.template_arg)
        return cls(config.system_prompt, {name: _value(text) for name, text in pairs}, config.prefill or "")


def _value(text: str) -> Any:
    """true, 3 and [1, 2] are what they are in JSON, anything else is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class Format:
    """How the prompts of one model are written.

    `source` is whose chat template it is: base, target, file or none. `end` is the special token with which the
    template ends an answer ('' if it writes none). `bos` says whether the template begins with a beginning-of-text
    token, which is left out here. `thinking` are the marks around a thought; `opened` means that an answer begins
    inside one.
    """

    source: str
    prefix: str
    suffix: str
    end: str = ""
    bos: bool = False
    thinking: tuple[Marks, ...] = (THINK,)
    opened: bool = False

    @property
    def read(self) -> Format:
        """The part of the format that affects what a model reads; whose template it was does not."""
        return replace(self, source="")

    @property
    def written(self) -> tuple[str, ...]:
        """All texts in which special tokens of the template may stand."""
        return self.prefix, self.suffix, self.end


def plain_format(wishes: Wishes) -> Format:
    """The format for a model that has no chat template."""
    first = f"{wishes.system_prompt}\n\n" if wishes.system_prompt else ""
    suffix = PLAIN_SUFFIX + (f" {wishes.prefill}" if wishes.prefill else "")
    return Format("none", first + PLAIN_PREFIX, suffix, opened=_opens(suffix, (THINK,)))


class Template:
    """A chat template with the special tokens of one tokenizer. `name` is whose it is, for messages."""

    def __init__(self, text: str, name: str, tokenizer: Any, wishes: Wishes) -> None:
        self.text, self.name, self.tokenizer, self.wishes = text, name, tokenizer, wishes
        known = self._arguments()
        self.arguments = {key: value for key, value in (wishes.arguments or {}).items() if key in known}
        self.known = known

    def format(self, source: str, first_tokens: Sequence[str]) -> Format:
        """What the template writes. `first_tokens` are the beginning-of-text tokens that it may write as text.

        Raises:
            ExtractionError: it fails on a plain user message, does not write it exactly once, or does not write the
                system prompt.
        """
        prompt = self._prompt(USER)
        if prompt.count(USER) != 1:
            raise ExtractionError(
                f"The chat template of {self.name} writes a user's text {prompt.count(USER)} times.",
                hint="use --chat-template none, or a template that writes a user message exactly once",
            )
        if self.wishes.system_prompt and SYSTEM not in self._render(self._messages(USER, SYSTEM)):
            raise ExtractionError(
                f"The chat template of {self.name} does not write a system prompt.",
                hint="leave out --system-prompt, or put it into the prompts",
            )
        conversation = self._conversation({"content": ANSWER})
        prompt, bos = self._without_bos(prompt, conversation, first_tokens)
        prefix, suffix = prompt.split(USER)
        marks = self._marks(suffix)
        thinking = (THINK,) if marks in (None, THINK) else (marks, THINK)
        suffix += self.wishes.prefill
        end = self._end(conversation.partition(ANSWER)[2])
        return Format(source, prefix, suffix, end, bos, thinking, _opens(suffix, thinking))

    def bos(self, first_tokens: Sequence[str]) -> bool:
        """Whether the template begins with a beginning-of-text token; False if it accepts no user message alone."""
        try:
            prompt = self._apply(self._messages(USER, None), add_generation_prompt=True)
        except FAILURES:
            return False
        return self._without_bos(prompt, self._conversation({"content": ANSWER}), first_tokens)[1]

    def rewrites(self, texts: Sequence[str]) -> int:
        """How many of these user texts the template does not write as they are."""
        prompt = self._prompt(USER)
        return sum(self._prompt(text.strip()) != prompt.replace(USER, text.strip()) for text in texts)

    def _prompt(self, text: str) -> str:
        return self._render(self._messages(text, self.wishes.system_prompt), add_generation_prompt=True)

    def _messages(self, text: str, system: str | None) -> list[dict[str, str]]:
        first = [{"role": "system", "content": system}] if system else []
        return [*first, {"role": "user", "content": text}]

    def _conversation(self, answer: dict[str, str]) -> str:
        """A user's turn with an answer; '' if the template accepts none."""
        messages = [*self._messages(USER, self.wishes.system_prompt), {"role": "assistant", **answer}]
        try:
            return self._apply(messages, add_generation_prompt=False)
        except FAILURES:
            return ""

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
        try:
            return self._apply(messages, add_generation_prompt=add_generation_prompt)
        except FAILURES as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
            has_system = messages[0]["role"] == "system"
            raise ExtractionError(
                f"The chat template of {self.name} fails on a {'system prompt' if has_system else 'user message'}: "
                f"{first}.",
                hint=self._way_out(messages),
            ) from error

    def _way_out(self, messages: list[dict[str, str]]) -> str:
        if messages[0]["role"] == "system":
            return "leave out --system-prompt, or put it into the prompts"
        try:
            self._apply(self._messages(USER, SYSTEM), add_generation_prompt=True)
        except FAILURES:
            return "use --chat-template none, or a template that accepts a user message"
        return 'it needs a system prompt: --system-prompt "You are a helpful assistant."'

    def _apply(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        # Its own beginning-of-text token is replaced so that it is not mistaken for the mark of a turn.
        rendered: Any = self.tokenizer.apply_chat_template(
            messages, chat_template=self.text, tokenize=False, add_generation_prompt=add_generation_prompt,
            **{"bos_token": BOS, **self.arguments},
        )  # fmt: skip
        return str(rendered)

    def _arguments(self) -> set[str]:
        """The names that the template takes from outside."""
        environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
        try:
            names = find_undeclared_variables(environment.parse(GENERATION_TAG.sub("", self.text)))
        except TemplateSyntaxError as error:
            raise ExtractionError(
                f"The chat template of {self.name} has a syntax error in line {error.lineno}: {error.message}.",
                hint="correct it, or choose another one with --chat-template",
            ) from error
        parameters = set(inspect.signature(self.tokenizer.apply_chat_template).parameters)
        return {
            name
            for name in names - GIVEN - parameters - environment.globals.keys()
            if not name.endswith("_token")
        }

    def _without_bos(self, prompt: str, conversation: str, first_tokens: Sequence[str]) -> tuple[str, bool]:
        """The prompt without the beginning-of-text token that it begins with, and whether there was one."""
        # A template may also write it as text. If it stands in a conversation again, it marks the turns.
        whole = conversation or prompt
        found = [BOS, *(token for token in first_tokens if whole.count(token) == 1)]
        first = next((token for token in found if token and prompt.startswith(token)), "")
        return prompt.removeprefix(first).replace(BOS, self.tokenizer.bos_token or ""), bool(first)

    def _end(self, after: str) -> str:
        """The special token at the beginning of what the template writes after an answer."""
        after = after.lstrip().replace(BOS, self.tokenizer.bos_token or "")
        found = [token for token in self.tokenizer.get_added_vocab() if after.startswith(token)]
        return max(found, key=len, default="")

    def _marks(self, suffix: str) -> Marks | None:
        """The marks that the template writes around the thought of an answer."""
        written = self._conversation({"content": ANSWER, "reasoning_content": THOUGHT})
        before, thought, after = written.partition(THOUGHT)
        close, answer, _ = after.partition(ANSWER)
        before = before.rpartition(USER)[2].removeprefix(suffix) or suffix
        opening = before.split()
        return Marks(opening[-1], close.strip()) if thought and answer and opening and close.strip() else None


def _opens(suffix: str, thinking: Sequence[Marks]) -> bool:
    """Whether what stands before an answer opens a thought and does not close it."""
    return any(suffix.rfind(marks.open) > suffix.rfind(marks.close) for marks in thinking)
