"""One rendering of prompts for a whole run: what stands before and after a user's text.

Both models read the same text, so the chat template comes from one of them. It is taken apart once into a prefix and
a suffix; from then on a prompt is prefix + text + suffix, whatever the template might do on another day.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jinja2.exceptions import TemplateError

from fi_store.errors import ExtractionError
from fi_store.vocabulary import Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader

SENTINEL = "fi-store-user-text-0f3a"
"""Stands for the user's text while a template is taken apart."""
PLAIN_PREFIX, PLAIN_SUFFIX = "Question: ", "\nAnswer:"
"""The form that is used when neither model has a chat template."""


@dataclass(frozen=True)
class Rendering:
    """How every prompt of a run is written; `source` is the model whose chat template it is (or 'none')."""

    source: Literal["base", "target", "none"]
    prefix: str
    suffix: str

    def render(self, text: str) -> RenderedPrompt:
        """The prompt up to where the answer begins, with the place of the user's text in it (characters)."""
        content = text.strip()
        start = len(self.prefix)
        return RenderedPrompt(self.prefix + content + self.suffix, start, start + len(content))


@dataclass(frozen=True)
class RenderedPrompt:
    """A rendered prompt; the user's text is `text[content_start:content_end]`."""

    text: str
    content_start: int
    content_end: int


def canonical_first(pair: LoadedPair) -> Side:
    """The side whose fingerprint is smaller ('base' on a tie): the order in which everything is computed."""
    return "base" if pair.base.identity.id <= pair.target.identity.id else "target"


def choose_rendering(pair: LoadedPair, texts: Iterable[str]) -> tuple[Rendering, list[str]]:
    """The run's rendering, and warnings about what it leaves out.

    The template is that of the only model that has one; of two different ones, that of the canonical first.

    Raises:
        ExtractionError: the template fails on a plain user message, or drops its text.
    """
    readers: dict[Side, Reader] = {"base": pair.base, "target": pair.target}
    warnings: list[str] = []
    first = canonical_first(pair)
    order: list[Side] = [first, "target" if first == "base" else "base"]
    having: list[Side] = [side for side in order if readers[side].chat_template]
    if not having:
        return Rendering("none", PLAIN_PREFIX, PLAIN_SUFFIX), [
            "Neither model has a chat template; prompts are put as 'Question: ... Answer:'."
        ]
    source = having[0]
    if len(having) == 2 and readers["base"].chat_template != readers["target"].chat_template:
        warnings.append(
            "The models have different chat templates; both read the texts in that of "
            f"{readers[source].reference.text}."
        )
    reader = readers[source]
    prefix, suffix = _take_apart(reader)
    rendering = Rendering(source, prefix, suffix)
    changed = sum(_apply(reader, text.strip()) != rendering.render(text).text for text in texts)
    if changed:
        warnings.append(
            f"The chat template of {reader.reference.text} rewrites {changed} of the prompts; they are read unchanged."
        )
    return rendering, warnings


def _take_apart(reader: Reader) -> tuple[str, str]:
    rendered = _apply(reader, SENTINEL)
    if rendered.count(SENTINEL) != 1:
        raise ExtractionError(
            f"The chat template of {reader.reference.text} writes a user's text {rendered.count(SENTINEL)} times.",
            hint="use a model whose template writes a user message once",
        )
    prefix, suffix = rendered.split(SENTINEL)
    return prefix, suffix


def _apply(reader: Reader, text: str) -> str:
    messages = [{"role": "user", "content": text}]
    try:
        rendered: Any = reader.tokenizer.apply_chat_template(
            messages, chat_template=reader.chat_template, tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise ExtractionError(
            f"The chat template of {reader.reference.text} fails on a user message: {error}."
        ) from error
    return str(rendered)
