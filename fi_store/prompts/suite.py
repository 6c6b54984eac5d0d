"""Builds the prompts of a run from the shipped suite, from files, from plain lists, or from a store.

Knows nothing about models. `prompts/README.md` describes the format of a prompt file; `file.py` reads one.
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
"""Files that a run uses when none are given."""
SHIPPED_LIMIT = 16
"""Prompts per shipped category when a run is given neither files nor a limit."""
NAMED_FILES = ("reasoning", "broad", "controls")
"""Shipped files that can be given by bare name, without folder and extension."""


def load_suite(
    files: Sequence[Path] = (), categories: Sequence[str] = (), limit_per_category: int | None = None
) -> PromptSuite:
    """Loads the prompts of the files in order (the shipped suite if there are none), filtered.

    A file is a path, or the bare name of a shipped one (`reasoning`, `broad`, `controls`) unless that path exists.

    Raises:
        PromptFileError: a file breaks the format, or two prompts share an id or are the same; carries all complaints.
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
    """`load_suite` for a run: without files and a limit, `SHIPPED_LIMIT` prompts per category of the shipped suite."""
    return load_suite(files, categories, limit or (None if files else SHIPPED_LIMIT))


def _path(given: Path) -> Path:
    """The path of a file that is given as a path or as the bare name of a shipped file."""
    if str(given) in NAMED_FILES and not given.exists():
        return shipped("prompts") / f"{given}.yaml"
    return given


def suite_from_lists(
    lists: Mapping[str, Sequence[str]], limit_per_category: int | None = None
) -> PromptSuite:
    """Builds a suite from lists of strings: `{"reasoning": ["...", "..."]}`; every text is its own family.

    Raises:
        UsageError: no text, an empty or repeated text, a category that is not snake_case.
    """
    prompts: list[PromptRecord] = []
    seen: set[tuple[str, str]] = set()
    for category, texts in lists.items():
        checked_category(category)
        if isinstance(texts, str):
            raise UsageError(f"The category {category!r} must be a list of texts, not a single text.")
        for number, text in enumerate(texts, start=1):
            if not isinstance(text, str) or not text.strip():
                raise UsageError(f"Text {number} of the category {category!r} is empty or not text.")
            if (category, text) in seen:
                raise UsageError(f"Text {number} of the category {category!r} appears twice.")
            seen.add((category, text))
            key = f"{category}/{number}"
            prompts.append(PromptRecord(key, category, text, family=key))
    if not prompts:
        raise UsageError(
            "There are no prompts in the lists.", hint='prompt_categories={"reasoning": ["..."]}'
        )
    return PromptSuite("lists", "1", tuple(_limited(prompts, limit_per_category)))


def suite_from_store(store: Store, prompt_set_id: str) -> PromptSuite:
    """The prompts of an earlier run as they were read then, even if their files have changed since."""
    head = store.rows("SELECT name, version FROM prompt_set WHERE id = $id", id=prompt_set_id)
    rows = store.rows(
        "SELECT prompt.* FROM prompt_set_member AS m JOIN prompt ON prompt.id = m.prompt_id "
        "WHERE m.prompt_set_id = $id ORDER BY m.position",
        id=prompt_set_id,
    )
    if not head or not rows:
        raise UsageError(
            f"The prompt set {prompt_set_id} is missing from the store {store.path}.",
            hint=store.command("doctor"),
        )
    for row in rows:
        del row["id"]
        if isinstance(row["grader"], str):
            row["grader"] = json.loads(row["grader"])
    return PromptSuite(head[0]["name"], head[0]["version"], tuple(PromptRecord(**row) for row in rows))


def _limited(prompts: Sequence[PromptRecord], limit: int | None) -> list[PromptRecord]:
    """Up to `limit` prompts of each category, evenly spaced over its list, in their order.

    The shipped lists rise in difficulty, so a small sample still spans the range.
    """
    counts = Counter(prompt.category for prompt in prompts)
    seen: Counter[str] = Counter()
    kept = []
    for prompt in prompts:
        number, total = seen[prompt.category], counts[prompt.category]
        seen[prompt.category] += 1
        if limit is None or total <= limit or number in {step * total // limit for step in range(limit)}:
            kept.append(prompt)
    return kept


def read_all(readers: Sequence[PromptReader]) -> list[PromptFile]:
    """Reads the files of all readers.

    Raises:
        PromptFileError: carries all complaints, file by file, including those about duplicate prompts.
    """
    read = [reader.read() for reader in readers]
    keys: dict[str, str] = {}
    contents: dict[tuple[str, str], str] = {}
    complaints: list[Complaint] = []
    for reader in readers:
        complaints += [*reader.complaints, *_duplicates(reader, keys, contents)][:MAX_COMPLAINTS]
    if complaints:
        raise PromptFileError.of(complaints)
    return [file for file in read if file is not None]


def _duplicates(
    reader: PromptReader, keys: dict[str, str], contents: dict[tuple[str, str], str]
) -> Iterator[Complaint]:
    """Complaints about prompts that share an id or are the same.

    `keys` and `contents` map what earlier files hold to its location; this file's prompts are added to them.
    """
    for line, key, content in reader.headings:
        location = f"{reader.path}:{line}"
        if key in keys:
            what = f"the id {key!r} is already at {keys[key]}"
            yield Complaint(reader.path, line, what, "give it another id")
        elif key is not None:
            keys[key] = location
        if content in contents:
            what = f"the same prompt is already at {contents[content]}"
            yield Complaint(reader.path, line, what, "remove one of them")
        elif content is not None:
            contents[content] = location


def check_categories(
    wanted: Sequence[str], prompts: Sequence[PromptRecord], option: str = "--categories"
) -> None:
    """Rejects a category that no prompt has; `option` is the option that named it.

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
