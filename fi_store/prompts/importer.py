"""Imports prompts from lists, tables and JSON lines, with the same checks as for a prompt file."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from fi_store.errors import UsageError
from fi_store.prompts.columns import ColumnReader, Columns, known_case
from fi_store.prompts.file import PromptFile, PromptReader, RefusedError, checked_category
from fi_store.prompts.nodes import as_yaml
from fi_store.prompts.suite import read_all

TABULAR = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Extensions of files with one prompt per row or line; all others are read as prompt files."""
_TEXT, _INTEGER, _NULL = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "null"))


class Source(NamedTuple):
    """The prompts of a file, and sentences about what was taken for what."""

    file: PromptFile
    notes: list[str]


def read_source(path: Path, category: str | None = None, columns: Columns | None = None) -> Source:
    """Reads prompts from a table, JSON lines or a prompt file; `category` is for prompts that name none.

    Raises:
        PromptFileError: carries all complaints, each with the file, the line, and what to do.
        UsageError: a category, or something about columns, is given for a file that has its own.
    """
    for option, given in (("--category", category), ("--column, --ignore and --turn", columns)):
        if given is not None and not _is_tabular(path):
            raise UsageError(
                f"{option}: only for {', '.join(TABULAR)}; {path} names its own categories and fields.",
                hint=f"leave out {option}",
            )
    reader = SourceReader(
        path, None if category is None else checked_category(category), columns or Columns()
    )
    (read,) = read_all([reader])
    if reader.columns.unknown:
        raise UsageError(
            f"{path} has no column {reader.columns.unknown[0]!r}.",
            hint="--column and --ignore take names of columns, as the file writes them",
        )
    return Source(read, [*reader.notes, *reader.columns.notes])


def _is_tabular(path: Path) -> bool:
    return path.suffix.lower() in TABULAR


