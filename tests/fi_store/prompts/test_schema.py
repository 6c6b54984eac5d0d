"""The JSON Schema of prompt files: agrees with the reader on good and bad files."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from fi_store.graders import KINDS
from fi_store.prompts import NAMED_FILES
from fi_store.prompts import file as promptfile
from fi_store.prompts import nodes as promptnodes
from fi_store.shipped import shipped
from tests.helpers.bad_prompts import BAD, FULL, graded

SCHEMA: dict[str, Any] = json.loads((shipped("prompts") / "schema.json").read_text(encoding="utf-8"))
DEFS = SCHEMA["$defs"]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
VALIDATOR = Draft202012Validator(SCHEMA)
JUDGED = (
    "is already at", "refuses its own answer", "accepts the failure_answer", "none of the options", "read the same",
    "not in the universe", "neither a letter", "not a regular expression", "took longer", "cannot be parsed",
)  # fmt: skip
"""Complaints that no schema can make: about several values together, or about what a grader does with them."""


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_it_has_the_keys_and_limits_of_the_reader() -> None:
    prompt, full = DEFS["prompt"]["properties"], DEFS["full"]["properties"]
    assert tuple(prompt) == promptfile.PROMPT_KEYS
    assert tuple(full) == promptfile.FILE_KEYS
    assert tuple(DEFS["plain"]["propertyNames"]["not"]["enum"]) == promptfile.FILE_KEYS
    assert DEFS["category"]["pattern"] == f"^{promptfile.CATEGORY.pattern}$"
    graders = {one["properties"]["kind"]["const"]: one for one in DEFS["grader"]["oneOf"]}
    assert tuple(graders) == KINDS
    limits = {key: one["maxLength"] for key, one in (prompt | full).items() if "maxLength" in one}
    limits["category"] = DEFS["category"]["maxLength"]
    for kind, one in graders.items():
        assert tuple(one["properties"])[1:] == promptfile.GRADER_OPTIONS[kind]
        assert one["required"] == ["kind", *filter(None, [promptfile.NEEDED_OPTIONS.get(kind)])]
        for key, option in one["properties"].items():
            if "items" in option:
                limits["item"] = option["items"]["maxLength"]
                assert option["maxItems"] == promptfile.MAX_ITEMS
            elif "maxLength" in option:
                limits[key] = option["maxLength"]
    assert tuple(graders["code"]["properties"]["language"]["enum"]) == promptfile.LANGUAGES
    texts = {key: limits.pop(key) for key in ("text", "control", "description")}
    del limits["version"]
    assert set(texts.values()) == {promptnodes.MAX_TEXT}
    assert limits == {key: value for key, value in promptfile.LIMITS.items() if key != "kind"}


@pytest.mark.parametrize("name", NAMED_FILES)
def test_shipped_files_are_valid(name: str) -> None:
    text = (shipped("prompts") / f"{name}.yaml").read_text(encoding="utf-8")
    VALIDATOR.validate(yaml.load(text, Loader=LOADER))


@pytest.mark.parametrize(
    "text",
    [
        FULL, "sums:\n  - 1 + 1?\n", graded('{kind: exact, aliases: ["hound"]}'),
        graded('{kind: choice, options: ["dog", "cat"]}'),
        graded('{kind: set, universe: ["dog", "cat"], ordered: true}'),
        graded('{kind: regex, pattern: "d.g"}'), graded("{kind: code, language: python}"),
        graded('{kind: number, tolerance: 0, percent: true, unit: "km"}', "3/8"),
    ],
)  # fmt: skip
def test_good_files_are_valid(text: str) -> None:
    VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize(("text", "line", "words"), BAD, ids=lambda value: repr(value)[-60:])
def test_bad_files_are_rejected_where_a_schema_can_tell(text: str, line: int, words: str) -> None:
    try:
        data = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError:
        return  # nothing to validate
    seen_in_yaml_only = ("given twice", "aliases")
    accepted = any(part in words for part in (*JUDGED, *seen_in_yaml_only))
    assert VALIDATOR.is_valid(data) == accepted, words
