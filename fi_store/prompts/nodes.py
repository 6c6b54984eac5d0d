"""Parses YAML and JSON that people wrote into nodes that know their lines.

Files are not trusted: aliases, tags, deep nesting, and oversized files and texts are rejected before anything is built
from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import yaml

from fi_store.errors import PromptFileError

MAX_BYTES = 8 * 2**20
"""Maximum size of a prompt file; the shipped suite has a tenth of it."""
MAX_DEPTH = 8
"""Maximum nesting of a prompt file; the format needs five levels."""
MAX_EVENTS = 600_000
"""Maximum number of YAML events (a text, the start or the end of a list): about 20,000 prompts."""
MAX_TEXT = 20_000
"""Maximum length of a text, in characters."""

Pairs: TypeAlias = dict[str, tuple[yaml.Node, yaml.Node]]
"""The entries of a mapping: key -> (key node, value node)."""
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_JSON_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class NodeReader:
    """Reads one file as nodes. Faults go to `fail`, where a subclass raises its own error."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, at: yaml.Node | int, what: str, todo: str) -> NoReturn:
        """Rejects a node or a line: what is wrong there, and what to do about it."""
        raise NotImplementedError

    def compose(self) -> yaml.Node:
        """The file as one tree of nodes: JSON if its extension says so, otherwise YAML."""
        text = self.source()
        if self.path.suffix.lower() != ".json":
            return self.compose_text(text)
        self.check_json(text, 1)
        return self.compose_text(as_yaml(text))

    def source(self) -> str:
        """The text of the file.

        Raises:
            PromptFileError: it cannot be read, or is too large.
        """
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
            self.fail(1, "the file is empty", "add prompts, or start with `fi-store prompts new`")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.fail(
                data[: error.start].count(b"\n") + 1, "this is not UTF-8 text", "save the file as UTF-8"
            )

    def check_json(self, text: str, first_line: int) -> None:
        """Rejects what is not JSON; `first_line` is the line of the file where the text begins."""
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            what = f"this is not JSON, {error.msg[0].lower()}{error.msg[1:]}"
            self.fail(first_line + error.lineno - 1, what, "fix it")
        except RecursionError:
            self.fail(
                first_line,
                "this is nested too deeply for a prompt file",
                "see prompts/README.md for the format",
            )

    def compose_text(self, text: str) -> yaml.Node:
        """YAML as one tree of nodes."""
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._check_events(yaml.parse(text, Loader=loader))
            root = yaml.compose(text, Loader=loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = error.problem or error.context or "unreadable"
            self.fail(
                (mark.line if mark else 0) + 1, f"this is not YAML, {what}", "put texts in double quotes"
            )
        except yaml.YAMLError as error:
            position = getattr(error, "position", 0)
            line = text[:position].count("\n") + 1
            self.fail(line, f"this is not YAML, {str(error).splitlines()[0]}", "remove the character")
        if root is None:
            self.fail(1, "the file holds no prompts, only comments", "add prompts")
        return root

    def _check_events(self, events: Iterator[Any]) -> None:
        """Rejects what no prompt file needs before anything is built from it."""
        depth = 0
        for number, event in enumerate(events):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                self.fail(line, "aliases (*name) are not allowed in a prompt file", "write the value out")
            if getattr(event, "tag", None) is not None:
                what = f"tags ({event.tag[:40]}) are not allowed in a prompt file"
                self.fail(line, what, "remove the tag")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                self.fail(
                    line,
                    "this is nested too deeply for a prompt file",
                    "see prompts/README.md for the format",
                )
            if number > MAX_EVENTS:
                self.fail(line, "the file holds too many values", "split it")

    def mapping(self, node: yaml.MappingNode) -> Pairs:
        """The entries of a mapping; rejects keys that are not text and keys given twice."""
        pairs: Pairs = {}
        for key, value in node.value:
            if not (isinstance(key, yaml.ScalarNode) and key.tag.endswith(":str")):
                self.fail(key, "a key must be text", "put it in quotes")
            if key.value in pairs:
                self.fail(key, f"the key {key.value[:40]!r} is given twice", "remove one of them")
            pairs[key.value] = (key, value)
        return pairs

    def known_keys(self, pairs: Pairs, allowed: tuple[str, ...], of: str) -> None:
        """Rejects keys that are not allowed."""
        for key, (node, _) in pairs.items():
            if key not in allowed:
                self.fail(node, f"{of} has no key {key[:40]!r}", f"the keys are {', '.join(allowed)}")

    def text(self, node: yaml.Node, key: str, limit: int = MAX_TEXT) -> str:
        """A text that is not empty, not too long, and free of control characters."""
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"{key!r} must be text", "write a text in double quotes")
        value = str(node.value)
        if not value.strip():
            self.fail(node, f"{key!r} is empty", "write something, or remove it")
        if not node.tag.endswith(":str"):
            self.fail(node, f"{key!r} must be text", f"put {value[:40]!r} in quotes")
        if len(value) > limit:
            self.fail(node, f"{key!r} is longer than {limit} characters", "shorten it")
        if _UNSAFE.search(value):
            self.fail(node, f"{key!r} contains a control character", "remove it")
        return value


def as_yaml(text: str) -> str:
    """JSON for a YAML parser: escapes in YAML's form, and all non-ASCII characters (only strings have any) escaped."""
    escaped = _JSON_ESCAPE.sub(_yaml_escape, text).encode("ascii", "backslashreplace").decode("ascii")
    return escaped.replace("\t", " ").replace("\x7f", "\\x7f")  # in JSON, tabs occur only between tokens


def _yaml_escape(found: re.Match[str]) -> str:
    """A JSON escape in YAML's form: a surrogate pair becomes one escape, half a pair the replacement character."""
    high, low, half = found.groups()
    if high:
        return f"\\U{0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00:08x}"
    return "\\ufffd" if half else found.group()
