"""A rendered page as a reader sees it: its tags, its attributes and its visible text."""

from __future__ import annotations

import html.parser
import shutil
from pathlib import Path

from tests.helpers.store_factory import FilledStore


def copied(store: FilledStore, folder: Path) -> Path:
    path = folder / "fi-store.duckdb"
    shutil.copy(store.path, path)
    return path


class Page(html.parser.HTMLParser):
    """Collects the tags, attributes and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)
