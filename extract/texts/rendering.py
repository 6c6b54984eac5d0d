"""Decides once how a run's prompts are written for each model, and writes them: a prefix, the user's text, a suffix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from extract.texts.templates import Format, Marks, Template, Wishes, plain_format
from fi_store.errors import ExtractionError, UsageError
from fi_store.vocabulary import SIDES, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader


class SideText(NamedTuple):
    """A rendered prompt as one model reads it. The user's text is `text[content_start:content_end]`."""

    text: str
    content_start: int
    content_end: int


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt up to where the answer begins, as each model reads it."""

    base: SideText
    target: SideText

    @property
    def sides(self) -> dict[Side, SideText]:
        return {"base": self.base, "target": self.target}


@dataclass(frozen=True)
class Rendering:
    """How every prompt of a run is written. `choice` is a key of `CHAT_TEMPLATES`, `reason` a sentence."""

    choice: str
    reason: str
    base: Format
    target: Format

    @property
    def formats(self) -> dict[Side, Format]:
        return {"base": self.base, "target": self.target}

    def render(self, text: str) -> RenderedPrompt:
        """The prompt up to where the answer begins."""
        content = text.strip()
        base, target = (
            SideText(
                written.prefix + content + written.suffix,
                len(written.prefix),
                len(written.prefix) + len(content),
            )
            for written in (self.base, self.target)
        )
        return RenderedPrompt(base, target)

    def stored(self) -> dict[str, Any]:
        """The rendering as the store keeps it."""
        return asdict(self)

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Rendering:
        """The rendering that `stored()` gave."""
        base, target = (
            Format(**{**stored[side], "thinking": tuple(Marks(*marks) for marks in stored[side]["thinking"])})
            for side in SIDES
        )
        return cls(stored["choice"], stored["reason"], base, target)


def canonical_first(pair: LoadedPair) -> Side:
    """The side with the smaller fingerprint ('base' on a tie). It is computed first, whichever model is the base."""
    return "base" if pair.base.identity.id <= pair.target.identity.id else "target"


def choose_rendering(
    pair: LoadedPair, texts: Iterable[str], choice: str = "auto", wishes: Wishes | None = None
) -> tuple[Rendering, list[str]]:
    """The run's rendering, and warnings about what it changes.

    `choice` is what `--chat-template` takes, a template as text. With auto, the target's template (or the only one) is
    used for both models if both tokenizers know its special tokens. Else each has the format that it is used with.

    Raises:
        ExtractionError: a template has a syntax error, fails on a plain user message, or does not write it once.
        UsageError: a model has no template to use, or no template knows an argument.
    """
    chooser = _Chooser(pair, wishes or Wishes())
    rendering = chooser.choose(choice)
    warnings: list[str] = []
    given = list(texts)
    for template in chooser.used(rendering):
        changed = template.rewrites(given)
        if changed:
            warnings.append(
                f"The chat template of {template.name} rewrites {changed} of the prompts. They are read unchanged."
            )
    return rendering, warnings + chooser.unknown(rendering)


class _Chooser:
    """Both models' chat templates, and what each would write."""

    def __init__(self, pair: LoadedPair, wishes: Wishes) -> None:
        self.readers: dict[Side, Reader] = {"base": pair.base, "target": pair.target}
        self.wishes = wishes
        self.first_tokens = [
            reader.tokenizer.bos_token for reader in self.readers.values() if reader.tokenizer.bos_token
        ]
        self.templates: dict[str, Template] = {}  # by source, or file and side

    def choose(self, choice: str) -> Rendering:
        base, target = self.readers["base"], self.readers["target"]
        if choice == "none":
            return self._plain("as requested")
        if choice in SIDES:
            if not self.readers[choice].chat_template:
                raise UsageError(
                    f"The {choice} model, {self.readers[choice].reference.text}, has no chat template.",
                    hint="fi-store run --chat-template auto",
                )
            return self._shared(choice, "as requested")
        if choice == "own":
            return self._own("as requested")
        if choice != "auto":
            return self._from_file(choice)
        if not base.chat_template and not target.chat_template:
            return self._plain("neither model has one, so prompts are written as 'Question: ... Answer:'")
        source: Side = "target" if target.chat_template else "base"
        other: Side = "base" if source == "target" else "target"
        if base.chat_template == target.chat_template:
            return self._shared(source, "both models have the same one")
        missing = self._missing(self._format(source), source, other)
        if missing:
            name = self.readers[other].reference.text
            return self._own(f"{name} does not know {', '.join(missing[:3])} of the {source}'s template")
        return self._shared(source, "both tokenizers know its special tokens")

    def _plain(self, reason: str) -> Rendering:
        self._check_arguments()
        written = plain_format(self.wishes)
        return Rendering("none", f"Chat template: none; {reason}.", written, written)

    def _shared(self, source: Side, reason: str) -> Rendering:
        written = self._format(source)
        self._check_arguments()
        return Rendering(
            source, f"Chat template: the {source}'s for both models; {reason}.", written, written
        )

    def _own(self, reason: str) -> Rendering:
        formats = {
            side: self._format(side) if reader.chat_template else plain_format(self.wishes)
            for side, reader in self.readers.items()
        }
        self._check_arguments()
        plain = [
            f"the {side} has none and reads 'Question: ... Answer:'"
            for side in SIDES
            if formats[side].source == "none"
        ]
        sentence = "; ".join([f"Chat template: each model's own; {reason}", *plain]) + "."
        return Rendering("own", sentence, formats["base"], formats["target"])

    def _from_file(self, text: str) -> Rendering:
        formats = {}
        for side, reader in self.readers.items():
            # Each side writes its own special tokens where the template asks for them.
            template = Template(text, "the file given with --chat-template", reader.tokenizer, self.wishes)
            self.templates[f"file of the {side}"] = template
            formats[side] = template.format("file", self.first_tokens)
        self._check_arguments()
        return Rendering(
            "file", "Chat template: the given one for both models.", formats["base"], formats["target"]
        )

    def _format(self, source: Side) -> Format:
        reader = self.readers[source]
        template = Template(str(reader.chat_template), reader.reference.text, reader.tokenizer, self.wishes)
        self.templates[source] = template
        return template.format(source, self.first_tokens)

    def _check_arguments(self) -> None:
        """Refuses an argument that no template in use knows."""
        for name in self.wishes.arguments or {}:
            if not any(name in template.known for template in self.templates.values()):
                known = sorted(set().union(*(template.known for template in self.templates.values())))
                who = ", ".join(dict.fromkeys(template.name for template in self.templates.values()))
                raise UsageError(
                    f"--template-arg {name}: "
                    + (
                        f"the chat template of {who} knows no such argument."
                        if who
                        else "no chat template is used."
                    ),
                    hint=f"known arguments: {', '.join(known)}" if known else "leave out --template-arg",
                )

    def _missing(self, written: Format, source: Side, other: Side) -> list[str]:
        """The special tokens of a format by one tokenizer that the other tokenizer does not have."""
        known = self.readers[other].tokenizer.get_vocab()
        return [token for token in self._special_tokens(written, source) if token not in known]

    def _special_tokens(self, written: Format, side: Side) -> list[str]:
        added = self.readers[side].tokenizer.get_added_vocab()
        return [token for token in added if token.strip() and any(token in part for part in written.written)]

    def used(self, rendering: Rendering) -> list[Template]:
        """The templates of a rendering, each once."""
        sources = {written.source for written in rendering.formats.values()}
        chosen = [template for name, template in self.templates.items() if name.split()[0] in sources]
        return list({(template.text, template.name): template for template in chosen}.values())

    def unknown(self, rendering: Rendering) -> list[str]:
        """A warning for each model that reads another one's special tokens as plain text."""
        found = []
        sides: tuple[tuple[Side, Side], ...] = (("base", "target"), ("target", "base"))
        for side, other in sides:
            missing = self._missing(rendering.formats[side], other, side)
            if missing:
                found.append(
                    f"The {side} does not know {', '.join(missing[:3])} and reads them as plain text."
                )
        return found


def writes_bos(reader: Reader) -> bool:
    """Whether a model's own chat template begins with its beginning-of-text token."""
    template = Template(str(reader.chat_template), reader.reference.text, reader.tokenizer, Wishes())
    try:
        return template.bos([reader.tokenizer.bos_token] if reader.tokenizer.bos_token else [])
    except ExtractionError:  # a template that fails writes nothing; one that is used has been refused before
        return False
