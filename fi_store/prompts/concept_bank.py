"""Reads the concept bank (`prompts/concepts.yaml`): what features of language models are named with.

The format stands at the top of that file. Complaints name the file and the line, as for prompt files. A predicate is
checked here as far as its form goes; `analyze/concepts.py` makes it executable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, cast

import yaml

from fi_store.errors import UsageError
from fi_store.prompts.file import CATEGORY
from fi_store.prompts.nodes import NodeReader
from fi_store.shipped import shipped

CONCEPT_KEYS = ("key", "group", "phrase", "description", "words", "predicate", "source")
FORM_KEYS = ("words", "regex", "place", "and", "or")
PLACES = ("start", "opening", "later", "question")
"""Places in a sequence that a predicate can ask for."""
PHRASE_WORDS = (2, 6)
"""Least and most words of a phrase."""
WORDS = (3, 25)
"""Least and most words of a concept."""
MAX_WORD = 40
MAX_PATTERN = 600
MAX_REPEAT = 200
"""Largest bound of a repeat; predicates see 200 characters of a line."""

Pairs = Mapping[str, tuple[yaml.Node, yaml.Node]]


@dataclass(frozen=True)
class Form:
    """A predicate as the bank writes it: an atom with its value, or two atoms joined by `and` / `or`."""

    kind: Literal["words", "regex", "place", "and", "or"]
    value: str = ""  # the pattern or the place; empty for `words`
    parts: tuple[Form, ...] = ()


@dataclass(frozen=True)
class Concept:
    """One thing that a feature may be about."""

    key: str
    group: str
    phrase: str  # fits after "more" and "less"
    description: str
    words: tuple[str, ...]  # words, pieces or marks that a text of this concept uses
    source: str  # the taxonomy, or "own"
    predicate: Form | None = None


def load_concepts(path: Path | None = None) -> tuple[Concept, ...]:
    """The concepts of a bank in the order of the file; the shipped bank when no path is given.

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
        for name in (
            concept.key,
            concept.phrase,
        ):  # a phrase has two words, so neither is taken for the other
            if name in taken:
                reader.fail(node, f"{name!r} is already at line {taken[name]}")
            taken[name] = node.start_mark.line + 1
        found.append(concept)
    return tuple(found)


def pattern_fault(pattern: str) -> str | None:
    """What keeps a regular expression from being run on any text, or None.

    No group may be repeated (so that repeats are never nested) and none referred back to; a repeat without bound
    may only stand right before `$`. The text is a line of at most 200 characters.
    """
    if len(pattern) > MAX_PATTERN:
        return f"is longer than {MAX_PATTERN} characters"
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is none: {error}"
    bare = re.sub(r"\[[^\]]*\]", "x", re.sub(r"\\[^1-9]", "x", pattern))
    if re.search(r"\\[1-9]|\(\?P=", bare):
        return "refers back to a group"
    if re.search(r"\)[*+{]", bare):
        return "repeats a group"
    if re.search(r"(?:[*+]|,\})(?!\)?\$)", bare):
        return "repeats without bound before its end"
    if any(int(bound) > MAX_REPEAT for bound in re.findall(r"(\d+)\}", bare)):
        return f"repeats more than {MAX_REPEAT} times"
    return "matches the empty text" if compiled.search("") else None


class _ConceptReader(NodeReader):
    """Turns the nodes of a bank into concepts."""

    def fail(self, at: yaml.Node | int, what: str, todo: str = "") -> NoReturn:
        line = at if isinstance(at, int) else at.start_mark.line + 1
        raise UsageError(
            f"{self.path}, line {line}: {what}{'; ' if todo else ''}{todo}.",
            hint="the format stands at the top of prompts/concepts.yaml",
        )

    def concept(self, node: yaml.Node) -> Concept:
        """One entry of the list."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, "a concept must be a mapping with key, group, phrase, words and the rest")
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
        """A value in small letters with underscores."""
        node = pairs[key][1]
        value = self.text(node, key)
        if not CATEGORY.fullmatch(value):
            self.fail(node, f"{value!r} is not written like formal_logic (small letters and underscores)")
        return value

    def words(self, node: yaml.Node) -> tuple[str, ...]:
        """The example words, each without a space and given once."""
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
        """A predicate; `atom`: within another one, where nothing is joined again."""
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
            place = self.text(value, kind)
            if place not in PLACES:
                self.fail(value, f"the place {place!r} is unknown; there are {', '.join(PLACES)}")
            return Form("place", place)
        if atom:
            self.fail(value, f"{kind!r} cannot stand within another predicate")
        if not isinstance(value, yaml.SequenceNode) or len(value.value) != 2:
            self.fail(value, f"{kind!r} joins two predicates")
        parts = tuple(self.form(part, atom=True) for part in value.value)
        return Form(cast(Literal["and", "or"], kind), parts=parts)
