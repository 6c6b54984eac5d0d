"""Prompt files with one fault each, and the line and some words of the complaint about it."""

from __future__ import annotations

import json

FULL = """\
name: mine
version: 3
description: Two prompts.
prompts:
  - id: sums/one
    category: sums
    text: "What is 1 + 1?"
    control: "What is a sum?"
    difficulty: 2
    answer: "2"
    grader: {kind: number, tolerance: 0.5}
    failure_answer: "11"
  - id: sums/two
    category: sums
    family: other
    text: "What is 2 + 2?"
"""


def graded(grader: str, answer: str = "dog", failure_answer: str = "cat") -> str:
    """FULL with another grader and other answers."""
    text = FULL.replace("{kind: number, tolerance: 0.5}", grader)
    text = text.replace('failure_answer: "11"', f"failure_answer: {json.dumps(failure_answer)}")
    return text.replace('answer: "2"', f"answer: {json.dumps(answer)}")


BAD = [
    ("", 1, "empty"),
    ("  \n\n", 1, "empty"),
    ("# only a comment\n", 1, "only comments"),
    ("- a\n- b\n", 1, "mapping"),
    ("name: x\n", 1, "no 'prompts'"),
    ("name: x\nprompts:\n  - id: a\n    category: c\n    text: t\n  bad: 1\n", 6, "not YAML"),
    ("a: [1, 2\n", 2, "not YAML"),
    ('a: "x\x00"\n', 1, "not YAML"),
    (FULL.replace("sums/two", "sums/one"), 13, "is already at"),
    (FULL.replace('    text: "What is 2 + 2?"\n', ""), 13, "no 'text'"),
    (FULL.replace("control:", "kontrol:"), 8, "no key 'kontrol'"),
    (FULL.replace("description:", "describe:"), 3, "no key 'describe'"),
    (FULL.replace("difficulty: 2", "difficulty: 12"), 9, "1 to 5"),
    (FULL.replace("difficulty: 2", "difficulty: hard"), 9, "1 to 5"),
    (FULL.replace('answer: "2"', "answer: 2"), 10, "in quotes"),
    (FULL.replace("kind: number", "kind: magic"), 11, "'magic' is unknown. The kinds are exact"),
    (FULL.replace("kind: number, ", ""), 11, "no 'kind'"),
    (FULL.replace("{kind: number, tolerance: 0.5}", "number"), 11, "must be a mapping"),
    (FULL.replace("tolerance: 0.5", "tolerance: -1"), 11, "0 or more"),
    (FULL.replace("tolerance: 0.5", "tolerance: .inf"), 11, "0 or more"),
    (FULL.replace("tolerance: 0.5", 'tolerance: "0"'), 11, "0 or more"),
    (FULL.replace("tolerance: 0.5", "percent: 1"), 11, "true or false"),
    (FULL.replace("tolerance: 0.5", f'unit: "{"k" * 41}"'), 11, "longer than 40"),
    (FULL.replace("kind: number, tolerance", "kind: exact, tolerance"), 11, "no key 'tolerance'"),
    (FULL.replace('    answer: "2"\n', ""), 10, "'grader' but no 'answer'"),
    (FULL.replace("    grader: {kind: number, tolerance: 0.5}\n", ""), 10, "'answer' but no 'grader'"),
    (FULL + '    failure_answer: "5"\n', 17, "'failure_answer' but no 'answer'"),
    (FULL.replace('answer: "2"', 'answer: "two"'), 10, "not a plain number"),
    (FULL.replace('failure_answer: "11"', 'failure_answer: "2.4"'), 12, "accepts the failure_answer"),
    (graded("{kind: choice}"), 11, "needs 'options'"),
    (graded("{kind: choice, options: []}"), 11, "a list of 1 to 100"),
    (graded("{kind: choice, options: dog}"), 11, "a list of 1 to 100"),
    (graded("{kind: choice, options: [yes, no]}"), 11, "in quotes"),
    (graded('{kind: choice, options: ["dog"]}'), 11, "at least two options"),
    (graded('{kind: choice, options: ["dog", "The dog!"]}'), 11, "read the same"),
    (
        graded('{kind: choice, options: ["cat", "cow"]}'),
        10,
        "'dog' is none of the options. Make it one of: cat, cow",
    ),
    (graded('{kind: choice, options: ["dog", "cow"]}'), 12, "failure_answer 'cat' is none of the options"),
    (graded("{kind: set}"), 11, "needs 'universe'"),
    (graded('{kind: set, universe: ["cat", "cow"]}'), 10, "not in the universe"),
    (graded('{kind: set, universe: ["cat", "dog"], ordered: maybe}'), 11, "true or false"),
    (graded("{kind: exact, aliases: [1]}"), 11, "in quotes"),
    (graded('{kind: exact, aliases: ["the cat"]}'), 12, "accepts the failure_answer"),
    (graded("{kind: exact}", "!!!"), 10, "neither a letter nor a digit"),
    (graded("{kind: regex}"), 11, "needs 'pattern'"),
    (graded('{kind: regex, pattern: "("}'), 11, "not a regular expression"),
    (graded('{kind: regex, pattern: "^(d+|o+|do|og)+$"}', "do" * 40), 11, "took longer"),
    (graded('{kind: regex, pattern: "cow"}'), 10, "refuses its own answer"),
    (graded('{kind: regex, pattern: "dog|cat"}'), 12, "accepts the failure_answer"),
    (graded("{kind: code, language: cobol}"), 11, "'cobol' cannot be compared as code. Use python or json"),
    (graded("{kind: code, language: json}"), 10, "cannot be parsed as json"),
    (graded("{kind: code, language: python}", "1 +"), 10, "cannot be parsed as python"),
    (FULL.replace("category: sums\n    family", "category: My Sums\n    family"), 14, "formal_logic"),
    (FULL.replace('text: "What is 2 + 2?"', "text: [a]"), 16, "must be text"),
    (FULL.replace('text: "What is 2 + 2?"', 'text: "  "'), 16, "is empty"),
    (FULL.replace('text: "What is 2 + 2?"', "text:"), 16, "is empty"),
    (FULL.replace('text: "What is 2 + 2?"', f'text: "{"x" * 20_001}"'), 16, "longer than"),
    (FULL.replace('text: "What is 2 + 2?"', f'text: "{"x" * 5_000_000}"'), 16, "longer than"),
    (FULL.replace('text: "What is 2 + 2?"', 'text: "\\e[31m"'), 16, "control character"),
    (FULL.replace("sums/two", "x" * 201), 13, "longer than 200"),
    (FULL.replace("id: sums/two", 'id: "sums\\ntwo"'), 13, "more than one line"),
    (FULL.replace("version: 3", "version: [3]"), 2, "a number or text"),
    (FULL.replace("    family: other\n", "    id: again\n"), 15, "given twice"),
    (FULL.replace("    family: other\n", "    2: again\n"), 15, "a key must be text"),
    ("prompts: []\n", 1, "empty"),
    ("prompts: {}\n", 1, "must be a list"),
    ("prompts: [a]\n", 1, "must be a mapping"),
    ("{}\n", 1, "no prompts"),
    ("sums: one text\n", 1, "list of texts"),
    ("sums:\n  - fine\n  - {no: text}\n", 3, "must be text"),
    ("sums:\n  - fine\n  - 7\n", 3, "in quotes"),
    ("a: &x [t]\nb: *x\n", 2, "aliases"),
    ("a: " + "[" * 50 + "]" * 50 + "\n", 1, "too deeply"),
    ("a: !!python/object/apply:os.system [ls]\n", 1, "tags"),
]
