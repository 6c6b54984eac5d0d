"""Reads one prompt file (YAML or JSON) into prompt records; every complaint names the file and the line.

The format stands in `prompts/README.md`. Files come from people, so nothing in them is trusted: aliases, tags,
nesting that is deep and oversized files are refused before anything is built from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from fi_store.errors import PromptFileError
from fi_store.records import PromptRecord

MAX_BYTES = 8 * 2**20
"""Size from which a prompt file is refused; the shipped suite has a fiftieth of it."""
MAX_TEXT = 20_000
"""Characters that one text may have."""
MAX_DEPTH = 8
"""Nesting from which a file is no prompt file; the format needs four levels."""

CATEGORY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
GRADERS = {"exact": (), "number": ("tolerance",), "choice": (), "set": (), "regex": ()}
"""Grader kinds, with the options of each."""
FILE_KEYS = ("name", "version", "description", "prompts")
PROMPT_KEYS = (
    "id", "category", "family", "skill", "difficulty", "language", "text", "control", "answer", "grader",
    "failure_mode",
)  # fmt: skip


@dataclass(frozen=True)
class PromptFile:
    """What one file holds; `lines[i]` is the line where `prompts[i]` begins, counted from 1."""

    name: str
    version: str
    prompts: tuple[PromptRecord, ...]
    lines: tuple[int, ...]


def read_prompt_file(path: Path) -> PromptFile:
    """Parses and checks a file in the full form or the plain form (category -> list of texts).

    Raises:
        PromptFileError: with the file, the line, and what is wrong there.
    """
    reader = _Reader(path)
    root = reader.compose()
    if not isinstance(root, yaml.MappingNode):
        reader.fail(
            root, "a prompt file is a mapping: either with the key 'prompts', or from category to texts"
        )
    pairs = reader.mapping(root)
    if "prompts" in pairs:
        return reader.full(root, pairs)
    known = [key for key in pairs if key in FILE_KEYS]
    if known:
        reader.fail(root, f"there is {known[0]!r} but no 'prompts'")
    return reader.plain(pairs)


class _Reader:
    """Turns the nodes of one file into records; nodes, unlike values, still know their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, at: yaml.Node | int, what: str) -> NoReturn:
        line = at if isinstance(at, int) else at.start_mark.line + 1
        raise PromptFileError(
            f"{self.path}, line {line}: {what}.", hint=f"fi-store prompts validate {self.path}"
        )

    def compose(self) -> yaml.Node:
        """The file as one tree of nodes, without aliases and not too deep."""
        text = self._text()
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        if self.path.suffix.lower() == ".json":
            self._check_json(text)
            text = text.replace(
                "\t", " "
            )  # JSON allows tabs between tokens (never in strings), YAML does not
            loader = yaml.SafeLoader  # the C loader refuses surrogate pairs, which JSON writes for emoji
        try:
            self._check_events(yaml.parse(text, Loader=loader))
            root = yaml.compose(text, Loader=loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.fail(
                mark.line + 1 if mark else 1, f"not YAML, {error.problem or error.context or 'unreadable'}"
            )
        except yaml.YAMLError as error:
            position = getattr(error, "position", 0)
            self.fail(text[:position].count("\n") + 1, f"not YAML, {str(error).splitlines()[0]}")
        if root is None:
            self.fail(1, "the file holds no prompts, only comments")
        return root

    def _text(self) -> str:
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise PromptFileError(
                    f"{self.path} is larger than {MAX_BYTES // 2**20} MB.", hint="split the file"
                )
            data = self.path.read_bytes()
        except OSError as error:
            raise PromptFileError(
                f"The prompt file {self.path} cannot be read: {(error.strerror or str(error)).lower()}.",
                hint="fi-store prompts list",
            ) from error
        if not data.strip():
            self.fail(1, "the file is empty")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.fail(data[: error.start].count(b"\n") + 1, "not UTF-8 text")

    def _check_json(self, text: str) -> None:
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            self.fail(error.lineno, f"not JSON, {error.msg[0].lower()}{error.msg[1:]}")
        except RecursionError:
            self.fail(1, "nested too deeply for a prompt file")

    def _check_events(self, events: Iterator[Any]) -> None:
        depth = 0
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                self.fail(line, "aliases (*name) are not allowed in a prompt file")
            if getattr(event, "tag", None) is not None:
                self.fail(line, f"tags ({event.tag}) are not allowed in a prompt file")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                self.fail(line, "nested too deeply for a prompt file")

    def mapping(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> (key node, value node); refuses keys that are not text and keys given twice."""
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not (isinstance(key, yaml.ScalarNode) and key.tag.endswith(":str")):
                self.fail(key, "a key must be text")
            if key.value in pairs:
                self.fail(key, f"the key {key.value!r} is given twice")
            pairs[key.value] = (key, value)
        return pairs

    def known_keys(
        self, pairs: dict[str, tuple[yaml.Node, yaml.Node]], allowed: tuple[str, ...], of: str
    ) -> None:
        for key, (node, _) in pairs.items():
            if key not in allowed:
                self.fail(node, f"{of} has no key {key!r}; the keys are {', '.join(allowed)}")

    def text(self, node: yaml.Node, key: str) -> str:
        """A text that is neither empty, nor too long, nor full of control characters."""
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"{key!r} must be text")
        if not node.tag.endswith(":str"):
            self.fail(
                node,
                f"{key!r} must be text, put {node.value!r} in quotes" if node.value else f"{key!r} is empty",
            )
        value = str(node.value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if not value.strip():
            self.fail(node, f"{key!r} is empty")
        if len(value) > MAX_TEXT:
            self.fail(node, f"{key!r} is longer than {MAX_TEXT} characters")
        if any(character < " " and character not in "\n\t" for character in value):
            self.fail(node, f"{key!r} holds a control character")
        return value

    def category(self, node: yaml.Node, value: str) -> str:
        if not CATEGORY.fullmatch(value) or len(value) > 64:
            self.fail(
                node,
                f"the category {value!r} is not written like formal_logic (small letters and underscores)",
            )
        return value

    def full(self, root: yaml.Node, pairs: dict[str, tuple[yaml.Node, yaml.Node]]) -> PromptFile:
        """The full form: name, version, description, prompts."""
        self.known_keys(pairs, FILE_KEYS, "a prompt file")
        name = self.text(pairs["name"][1], "name") if "name" in pairs else self.path.stem
        version = "1"
        if "version" in pairs:
            node = pairs["version"][1]
            if not isinstance(node, yaml.ScalarNode) or not node.value:
                self.fail(node, "'version' must be a number or text")
            version = str(node.value)
        if "description" in pairs:
            self.text(pairs["description"][1], "description")
        entries = pairs["prompts"][1]
        if not isinstance(entries, yaml.SequenceNode):
            self.fail(entries, "'prompts' must be a list")
        if not entries.value:
            self.fail(entries, "'prompts' is empty")
        found = tuple(self.entry(entry) for entry in entries.value)
        return PromptFile(name, version, found, tuple(entry.start_mark.line + 1 for entry in entries.value))

    def plain(self, pairs: dict[str, tuple[yaml.Node, yaml.Node]]) -> PromptFile:
        """The plain form: category -> list of texts. Every text is a family of its own."""
        found: list[PromptRecord] = []
        lines: list[int] = []
        for name, (key, value) in pairs.items():
            category = self.category(key, name)
            if not isinstance(value, yaml.SequenceNode) or not value.value:
                self.fail(value, f"the category {name!r} must be a list of texts that is not empty")
            for number, node in enumerate(value.value, start=1):
                label = f"{category}/{number}"
                found.append(PromptRecord(label, category, self.text(node, f"text {number}"), family=label))
                lines.append(node.start_mark.line + 1)
        if not found:
            self.fail(1, "the file holds no prompts")
        return PromptFile(self.path.stem, "1", tuple(found), tuple(lines))

    def entry(self, node: yaml.Node) -> PromptRecord:
        """One prompt of the full form."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, "a prompt must be a mapping with id, category and text")
        pairs = self.mapping(node)
        self.known_keys(pairs, PROMPT_KEYS, "a prompt")
        for key in ("id", "category", "text"):
            if key not in pairs:
                name = f" {pairs['id'][1].value!r}" if "id" in pairs else ""
                self.fail(node, f"the prompt{name} has no {key!r}")
        texts = {
            key: self.text(value, key)
            for key, (_, value) in pairs.items()
            if key not in ("difficulty", "grader")
        }
        grader = self.grader(pairs["grader"][1], texts.get("answer")) if "grader" in pairs else None
        return PromptRecord(
            key=texts["id"],
            category=self.category(pairs["category"][1], texts["category"]),
            text=texts["text"],
            family=texts.get("family", texts["id"]),
            control=texts.get("control"),
            skill=texts.get("skill"),
            difficulty=self.difficulty(pairs["difficulty"][1]) if "difficulty" in pairs else None,
            language=texts.get("language", "en"),
            answer=texts.get("answer"),
            grader=grader,
            failure_mode=texts.get("failure_mode"),
        )

    def difficulty(self, node: yaml.Node) -> int:
        if not (
            isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int") and node.value in tuple("12345")
        ):
            self.fail(node, "'difficulty' must be a whole number from 1 to 5")
        return int(node.value)

    def grader(self, node: yaml.Node, answer: str | None) -> dict[str, Any]:
        """How a reply is compared with the answer: a kind and its options."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, "'grader' must be a mapping such as {kind: exact}")
        pairs = self.mapping(node)
        if "kind" not in pairs:
            self.fail(node, "'grader' has no 'kind'")
        kind = self.text(pairs["kind"][1], "kind")
        if kind not in GRADERS:
            self.fail(
                pairs["kind"][1], f"the grader kind {kind!r} is unknown; there are {', '.join(GRADERS)}"
            )
        self.known_keys(pairs, ("kind", *GRADERS[kind]), f"a grader of kind {kind!r}")
        if answer is None:
            self.fail(node, "a grader needs an 'answer'")
        grader: dict[str, Any] = {"kind": kind}
        if "tolerance" in pairs:
            grader["tolerance"] = self.tolerance(pairs["tolerance"][1])
        if kind == "regex":
            try:
                re.compile(answer)
            except re.error as error:
                self.fail(node, f"the answer is not a regular expression: {error}")
        return grader

    def tolerance(self, node: yaml.Node) -> float:
        try:
            value = float(node.value) if isinstance(node, yaml.ScalarNode) else float("nan")
        except ValueError:  # text, or a spelling of YAML's own such as .inf
            value = float("nan")
        if not 0 <= value < float("inf"):
            self.fail(node, "'tolerance' must be a number from 0 up")
        return value
