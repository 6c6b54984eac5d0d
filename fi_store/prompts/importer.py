"""Reads prompts from where people keep them (lists, tables, JSON lines), with the same checks as a prompt file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import yaml

from fi_store.errors import UsageError
from fi_store.prompts.file import PROMPT_KEYS, PromptFile, PromptReader, RefusedError, checked_category
from fi_store.prompts.nodes import as_yaml
from fi_store.prompts.suite import read_all

ROWS = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Endings of files with one prompt in each row or line; all others are read as prompt files."""
_TEXT, _INTEGER = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int"


def read_source(path: Path, category: str | None = None) -> PromptFile:
    """The prompts of a file that need not be a prompt file; `category` is for rows that name none.

    Raises:
        PromptFileError: with all that is wrong, each with the file, the line, and what to do.
        UsageError: a category for a file that names its categories itself.
    """
    if category is not None and not _has_rows(path):
        raise UsageError(
            f"--category is for {', '.join(ROWS)}; {path} names its categories itself.", hint="leave it out"
        )
    return read_all([SourceReader(path, None if category is None else checked_category(category))])[0]


def _has_rows(path: Path) -> bool:
    return path.suffix.lower() in ROWS


class SourceReader(PromptReader):
    """Turns rows into the nodes of prompts: each cell knows the line where its row begins."""

    def __init__(self, path: Path, category: str | None) -> None:
        super().__init__(path)
        self.given_category = category
        self.counts: Counter[str] = Counter()

    def file(self) -> PromptFile:
        """A prompt file, or one prompt from each row of a table or line of JSON."""
        return self._rows() if _has_rows(self.path) else super().file()

    def _rows(self) -> PromptFile:
        entries = self._lines() if self.path.suffix.lower() in (".jsonl", ".ndjson") else self._table()
        found = []
        for entry in entries:
            with self.noting():
                found.append(self.entry(self._completed(entry)))
        if not entries:
            self.fail(1, "the file holds no prompts", "write a row for each prompt")
        return PromptFile(self.path.stem, "1", tuple(found))

    def _lines(self) -> list[yaml.Node]:
        """The lines of a file with one JSON value on each; a line that is not JSON is complained of and left out."""
        lines = self.source().split("\n")
        for number, line in enumerate(lines, start=1):
            lines[number - 1] = ""
            if line.strip():
                with self.noting():
                    self.check_json(line, number)
                    lines[number - 1] = line + ","
        root = self.compose_text(as_yaml("[" + "\n".join(lines) + "]"))
        assert isinstance(root, yaml.SequenceNode)
        return list(root.value)

    def _table(self) -> list[yaml.Node]:
        """The rows of a CSV file; the delimiter is the one that the header has most of."""
        text = self.source()
        header = text.split("\n", maxsplit=1)[0]
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
        try:
            names = [name.strip().lower() for name in next(rows)]
            self._check_header(names)
            entries: list[yaml.Node] = []
            line = rows.line_num + 1
            for cells in rows:
                with self.noting():
                    if any(cell.strip() for cell in cells):
                        entries.append(self._row(names, cells, line))
                line = rows.line_num + 1
        except csv.Error as error:
            self.fail(
                max(rows.line_num, 1),
                f"this is no CSV, {error}",
                "put texts in double quotes, and double those inside",
            )
        return entries

    def _check_header(self, names: list[str]) -> None:
        if "text" not in names:
            self.fail(1, "the header has no column 'text'", f"the columns are {', '.join(PROMPT_KEYS)}")
        for name, count in Counter(names).items():
            with self.noting():
                if name not in PROMPT_KEYS:
                    self.fail(
                        1, f"a prompt has no key {name[:40]!r}", f"the columns are {', '.join(PROMPT_KEYS)}"
                    )
                if count > 1:
                    self.fail(1, f"the column {name!r} is there twice", "leave one of them out")

    def _row(self, names: list[str], cells: list[str], line: int) -> yaml.MappingNode:
        mark = yaml.Mark(str(self.path), 0, line - 1, 0, None, 0)
        if len(cells) > len(names):
            with self.noting():
                self.fail(
                    line,
                    f"the row has {len(cells)} cells, the header {len(names)}",
                    "put texts in double quotes",
                )
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        for name, cell in zip(names, cells, strict=False):
            if not cell.strip() or name not in PROMPT_KEYS:  # the header was complained of
                continue
            if name == "grader":
                node = self._grader_cell(cell, line)
            else:
                whole = name == "difficulty" and cell.strip().isdigit()
                node = yaml.ScalarNode(
                    _INTEGER if whole else _TEXT, cell.strip() if whole else cell.replace("\r\n", "\n"), mark
                )
            pairs.append((yaml.ScalarNode(_TEXT, name, mark), node))
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, mark)

    def _grader_cell(self, cell: str, line: int) -> yaml.Node:
        """A grader as prompt files write it, with its place in the table."""
        try:
            return self.compose_text("\n" * (line - 1) + cell)
        except RefusedError as refused:
            self.fail(line, refused.complaint.what, "write it like {kind: exact}")

    def _completed(self, entry: yaml.Node) -> yaml.Node:
        """The entry with the category and the id that it lacks: category/number, counted within the category."""
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
