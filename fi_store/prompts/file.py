"""Reads one prompt file (YAML or JSON) into prompt records; every complaint names the file and the line.

`prompts/README.md` describes the format; `prompts/schema.json` describes it for machines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from fi_store.errors import Complaint, UsageError
from fi_store.graders import KINDS, faults
from fi_store.prompts.nodes import NodeReader, Pairs
from fi_store.prompts.records import PromptRecord

CATEGORY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
FILE_KEYS = ("name", "version", "description", "prompts")
PROMPT_KEYS = (
    "id", "category", "family", "skill", "difficulty", "language", "text", "control", "answer", "grader",
    "failure_mode", "failure_answer",
)  # fmt: skip
GRADER_OPTIONS = {
    "exact": ("aliases",),
    "number": ("tolerance", "percent", "unit"),
    "choice": ("options",),
    "set": ("universe", "ordered"),
    "regex": ("pattern",),
    "code": ("language",),
}
"""The options of each kind of grader."""
NEEDED_OPTIONS = {"choice": "options", "set": "universe", "regex": "pattern", "code": "language"}
"""The option that a kind of grader requires."""
LANGUAGES = ("python", "json")
"""Languages in which code can be compared."""
LIMITS = {
    "id": 200, "category": 64, "family": 200, "skill": 200, "language": 40, "name": 200, "answer": 2000,
    "failure_answer": 2000, "failure_mode": 1000, "unit": 40, "pattern": 500, "kind": 40, "item": 200,
}  # fmt: skip
"""Maximum lengths of short texts, in characters; `item` is an entry of a grader's list. Other texts: `MAX_TEXT`."""
MAX_ITEMS = 100
"""Maximum number of entries in a grader's list."""
MAX_COMPLAINTS = 20
"""Complaints after which reading stops."""


@dataclass(frozen=True)
class PromptFile:
    """The contents of one file."""

    name: str
    version: str
    prompts: tuple[PromptRecord, ...]


class Heading(NamedTuple):
    """What identifies a prompt of a file: its id and its (category, text), where they can be read."""

    line: int
    key: str | None
    content: tuple[str, str] | None


def checked_category(name: str) -> str:
    """Returns a category's name that a person typed.

    Raises:
        UsageError: it is not written like formal_logic.
    """
    if not CATEGORY.fullmatch(name) or len(name) > LIMITS["category"]:
        raise UsageError(
            f"The category {name!r} is not written like formal_logic.",
            hint="use lowercase letters, digits and underscores",
        )
    return name


