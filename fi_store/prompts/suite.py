"""Builds the prompts of a run: from the shipped suite, from files, from plain lists, or again from a store.

Knows nothing about models. What a prompt file may hold stands in `promptfile` and `prompts/README.md`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from fi_store.errors import Complaint, PromptFileError, UsageError
from fi_store.prompts.file import MAX_COMPLAINTS, PromptFile, PromptReader, checked_category
from fi_store.prompts.records import PromptRecord, PromptSuite
from fi_store.shipped import shipped

if TYPE_CHECKING:
    from fi_store.store import Store

SHIPPED_FILES = ("reasoning.yaml", "controls.yaml")
"""The files of a run that names none."""
SHIPPED_LIMIT = 16
"""Prompts of each shipped category in a run that names neither files nor a limit."""
NAMED_FILES = ("reasoning", "broad", "controls")
"""Shipped files that may be named without a folder and an ending."""


def load_suite(
    files: Sequence[Path] = (), categories: Sequence[str] = (), limit_per_category: int | None = None
) -> PromptSuite:
    """The prompts of the files in order (the shipped suite without files), filtered.

    A file is a path, or the bare name of a shipped one (`reasoning`, `broad`, `controls`) where no such path exists.

    Raises:
        PromptFileError: files break the format, or two prompts have one id or are the same; with all complaints.
        UsageError: an unknown category.
    """
    paths = [_path(Path(file)) for file in files] or [shipped("prompts") / name for name in SHIPPED_FILES]
    read = read_all([PromptReader(path) for path in paths])
    prompts = [prompt for file in read for prompt in file.prompts]
    check_categories(categories, prompts)
    kept = [prompt for prompt in prompts if not categories or prompt.category in categories]
    return PromptSuite(
        name="+".join(file.name for file in read),
        version="+".join(file.version for file in read),
        prompts=tuple(_limited(kept, limit_per_category)),
    )


def suite_of_run(files: Sequence[Path], categories: Sequence[str], limit: int | None) -> PromptSuite:
    """The prompts of a run: `load_suite`, with `SHIPPED_LIMIT` of each category of the shipped suite by default."""
    return load_suite(files, categories, limit or (None if files else SHIPPED_LIMIT))


def _path(given: Path) -> Path:
    """The file that a person means by a path or by the bare name of a shipped file."""
    if str(given) in NAMED_FILES and not given.exists():
        return shipped("prompts") / f"{given}.yaml"
    return given


def suite_from_lists(
    lists: Mapping[str, Sequence[str]], limit_per_category: int | None = None
) -> PromptSuite:
    """A suite from plain lists of strings: `{"reasoning": ["...", "..."]}`; every text is its own family.

    Raises:
        UsageError: no text, an empty or repeated text, a category that is not snake_case.
    """
    prompts: list[PromptRecord] = []
    seen: set[tuple[str, str]] = set()
    for category, texts in lists.items():
        checked_category(category)
        if isinstance(texts, str):
            raise UsageError(f"The category {category!r} must have a list of texts, not one text.")
        for number, text in enumerate(texts, start=1):
            if not isinstance(text, str) or not text.strip():
                raise UsageError(f"Text {number} of the category {category!r} is empty or not text.")
            if (category, text) in seen:
                raise UsageError(f"Text {number} of the category {category!r} stands there twice.")
            seen.add((category, text))
            key = f"{category}/{number}"
            prompts.append(PromptRecord(key, category, text, family=key))
    if not prompts:
        raise UsageError("There is no prompt in the lists.", hint='prompt_categories={"reasoning": ["..."]}')
    return PromptSuite("lists", "1", tuple(_limited(prompts, limit_per_category)))


def suite_from_store(store: Store, prompt_set_id: str) -> PromptSuite:
    """The prompts of an earlier run, as they were read then, whatever became of their files."""
    head = store.rows("SELECT name, version FROM prompt_set WHERE id = $id", id=prompt_set_id)
    rows = store.rows(
        "SELECT prompt.* FROM prompt_set_member AS m JOIN prompt ON prompt.id = m.prompt_id "
        "WHERE m.prompt_set_id = $id ORDER BY m.position",
        id=prompt_set_id,
    )
    if not head or not rows:
        raise UsageError(
            f"The store {store.path} lost the prompt set {prompt_set_id}.", hint="fi-store doctor"
        )
    for row in rows:
        del row["id"]
        if isinstance(row["grader"], str):
            row["grader"] = json.loads(row["grader"])
    return PromptSuite(head[0]["name"], head[0]["version"], tuple(PromptRecord(**row) for row in rows))


def _limited(prompts: Sequence[PromptRecord], limit: int | None) -> list[PromptRecord]:
    """`limit` prompts of each category, evenly spread over its list, in their order.

    The shipped lists rise in difficulty, so a small set still spans it.
    """
    counts = Counter(prompt.category for prompt in prompts)
    seen: Counter[str] = Counter()
    kept = []
    for prompt in prompts:
        number, total = seen[prompt.category], counts[prompt.category]
        seen[prompt.category] += 1
        if limit is None or total <= limit or number in {at * total // limit for at in range(limit)}:
            kept.append(prompt)
    return kept


def read_all(readers: Sequence[PromptReader]) -> list[PromptFile]:
    """What the readers' files hold.

    Raises:
        PromptFileError: with all that is wrong, file by file; a prompt that is there twice is told beside the rest.
    """
    read = [reader.read() for reader in readers]
    keys: dict[str, str] = {}
    contents: dict[tuple[str, str], str] = {}
    complaints: list[Complaint] = []
    for reader in readers:
        complaints += [*reader.complaints, *_doubles(reader, keys, contents)][:MAX_COMPLAINTS]
    if complaints:
        raise PromptFileError.of(complaints)
    return [file for file in read if file is not None]


def _doubles(
    reader: PromptReader, keys: dict[str, str], contents: dict[tuple[str, str], str]
) -> Iterator[Complaint]:
    """Complaints of prompts that share an id or that are the same; `keys` and `contents` (thing -> place of the first)
    hold those of the files before, and take up those of this one."""
    for line, key, content in reader.headings:
        place = f"{reader.path}:{line}"
        if key in keys:
            what = f"the id {key!r} is already at {keys[key]}"
            yield Complaint(reader.path, line, what, "give it another id")
        elif key is not None:
            keys[key] = place
        if content in contents:
            what = f"the same prompt is already at {contents[content]}"
            yield Complaint(reader.path, line, what, "leave one of them out")
        elif content is not None:
            contents[content] = place


def check_categories(
    wanted: Sequence[str], prompts: Sequence[PromptRecord], option: str = "--categories"
) -> None:
    """Refuses a category that no prompt has; `option` is where a person named it.

    Raises:
        UsageError: an unknown category.
    """
    known = sorted({prompt.category for prompt in prompts})
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            guess = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}."
            raise UsageError(
                f"{option}: no prompt has the category {name!r}{guess}", hint="fi-store prompts list"
            )
