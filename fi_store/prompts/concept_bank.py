"""Reads the concept bank (`prompts/concepts.yaml`), the vocabulary for naming features.

The top of that file describes the format. Complaints name the file and the line, as for prompt files. Only the form of
a predicate is checked here; `analyze/names/concepts.py` makes it executable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NoReturn, cast

import yaml

from fi_store.errors import UsageError
from fi_store.prompts.file import CATEGORY
from fi_store.prompts.nodes import NodeReader, Pairs
from fi_store.shipped import shipped

CONCEPT_KEYS = ("key", "group", "phrase", "description", "words", "predicate", "source")
FORM_KEYS = ("words", "regex", "place", "and", "or")
SEQUENCE_PARTS = ("start", "opening", "later", "question")
"""Parts of a sequence that a predicate can ask for (the values of the key `place`)."""
PHRASE_WORDS = (2, 6)
"""Fewest and most words in a phrase."""
WORDS = (3, 25)
"""Fewest and most example words of a concept."""
MAX_WORD = 40
MAX_PATTERN = 600
MAX_REPEAT = 200
"""Largest bound on a repeat; predicates see 200 characters of a line."""


@dataclass(frozen=True)
class Form:
    """A predicate as written in the bank: an atom with its value, or two atoms joined by `and` / `or`."""

    kind: Literal["words", "regex", "place", "and", "or"]
    value: str = ""  # the pattern or the part of the sequence; empty for `words`
    parts: tuple[Form, ...] = ()


@dataclass(frozen=True)
class Concept:
    """One thing that a feature can be about."""

    key: str
    group: str
    phrase: str  # fits after "more" and "less"
    description: str
    words: tuple[str, ...]  # words, word pieces or marks that texts of this concept use
    source: str  # the taxonomy, or "own"
    predicate: Form | None = None

    def holds(self, text: str) -> bool:
        """Whether a text shows the concept: by its predicate, or by one of its words if it has none."""
        return _holds(self.predicate, self, text)


def _holds(form: Form | None, concept: Concept, text: str) -> bool:
    if form is not None and form.parts:
        parts = [_holds(part, concept, text) for part in form.parts]
        return all(parts) if form.kind == "and" else any(parts)
    if form is not None and form.kind == "place":
        return True
    if form is not None and form.kind == "regex":
        pattern = re.compile(form.value, re.IGNORECASE)
        return any(pattern.search(line) for line in _growing_lines(text))
    words = "|".join(re.escape(word) for word in concept.words)
    return re.search(rf"(?<!\w)(?:{words})(?!\w)", text, re.IGNORECASE) is not None


def _growing_lines(text: str) -> Iterator[str]:
    """What a predicate sees as a text grows: each line up to every word, its last `MAX_REPEAT` characters."""
    for line in text.splitlines():
        for word in re.finditer(r"\S+", line):
            yield line[max(0, word.end() - MAX_REPEAT) : word.end()]


@cache
def load_concepts(path: Path | None = None) -> tuple[Concept, ...]:
    """Loads the concepts of a bank in the order of the file, once; the shipped bank if no path is given.

    Raises:
        UsageError: with the file, the line, and what is wrong there.
    """
    reader = _ConceptReader(path or shipped("prompts") / "concepts.yaml")
    root = reader.compose()
    if not isinstance(root, yaml.MappingNode):
        reader.fail(root, "a concept bank is a mapping with the key 'concepts'")
    pairs = reader.mapping(root)
    reader.known_keys(pairs, ("concepts",), "a concept bank")
    entries = pairs["concepts"][1] if pairs else root
    if not isinstance(entries, yaml.SequenceNode) or not entries.value:
        reader.fail(entries, "'concepts' must be a list that is not empty")
    found: list[Concept] = []
    taken: dict[str, int] = {}
    for node in entries.value:
        concept = reader.concept(node)
        # A phrase has at least two words, so it never equals a key.
        for name in (concept.key, concept.phrase):
            if name in taken:
                reader.fail(node, f"{name!r} is already at line {taken[name]}")
            taken[name] = node.start_mark.line + 1
        found.append(concept)
    return tuple(found)


def pattern_fault(pattern: str) -> str | None:
    """Why a regular expression is not safe to run on any text, or None if it is.

    No group may be repeated (so repeats are never nested) or referred back to, and an unbounded repeat is allowed only
    right before `$`. The text is a line of at most 200 characters.
    """
    if len(pattern) > MAX_PATTERN:
        return f"is longer than {MAX_PATTERN} characters"
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is invalid: {error}"
    bare = re.sub(r"\[[^\]]*\]", "x", re.sub(r"\\[^1-9]", "x", pattern))
    if re.search(r"\\[1-9]|\(\?P=", bare):
        return "refers back to a group"
    if re.search(r"\)[*+{]", bare):
        return "repeats a group"
    if re.search(r"(?:[*+]|,\})(?!\)?\$)", bare):
        return "has an unbounded repeat before its end"
    if any(int(bound) > MAX_REPEAT for bound in re.findall(r"(\d+)\}", bare)):
        return f"repeats more than {MAX_REPEAT} times"
    return "matches the empty text" if compiled.search("") else None


class _ConceptReader(NodeReader):
    """Turns the nodes of a bank into concepts."""

    def fail(self, at: yaml.Node | int, what: str, todo: str = "") -> NoReturn:
        line = at if isinstance(at, int) else at.start_mark.line + 1
        raise UsageError(
            f"{self.path}, line {line}: {what}{'; ' if todo else ''}{todo}.",
            hint="see the format at the top of prompts/concepts.yaml",
        )

    def concept(self, node: yaml.Node) -> Concept:
        """One entry of the list."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, "a concept must be a mapping with key, group, phrase, words and so on")
        pairs = self.mapping(node)
        self.known_keys(pairs, CONCEPT_KEYS, "a concept")
        for key in CONCEPT_KEYS:
            if key not in pairs and key != "predicate":
                self.fail(node, f"the concept has no {key!r}")
        phrase = self.text(pairs["phrase"][1], "phrase")
        low, high = PHRASE_WORDS
        if not low <= len(phrase.split()) <= high:
            self.fail(pairs["phrase"][1], f"the phrase {phrase!r} must have {low} to {high} words")
        return Concept(
            key=self.name(pairs, "key"),
            group=self.name(pairs, "group"),
            phrase=phrase,
            description=self.text(pairs["description"][1], "description"),
            words=self.words(pairs["words"][1]),
            source=self.text(pairs["source"][1], "source"),
            predicate=self.form(pairs["predicate"][1]) if "predicate" in pairs else None,
        )

    def name(self, pairs: Pairs, key: str) -> str:
        """A value in lowercase letters with underscores."""
        node = pairs[key][1]
        value = self.text(node, key)
        if not CATEGORY.fullmatch(value):
            self.fail(node, f"{value!r} is not written like formal_logic (lowercase letters and underscores)")
        return value

    def words(self, node: yaml.Node) -> tuple[str, ...]:
        """The example words, without spaces and duplicates."""
        low, high = WORDS
        if not isinstance(node, yaml.SequenceNode) or not low <= len(node.value) <= high:
            self.fail(node, f"'words' must be a list of {low} to {high} words")
        seen: set[str] = set()
        for item in node.value:
            word = self.text(item, "a word")
            if len(word) > MAX_WORD or word.split() != [word]:
                self.fail(item, f"the word {word!r} must have no space and at most {MAX_WORD} characters")
            if word.casefold() in seen:
                self.fail(item, f"the word {word!r} is given twice")
            seen.add(word.casefold())
        return tuple(item.value for item in node.value)

    def form(self, node: yaml.Node, *, atom: bool = False) -> Form:
        """A predicate; an `atom` is part of another one, so it may not be `and` or `or`."""
        if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
            self.fail(
                node, "a predicate is one of {words: true}, {regex: ...}, {place: ...}, {and: ...}, {or: ...}"
            )
        pairs = self.mapping(node)
        self.known_keys(pairs, FORM_KEYS, "a predicate")
        ((kind, (_, value)),) = pairs.items()
        if kind == "words":
            if not (isinstance(value, yaml.ScalarNode) and value.value == "true"):
                self.fail(value, "'words' in a predicate can only be true")
            return Form("words")
        if kind == "regex":
            pattern = self.text(value, kind)
            if fault := pattern_fault(pattern):
                self.fail(value, f"the regular expression {fault}")
            return Form("regex", pattern)
        if kind == "place":
            part = self.text(value, kind)
            if part not in SEQUENCE_PARTS:
                self.fail(value, f"{part!r} is not a 'place'; choose one of {', '.join(SEQUENCE_PARTS)}")
            return Form("place", part)
        if atom:
            self.fail(value, f"{kind!r} cannot be nested inside another predicate")
        if not isinstance(value, yaml.SequenceNode) or len(value.value) != 2:
            self.fail(value, f"{kind!r} joins two predicates")
        parts = tuple(self.form(part, atom=True) for part in value.value)
        return Form(cast(Literal["and", "or"], kind), parts=parts)
