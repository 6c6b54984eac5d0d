"""Renders every prompt of a run in the same way: a prefix, the user's text and a suffix, from one chat template.

Both models read the same text, so the chat template comes from one of them. It is split into prefix and suffix once,
so a run's prompts stay the same even if the template would write something else on another day.
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
"""Takes the place of the user's text while a template is split."""
PLAIN_PREFIX, PLAIN_SUFFIX = "Question: ", "\nAnswer:"
"""The format for pairs without any chat template."""


@dataclass(frozen=True)
class Rendering:
    """How every prompt of a run is rendered. `source` is the model whose chat template is used (or 'none')."""

    source: Literal["base", "target", "none"]
    prefix: str
    suffix: str

    def render(self, text: str) -> RenderedPrompt:
        """The prompt up to where the answer begins, with the character range of the user's text."""
        content = text.strip()
        start = len(self.prefix)
        return RenderedPrompt(self.prefix + content + self.suffix, start, start + len(content))


@dataclass(frozen=True)
class RenderedPrompt:
    """A rendered prompt. The user's text is `text[content_start:content_end]`."""

    text: str
    content_start: int
    content_end: int


def canonical_first(pair: LoadedPair) -> Side:
    """The side with the smaller fingerprint ('base' on a tie). It is computed first, whichever model is the base."""
    return "base" if pair.base.identity.id <= pair.target.identity.id else "target"


def choose_rendering(pair: LoadedPair, texts: Iterable[str]) -> tuple[Rendering, list[str]]:
    """The run's rendering, and warnings about what it changes.

    If only one model has a chat template, it is used. Of two different ones, the canonical first's is used.

    Raises:
        ExtractionError: the template fails on a plain user message, or does not write its text exactly once.
    """
    readers: dict[Side, Reader] = {"base": pair.base, "target": pair.target}
    warnings: list[str] = []
    first = canonical_first(pair)
    order: list[Side] = [first, "target" if first == "base" else "base"]
    templated: list[Side] = [side for side in order if readers[side].chat_template]
    if not templated:
        return Rendering("none", PLAIN_PREFIX, PLAIN_SUFFIX), [
            "Neither model has a chat template. Prompts are written as 'Question: ... Answer:'."
        ]
    source = templated[0]
    if len(templated) == 2 and readers["base"].chat_template != readers["target"].chat_template:
        warnings.append(
            "The models have different chat templates. Both read the texts in the template of "
            f"{readers[source].reference.text}."
        )
    reader = readers[source]
    prefix, suffix = _split(reader)
    rendering = Rendering(source, prefix, suffix)
    changed = sum(_apply(reader, text.strip()) != rendering.render(text).text for text in texts)
    if changed:
        warnings.append(
            f"The chat template of {reader.reference.text} rewrites {changed} of the prompts. They are read unchanged."
        )
    return rendering, warnings


def _split(reader: Reader) -> tuple[str, str]:
    """What a reader's template writes before and after a user's text."""
    rendered = _apply(reader, SENTINEL)
    if rendered.count(SENTINEL) != 1:
        raise ExtractionError(
            f"The chat template of {reader.reference.text} writes a user's text {rendered.count(SENTINEL)} times.",
            hint="use a model whose template writes a user message exactly once",
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