class SourceReader(PromptReader):
    """Turns table rows and JSON lines into prompt nodes; each cell knows the line where its row begins."""

    def __init__(self, path: Path, category: str | None, columns: Columns) -> None:
        super().__init__(path)
        self.given_category = category
        self.columns = ColumnReader(columns)
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.sources: dict[str, str] = {}  # of a table: field -> column

    def file(self) -> PromptFile:
        """A prompt file, or one prompt from each table row or JSON line."""
        return self._tabular() if _is_tabular(self.path) else super().file()

    def entry(self, node: yaml.Node) -> Any:
        """One prompt; a key whose value is null counts as absent."""
        if isinstance(node, yaml.MappingNode):
            kept = [pair for pair in node.value if pair[1].tag != _NULL or not pair[1].value]
            node = yaml.MappingNode(node.tag, kept, node.start_mark, node.end_mark)
        return super().entry(node)

    def _tabular(self) -> PromptFile:
        lines = self.path.suffix.lower() in (".jsonl", ".ndjson")
        found = []
        n_rows = 0
        for entry in self._lines() if lines else self._table():
            n_rows += 1
            with self.noting():
                found.append(self.entry(self._completed(entry)))
        if not n_rows:
            self.fail(1, "the file holds no prompts", "add a row for each prompt")
        return PromptFile(self.path.stem, "1", tuple(found))

    def _lines(self) -> list[yaml.Node]:
        """The values of a file with one JSON value per line; a line that is not JSON is reported and skipped."""
        lines = self.source().split("\n")
        for number, line in enumerate(lines, start=1):
            lines[number - 1] = ""
            if line.strip():
                with self.noting():
                    self.check_json(line, number)
                    lines[number - 1] = self._taken(line, number) + ","
        root = self.compose_text(as_yaml("[" + "\n".join(lines) + "]"))
        assert isinstance(root, yaml.SequenceNode)
        return list(root.value)

    def _taken(self, line: str, number: int) -> str:
        """A JSON object with the fields of a prompt, as one line of JSON; anything else as it is."""

        def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            for name, n in Counter(name for name, _ in pairs).items():
                if n > 1:
                    self.fail(number, f"the key {name[:40]!r} is given twice", "remove one of them")
            return dict(pairs)

        row = json.loads(line, object_pairs_hook=checked)
        if not isinstance(row, dict):
            return line
        fields = self.columns.fields(row, self._refusing(number))
        return json.dumps({name: self._with_plain_breaks(value) for name, value in fields.items()})

    def _with_plain_breaks(self, value: Any) -> Any:
        """A text with line breaks as in prompt files; other values as they are."""
        if not isinstance(value, str) or "\r" not in value:
            return value
        note = r"Line breaks written \r\n or \r are kept as \n."
        if note not in self.notes:
            self.notes.append(note)
        return value.replace("\r\n", "\n").replace("\r", "\n")

    def _refusing(self, line: int) -> Any:
        def refuse(what: str, todo: str) -> NoReturn:
            self.fail(line, what, todo)

        return refuse

    def _table(self) -> Iterator[yaml.Node]:
        """The rows of a CSV file; the delimiter is the candidate that occurs most often in the header."""
        text, first = self.source(), 1
        header, _, rest = text.partition("\n")
        delimiter = None
        if header.lower().startswith("sep=") and len(header.rstrip("\r")) == 5:  # as Excel writes it
            delimiter, text, first = header[4], rest, 2
            self.notes.append(f"The first line names the delimiter {delimiter!r}.")
            header = rest.partition("\n")[0]
        delimiter = delimiter or max(",;\t", key=header.count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            names = [known_case(name.strip()) for name in next(rows, [])]
            self.columns.columns = self.columns.columns.in_known_case()
            for name, n in Counter(names).items():
                if n > 1:
                    self.fail(first, f"the column {name[:40]!r} appears twice", "remove one of them")
            self.sources = self.columns.sources(names, self._refusing(first))
            if "text" not in self.sources:
                self.fail(first, "the header has no column 'text'", "say which it is with --column text=NAME")
            line = rows.line_num + first
            for cells in rows:
                with self.noting():
                    if any(cell.strip() for cell in cells):
                        yield self._row(names, cells, line)
                line = rows.line_num + first
        except csv.Error as error:
            self.fail(
                max(rows.line_num, 1) + first - 1,
                f"this is not CSV, {error}",
                "put texts in double quotes, and double any quotes inside",
            )

    def _row(self, names: list[str], cells: list[str], line: int) -> yaml.MappingNode:
        mark = yaml.Mark(str(self.path), 0, line - 1, 0, None, 0)
        if len(cells) > len(names):
            with self.noting():
                self.fail(
                    line,
                    f"the row has {len(cells)} cells, the header {len(names)}",
                    "put texts in double quotes",
                )
        by_column = dict(zip(names, cells, strict=False))
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        for name, column in self.sources.items():
            cell = by_column.get(column, "")
            if not cell.strip():
                continue
            if name == "grader":
                node = self._grader_cell(cell, line)
            else:
                if (name, column) == ("text", "messages"):
                    self.check_json(cell, line)
                    cell = self.columns.value(name, column, json.loads(cell), self._refusing(line))
                whole = name == "difficulty" and cell.strip().isdigit()
                value = cell.strip() if whole else self._with_plain_breaks(cell)
                node = yaml.ScalarNode(_INTEGER if whole else _TEXT, value, mark)
            pairs.append((yaml.ScalarNode(_TEXT, name, mark), node))
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, mark)

    def _grader_cell(self, cell: str, line: int) -> yaml.Node:
        """A grader written as in prompt files, at its line in the table."""
        try:
            return self.compose_text("\n" * (line - 1) + cell)
        except RefusedError as refused:
            self.fail(line, refused.complaint.what, "write it like {kind: exact}")

    def _completed(self, entry: yaml.Node) -> yaml.Node:
        """The entry with any missing category and id filled in; the id is category/number within the category."""
        if not isinstance(entry, yaml.MappingNode):
            return entry
        pairs = self.mapping(entry)
        added = []
        if "category" not in pairs:
            if self.given_category is None:
                self.fail(
                    entry, "the prompt has no category", "add a column or key 'category', or give --category"
                )
            added.append(("category", self.given_category))
        category = str(pairs["category"][1].value) if "category" in pairs else str(self.given_category)
        self.counts[category] += 1
        if "id" not in pairs:
            added.append(("id", f"{category}/{self.counts[category]}"))
        mark = entry.start_mark
        nodes = [
            (yaml.ScalarNode(_TEXT, key, mark), yaml.ScalarNode(_TEXT, value, mark)) for key, value in added
        ]
        return yaml.MappingNode(entry.tag, [*nodes, *entry.value], mark)
