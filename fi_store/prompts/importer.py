"""Imports prompts from lists, tables and JSON lines, with the same checks as for a prompt file."""

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

TABULAR = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Extensions of files with one prompt per row or line; all others are read as prompt files."""
_TEXT, _INTEGER = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int"


def read_source(path: Path, category: str | None = None) -> PromptFile:
    """Reads prompts from a table, JSON lines or a prompt file; `category` is for prompts that name none.

    Raises:
        PromptFileError: carries all complaints, each with the file, the line, and what to do.
        UsageError: a category is given for a file that names its own.
    """
    if category is not None and not _is_tabular(path):
        raise UsageError(
            f"--category is for {', '.join(TABULAR)}; {path} names its own categories.",
            hint="leave out --category",
        )
    return read_all([SourceReader(path, None if category is None else checked_category(category))])[0]


def _is_tabular(path: Path) -> bool:
    return path.suffix.lower() in TABULAR


class SourceReader(PromptReader):
    """Turns table rows and JSON lines into prompt nodes; each cell knows the line where its row begins."""

    def __init__(self, path: Path, category: str | None) -> None:
        super().__init__(path)
        self.given_category = category
        self.counts: Counter[str] = Counter()

    def file(self) -> PromptFile:
        """A prompt file, or one prompt from each table row or JSON line."""
        return self._tabular() if _is_tabular(self.path) else super().file()

    def _tabular(self) -> PromptFile:
        entries = self._lines() if self.path.suffix.lower() in (".jsonl", ".ndjson") else self._table()
        found = []
        for entry in entries:
            with self.noting():
                found.append(self.entry(self._completed(entry)))
        if not entries:
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
                    lines[number - 1] = line + ","
        root = self.compose_text(as_yaml("[" + "\n".join(lines) + "]"))
        assert isinstance(root, yaml.SequenceNode)
        return list(root.value)

    def _table(self) -> list[yaml.Node]:
        """The rows of a CSV file; the delimiter is the candidate that occurs most often in the header."""
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
                f"this is not CSV, {error}",
                "put texts in double quotes, and double any quotes inside",
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
                    self.fail(1, f"the column {name!r} appears twice", "remove one of them")

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
            if not cell.strip() or name not in PROMPT_KEYS:  # already reported for the header
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
