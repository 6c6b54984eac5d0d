"""Decides which column of a foreign table is which field of a prompt, and notes everything that it took or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from fi_store.prompts.file import PROMPT_KEYS

TEXT_COLUMNS = ("prompt", "question", "instruction", "messages")
"""Columns that are taken for the text if there is no `text`; `messages` holds a conversation in OpenAI's form."""
BESIDE_MESSAGES = ("tools", "functions", "tool_choice", "parallel_tool_calls")
"""What conversations in OpenAI's form carry beside their messages; prompts have no place for it."""

Refuse = Callable[[str, str], NoReturn]
"""Rejects a row: what is wrong, and what to do."""


@dataclass(frozen=True)
class Columns:
    """What a person said about the columns: field -> column, columns to leave out, which turn of a conversation."""

    named: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    turn: str | None = None  # first, last

    def in_known_case(self) -> Columns:
        """The same for a table, whose header is read without regard to case where it names a known column."""
        named = {name: known_case(column) for name, column in self.named.items()}
        return replace(self, named=named, ignored=[known_case(column) for column in self.ignored])


def known_case(name: str) -> str:
    """A column's name, in lowercase if it is then a known one."""
    return name.lower() if name.lower() in (*PROMPT_KEYS, *TEXT_COLUMNS) else name


class ColumnReader:
    """Turns the values of one row, by column, into values by field. `notes` says what was taken for what."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._taken: dict[str, str] = {}  # column -> field, for columns with another name
        self._left: Counter[str] = Counter()
        self._seen: set[str] = set()

    @property
    def unknown(self) -> list[str]:
        """The columns that a person named or left out, and that no row has."""
        return [
            column
            for column in (*self.columns.named.values(), *self.columns.ignored)
            if column not in self._seen
        ]

    @property
    def notes(self) -> list[str]:
        """One sentence for each column that was renamed, and for everything that was left out."""
        renamed = [f"The column {column!r} is taken for the {name}." for column, name in self._taken.items()]
        return [*renamed, *(f"Left out: {what} ({n})." for what, n in self._left.items())]

    def fields(self, row: Mapping[str, Any], refuse: Refuse) -> dict[str, Any]:
        """The row by field, without empty (null) values."""
        self._seen.update(row)
        sources = self.sources([name for name, value in row.items() if value is not None], refuse)
        return {name: self.value(name, column, row[column], refuse) for name, column in sources.items()}

    def value(self, name: str, column: str, value: Any, refuse: Refuse) -> Any:
        """The value of a field as its column holds it, or the user's turn of a conversation."""
        conversation = name == "text" and (column == "messages" or isinstance(value, list))
        return self._question(value, refuse) if conversation else value

    def sources(self, columns: Sequence[str], refuse: Refuse) -> dict[str, str]:
        """Field -> column. Refuses what is ambiguous, and columns that nobody said anything about."""
        self._seen.update(columns)
        sources = self._assigned(columns, refuse)
        self._taken |= {column: name for name, column in sources.items() if name != column}
        for column in columns:
            if column not in sources.values():
                self._left_out(column, sources.get("text") == "messages", refuse)
        return sources

    def _assigned(self, columns: Sequence[str], refuse: Refuse) -> dict[str, str]:
        usable = [name for name in columns if name not in self.columns.ignored]
        named = {name: column for name, column in self.columns.named.items() if column in columns}
        free = [name for name in usable if name not in named.values()]
        sources = {**{name: name for name in free if name in PROMPT_KEYS and name not in named}, **named}
        if "text" in sources:
            return sources
        texts = [name for name in free if name in TEXT_COLUMNS]
        if len(texts) > 1:
            refuse(
                f"{' and '.join(texts)} could both be the text",
                f"say which with --column text={texts[0]}, and leave the other out with --ignore {texts[1]}",
            )
        return {**sources, **({"text": texts[0]} if texts else {})}

    def _left_out(self, column: str, conversation: bool, refuse: Refuse) -> None:
        if column in self.columns.ignored:
            return
        if conversation and column in BESIDE_MESSAGES:
            self._left[f"the column {column!r}"] += 1
            return
        refuse(
            f"there are two columns for {column!r}"
            if column in PROMPT_KEYS
            else f"a prompt has no key {column[:40]!r}",
            f"leave it out with --ignore, or say what it is with --column FIELD=NAME; "
            f"the fields are {', '.join(PROMPT_KEYS)}",
        )

    def _question(self, messages: Any, refuse: Refuse) -> str:
        """The user's turn of a conversation: a list of messages, each with a role and a content."""
        if not isinstance(messages, list) or not all(isinstance(each, Mapping) for each in messages):
            refuse("'messages' must be a list of messages", 'write [{"role": "user", "content": "…"}]')
        turns = [each for each in messages if each.get("role") == "user"]
        if not turns:
            refuse("'messages' has no message with the role user", "add one, or leave the row out")
        if len(turns) > 1 and self.columns.turn is None:
            refuse(
                f"the conversation has {len(turns)} turns of the user, and a prompt has one",
                "choose with --turn first or --turn last",
            )
        for each in messages:
            if each.get("role") != "user":
                role = str(each.get("role"))[:20]
                way = ", which a run takes with --system-prompt" if role == "system" else ""
                self._left[f"messages with the role {role!r}{way}"] += 1
        if len(turns) > 1:
            self._left["further turns of the user"] += len(turns) - 1
        return _content(turns[-1 if self.columns.turn == "last" else 0].get("content"), refuse)


def _content(content: Any, refuse: Refuse) -> str:
    """The text of a message, whose content is a text or a list of parts."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
        if not isinstance(text, str):
            refuse("a message holds something else than text", "leave the row out: prompts are texts")
        texts.append(text)
    return "\n".join(texts)