class RefusedError(Exception):
    """Carries a complaint to the code that collects it."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint)
        self.complaint = complaint


class EnoughError(Exception):
    """Raised when there are `MAX_COMPLAINTS` complaints."""


class PromptReader(NodeReader):
    """Turns the nodes of one file into records; collects all complaints instead of stopping at the first.

    `headings` covers every prompt of the file, including those with complaints.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.complaints: list[Complaint] = []
        self.headings: list[Heading] = []

    def read(self) -> PromptFile | None:
        """Parses and checks the file, in the full form or the plain form (category -> list of texts).

        Returns None if nothing in it can be used.

        Raises:
            PromptFileError: the file cannot be read at all.
        """
        with suppress(EnoughError), self.noting():
            return self.file()
        return None

    def fail(self, at: yaml.Node | int, what: str, todo: str) -> NoReturn:
        line = at if isinstance(at, int) else at.start_mark.line + 1
        raise RefusedError(Complaint(self.path, line, what, todo))

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Records a complaint that is raised inside the block, and continues."""
        try:
            yield
        except RefusedError as refused:
            self.complaints.append(refused.complaint)
            if len(self.complaints) >= MAX_COMPLAINTS:
                raise EnoughError from None

    def file(self) -> PromptFile:
        """The file in either form, without the prompts that have complaints."""
        root = self.compose()
        if not isinstance(root, yaml.MappingNode):
            self.fail(
                root, "a prompt file is a mapping", "begin with 'prompts:', or with a category and its texts"
            )
        pairs = self.mapping(root)
        if "prompts" in pairs:
            return self._full(pairs)
        known = [key for key in pairs if key in FILE_KEYS]
        if known:
            self.fail(
                root, f"there is {known[0]!r} but no 'prompts'", "add 'prompts:' with the list of prompts"
            )
        return self._plain(pairs)

    def known_keys(self, pairs: Pairs, allowed: tuple[str, ...], of: str) -> None:
        for key, pair in pairs.items():
            with self.noting():
                super().known_keys({key: pair}, allowed, of)

    def _full(self, pairs: Pairs) -> PromptFile:
        """The full form: name, version, description, prompts."""
        self.known_keys(pairs, FILE_KEYS, "a prompt file")
        name, version = self.path.stem, "1"
        if "name" in pairs:
            with self.noting():
                name = self._short(pairs["name"][1], "name")
        if "version" in pairs:
            with self.noting():
                version = self._version(pairs["version"][1])
        if "description" in pairs:
            with self.noting():
                self.text(pairs["description"][1], "description")
        entries = pairs["prompts"][1]
        if not isinstance(entries, yaml.SequenceNode):
            self.fail(entries, "'prompts' must be a list", "begin every prompt with '- id:'")
        if not entries.value:
            self.fail(entries, "'prompts' is empty", "add a prompt")
        found: list[PromptRecord] = []
        for entry in entries.value:
            with self.noting():
                found.append(self.entry(entry))
        return PromptFile(name, version, tuple(found))

    def _version(self, node: yaml.Node) -> str:
        scalar = isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float", ":str"))
        if not scalar or not 0 < len(node.value) <= LIMITS["name"]:
            self.fail(node, "'version' must be a number or text", "write version: 1")
        return str(node.value)

    def _plain(self, pairs: Pairs) -> PromptFile:
        """The plain form: category -> list of texts. Every text is a family of its own."""
        found: list[PromptRecord] = []
        for name, (key, value) in pairs.items():
            with self.noting():
                category = self._category(key)
                if not isinstance(value, yaml.SequenceNode) or not value.value:
                    self.fail(
                        value, f"the category {name!r} must be a list of texts", "write '- ' before each text"
                    )
                for number, node in enumerate(value.value, start=1):
                    with self.noting():
                        label, text = f"{category}/{number}", self.text(node, f"text {number}")
                        found.append(PromptRecord(label, category, text, family=label))
                        self.headings.append(Heading(node.start_mark.line + 1, label, (category, text)))
        if not pairs:
            self.fail(1, "the file holds no prompts", "add a category and its texts")
        return PromptFile(self.path.stem, "1", tuple(found))

    def entry(self, node: yaml.Node) -> PromptRecord:
        """One prompt in the full form; records all complaints about it except the last, which it raises."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, "a prompt must be a mapping", "write '- id:', 'category:' and 'text:'")
        before = len(self.complaints)
        pairs = self.mapping(node)
        self.known_keys(pairs, PROMPT_KEYS, "a prompt")
        self._needed_keys(node, pairs)
        values: dict[str, Any] = {}
        for key, (_, value) in pairs.items():
            if key in PROMPT_KEYS:
                with self.noting():
                    values[key] = self._value(key, value)
        content = (values["category"], values["text"]) if {"category", "text"} <= values.keys() else None
        self.headings.append(Heading(node.start_mark.line + 1, values.get("id"), content))
        if len(self.complaints) == before and "grader" in values:
            wrong = values.get("failure_answer")
            for fault in faults(values["grader"], values["answer"], wrong, values["text"]):
                with self.noting():
                    self.fail(pairs[fault.key][1], fault.what, fault.todo)
        if len(self.complaints) > before:
            raise RefusedError(self.complaints.pop())
        values["key"] = values.pop("id")
        return PromptRecord(**{"family": values["key"], **values})

    def _value(self, key: str, node: yaml.Node) -> Any:
        """The value of one key of a prompt."""
        if key == "category":
            return self._category(node)
        if key == "difficulty":
            return self._difficulty(node)
        if key == "grader":
            return self._grader(node)
        return self.text(node, key) if key in ("text", "control") else self._short(node, key)

    def _needed_keys(self, node: yaml.Node, pairs: Pairs) -> None:
        """Complains about missing keys: those that every prompt needs and those that another key requires."""
        name = f" {str(pairs['id'][1].value)[:80]!r}" if "id" in pairs else ""
        for key in ("id", "category", "text"):
            with self.noting():
                if key not in pairs:
                    self.fail(node, f"the prompt{name} has no {key!r}", f"add '{key}:'")
        for key, needed, todo in (
            ("answer", "grader", "say how to compare, for example grader: {kind: exact}"),
            ("grader", "answer", "add the right answer, or remove the grader"),
            ("failure_answer", "answer", "add the right answer and its grader"),
        ):
            with self.noting():
                if key in pairs and needed not in pairs:
                    self.fail(pairs[key][0], f"there is {key!r} but no {needed!r}", todo)

    def _short(self, node: yaml.Node, key: str) -> str:
        """A text of limited length on one line (answers may have several: code and its output)."""
        value = self.text(node, key, LIMITS[key])
        if "\n" in value.strip() and key not in ("answer", "failure_answer"):
            self.fail(node, f"{key!r} has more than one line", "write it on one line")
        return value

    def _category(self, node: yaml.Node) -> str:
        value = self.text(node, "category", LIMITS["category"])
        if not CATEGORY.fullmatch(value):
            what = f"the category {value!r} is not written like formal_logic"
            self.fail(node, what, "use lowercase letters, digits and underscores")
        return value

    def _difficulty(self, node: yaml.Node) -> int:
        if not (
            isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int") and node.value in tuple("12345")
        ):
            self.fail(
                node, "'difficulty' must be a whole number from 1 to 5", "write the number without quotes"
            )
        return int(node.value)

    def _grader(self, node: yaml.Node) -> dict[str, Any]:
        """How a reply is compared with the answer: a kind and its options."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, "'grader' must be a mapping", "write it like grader: {kind: exact}")
        pairs = self.mapping(node)
        kinds = f"the kinds are {', '.join(KINDS)}"
        if "kind" not in pairs:
            self.fail(node, "'grader' has no 'kind'", kinds)
        kind = self.text(pairs["kind"][1], "kind", LIMITS["kind"])
        if kind not in KINDS:
            self.fail(pairs["kind"][1], f"the grader kind {kind!r} is unknown", kinds)
        super().known_keys(pairs, ("kind", *GRADER_OPTIONS[kind]), f"a grader of kind {kind!r}")
        needed = NEEDED_OPTIONS.get(kind)
        if needed is not None and needed not in pairs:
            self.fail(
                node, f"a grader of kind {kind!r} needs {needed!r}", "see prompts/README.md for its form"
            )
        return {key: kind if key == "kind" else self._option(key, value) for key, (_, value) in pairs.items()}

    def _option(self, key: str, node: yaml.Node) -> Any:
        """The value of one option of a grader."""
        if key == "tolerance":
            return self._tolerance(node)
        if key in ("percent", "ordered"):
            if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":bool"):
                self.fail(node, f"{key!r} must be true or false", f"write {key}: true, without quotes")
            return node.value.lower() in ("true", "yes", "on")
        if key in ("aliases", "options", "universe"):
            if not isinstance(node, yaml.SequenceNode) or not 0 < len(node.value) <= MAX_ITEMS:
                self.fail(
                    node, f"{key!r} must be a list of 1 to {MAX_ITEMS} texts", f'write {key}: ["one", "two"]'
                )
            return [self.text(item, f"an item of {key}", LIMITS["item"]) for item in node.value]
        value = self._short(node, key)
        if key == "language" and value not in LANGUAGES:
            self.fail(node, f"{value!r} cannot be compared as code", f"use {' or '.join(LANGUAGES)}")
        return value

    def _tolerance(self, node: yaml.Node) -> float:
        try:
            value = float(node.value) if isinstance(node, yaml.ScalarNode) else float("nan")
        except ValueError:  # text, or a YAML spelling such as .inf
            value = float("nan")
        if node.tag.endswith(":str") or not 0 <= value < float("inf"):
            self.fail(
                node, "'tolerance' must be a number of 0 or more", "write it like 0.001, without quotes"
            )
        return value
