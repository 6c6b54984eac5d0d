"""Writes prompt files in the full form, and the commented starter file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fi_store.commands import command_line
from fi_store.errors import UsageError
from fi_store.prompts.file import PROMPT_KEYS
from fi_store.prompts.records import PromptRecord
from fi_store.safe_text import visible

_NOT_PRINTED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_STARTER_HEAD = """\
# Your own prompts. prompts/README.md in fi-store explains every key.
# Check the file:  {validate}
# Use it:          {use}
name: {name}
version: 1
description: "Say in one sentence what these prompts are for."
prompts:
"""
_STARTER_PROMPTS = """\
  # {title}
  - id: {category}/pear-crates  # unique, written category/slug
    category: {category}
    family: {category}-pear-crates  # shared by prompts from one template: they count as one observation
    skill: multi-step arithmetic
    difficulty: 2  # 1 (a model of 135M parameters can do it) to 5
    language: en
    text: "Five crates hold 8 pears each, and 6 pears are bruised. How many good pears are there?"
    # The same topic and length, but nothing to reason about.
    control: "Five crates hold ripe pears, and some pears are yellow. What do ripe pears taste like?"
    answer: "34"
    grader: {{kind: number, tolerance: 0}}
    failure_mode: "Forgets to take off the bruised pears."
    failure_answer: "40"  # the answer that the shortcut gives; the grader must reject it

  - id: {category}/glass-lamp
    category: {category}
    family: {category}-glass-lamp
    skill: syllogism
    difficulty: 1
    language: en
    text: "All lamps in the hall are made of glass. This lamp hangs in the hall. Is it made of glass? Yes or no."
    control: "The lamps in the hall are made of glass. This lamp hangs in the hall. Describe its light in a sentence."
    answer: "yes"
    grader: {{kind: choice, options: ["yes", "no"]}}
    failure_mode: "Treats what follows from the text as uncertain."
    failure_answer: "no"
"""
DEFAULT_CATEGORY = "my_category"


def starter(path: Path, categories: Sequence[str] = ()) -> str:
    """A commented prompt file for `path`, with two prompts to replace in each category."""
    parts = [
        _STARTER_PROMPTS.format(category=name, title=name.replace("_", " "))
        for name in categories or (DEFAULT_CATEGORY,)
    ]
    head = _STARTER_HEAD.format(
        validate=_comment("prompts", "validate", path),
        use=_comment("run", "--base-model", "A", "--target-model", "B", "--prompts-file", path),
        name=_quoted(path.stem),
    )
    return head + "\n".join(parts)


def _comment(*words: object) -> str:
    """A command in a comment, which a line break in a file's name must not end."""
    return visible(command_line(*words))


def full_form(prompts: Sequence[PromptRecord], name: str, description: str, version: str = "1") -> str:
    """The prompts as a YAML file in the full form; reading it back gives the same prompts."""
    version = version if re.fullmatch(r"[1-9]\d{0,8}", version) else _quoted(version)
    head = f"name: {_quoted(name)}\nversion: {version}\ndescription: {_quoted(description)}\nprompts:\n"
    return head + "\n".join(_entry(prompt) for prompt in prompts)


def _entry(prompt: PromptRecord) -> str:
    values = {key: getattr(prompt, "key" if key == "id" else key) for key in PROMPT_KEYS}
    lines = [f"{key}: {_value(value)}\n" for key, value in values.items() if value is not None]
    return "  - " + "    ".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return grader_text(value)
    return _quoted(value) if isinstance(value, str) else str(value)


def grader_text(grader: Mapping[str, Any]) -> str:
    """A grader on one line, as in prompt files: {kind: choice, options: ["yes", "no"]}."""
    parts = [f"{key}: {value if key == 'kind' else _json(value)}" for key, value in grader.items()]
    return "{" + ", ".join(parts) + "}"


def _quoted(text: str) -> str:
    """A text as a plain YAML scalar where that is unambiguous, otherwise in double quotes."""
    return text if re.fullmatch(r"[a-z]+[a-z0-9]*([_/-][a-z0-9]+)+", text) else _json(text)


def _json(value: Any) -> str:
    """JSON, which YAML can read, with the characters escaped that YAML does not accept as they are."""
    return _NOT_PRINTED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def write_new(path: Path, text: str) -> None:
    """Writes a new prompt file, and creates its folder.

    Raises:
        UsageError: the file exists, or its name does not end in .yaml.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(f"{path} does not end in .yaml.", hint=f"{path.with_suffix('.yaml')}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{path} already exists.", hint="choose another file, or remove this one") from None
