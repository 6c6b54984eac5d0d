"""Prompt files and suites: what is accepted, and that every complaint names file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fi_store import promptfile
from fi_store.errors import PromptFileError, UsageError
from fi_store.promptset import load_suite, suite_from_lists, suite_from_store
from fi_store.shipped import shipped

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
  - id: sums/two
    category: sums
    family: other
    text: "What is 2 + 2?"
"""


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_suite_holds_every_category() -> None:
    suite = load_suite()
    counts = {name: sum(p.category == name for p in suite.prompts) for name in suite.categories}
    assert len(counts) == 11
    assert min(n for name, n in counts.items() if name != "general_control") >= 12
    assert counts["general_control"] >= 24
    assert all(prompt.control for prompt in suite.prompts)
    assert len({prompt.id for prompt in suite.prompts}) == len(suite.prompts)


def test_the_full_form(tmp_path: Path) -> None:
    suite = load_suite([write(tmp_path, FULL)])
    assert (suite.name, suite.version) == ("mine", "3")
    one, two = suite.prompts
    assert (one.key, one.family, one.control, one.difficulty) == ("sums/one", "sums/one", "What is a sum?", 2)
    assert (one.answer, one.grader) == ("2", {"kind": "number", "tolerance": 0.5})
    assert (two.family, two.language, two.control, two.grader) == ("other", "en", None, None)


def test_the_plain_form_in_yaml_and_json_is_the_same_suite(tmp_path: Path) -> None:
    lists = {"sums": ["1 + 1?", 'say "2"\n😀 \\ /'], "general_control": ["Hello."]}
    from_yaml = load_suite([write(tmp_path, yaml.safe_dump(lists, sort_keys=False), "plain.yaml")])
    from_json = load_suite([write(tmp_path, json.dumps(lists, indent="\t"), "plain.json")])
    from_lists = suite_from_lists(lists)
    assert [p.text for p in from_yaml.prompts] == ["1 + 1?", 'say "2"\n😀 \\ /', "Hello."]
    assert from_yaml.id == from_json.id == from_lists.id
    assert from_yaml.prompts[1].key == "sums/2"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(lambda name: name not in promptfile.FILE_KEYS),
        st.lists(
            st.text(
                st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")) | st.just("\n"), min_size=1
            ).filter(str.strip),
            min_size=1,
            max_size=4,
            unique=True,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_text_survives_json(
    tmp_path_factory: pytest.TempPathFactory, lists: dict[str, list[str]]
) -> None:
    path = write(tmp_path_factory.mktemp("json"), json.dumps(lists), "any.json")
    assert {p.text for p in load_suite([path]).prompts} == {
        text for texts in lists.values() for text in texts
    }


BAD = [
    ("", 1, "empty"),
    ("  \n\n", 1, "empty"),
    ("# only a comment\n", 1, "only comments"),
    ("- a\n- b\n", 1, "mapping"),
    ("name: x\n", 1, "no 'prompts'"),
    ("name: x\nprompts:\n  - id: a\n    category: c\n    text: t\n  bad: 1\n", 6, "not YAML"),
    ("a: [1, 2\n", 2, "not YAML"),
    (FULL.replace("sums/two", "sums/one"), 12, "already at"),
    (FULL.replace('    text: "What is 2 + 2?"\n', ""), 12, "no 'text'"),
    (FULL.replace("control:", "kontrol:"), 8, "no key 'kontrol'"),
    (FULL.replace("description:", "describe:"), 3, "no key 'describe'"),
    (FULL.replace("difficulty: 2", "difficulty: 12"), 9, "1 to 5"),
    (FULL.replace("difficulty: 2", "difficulty: hard"), 9, "1 to 5"),
    (FULL.replace('answer: "2"', "answer: 2"), 10, "in quotes"),
    (FULL.replace("kind: number", "kind: magic"), 11, "'magic' is unknown; there are exact"),
    (FULL.replace("tolerance: 0.5", "tolerance: -1"), 11, "from 0 up"),
    (FULL.replace("tolerance: 0.5", "tolerance: .inf"), 11, "from 0 up"),
    (FULL.replace("kind: number, tolerance", "kind: exact, tolerance"), 11, "no key 'tolerance'"),
    (FULL.replace('    answer: "2"\n', ""), 10, "needs an 'answer'"),
    (FULL.replace("category: sums\n    family", "category: My Sums\n    family"), 13, "formal_logic"),
    (FULL.replace('text: "What is 2 + 2?"', "text: [a]"), 15, "must be text"),
    (FULL.replace('text: "What is 2 + 2?"', 'text: "  "'), 15, "is empty"),
    (FULL.replace('text: "What is 2 + 2?"', "text:"), 15, "is empty"),
    (FULL.replace('text: "What is 2 + 2?"', f'text: "{"x" * 20_001}"'), 15, "longer than"),
    (FULL.replace("    family: other\n", "    id: again\n"), 14, "given twice"),
    ("prompts: []\n", 1, "empty"),
    ("prompts: {}\n", 1, "must be a list"),
    ("sums: one text\n", 1, "list of texts"),
    ("sums:\n  - fine\n  - {no: text}\n", 3, "must be text"),
    ("sums:\n  - fine\n  - 7\n", 3, "in quotes"),
    ("a: &x [t]\nb: *x\n", 2, "aliases"),
    ("a: " + "[" * 50 + "]" * 50 + "\n", 1, "too deeply"),
    ("a: !!python/object/apply:os.system [ls]\n", 1, "tags"),
]


@pytest.mark.parametrize(("text", "line", "words"), BAD)
def test_a_complaint_names_the_file_and_the_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PromptFileError) as caught:
        load_suite([path])
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: "), message
    assert words in message
    assert "validate" in caught.value.hint


def test_two_prompts_with_the_same_content_are_refused(tmp_path: Path) -> None:
    text = (
        "prompts:\n  - {id: a, category: c, family: f, text: same}\n"
        "  - {id: b, category: c, family: f, text: same}\n"
    )
    with pytest.raises(PromptFileError, match=r"line 3: the same prompt stands already at .*line 2"):
        load_suite([write(tmp_path, text)])


def test_the_same_id_in_two_files_is_refused(tmp_path: Path) -> None:
    first, second = write(tmp_path, FULL, "a.yaml"), write(tmp_path, FULL, "b.yaml")
    with pytest.raises(PromptFileError, match=r"b\.yaml, line 5: the id 'sums/one' .*a\.yaml, line 5"):
        load_suite([first, second])


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PromptFileError, match="no such file"):
        load_suite([tmp_path / "absent.yaml"])
    with pytest.raises(PromptFileError, match="directory"):
        load_suite([tmp_path])
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a:\n  - ok\n  - caf\xe9\n")
    with pytest.raises(PromptFileError, match=r"latin\.yaml, line 3: not UTF-8"):
        load_suite([latin])
    with pytest.raises(PromptFileError, match=r"line 2: not JSON"):
        load_suite([write(tmp_path, '{"a":\n ["b",]}', "bad.json")])
    with pytest.raises(PromptFileError, match="control character"):
        load_suite([write(tmp_path, '{"a": ["b\\u001b[31m"]}', "escape.json")])
    monkeypatch.setattr(promptfile, "MAX_BYTES", 10)
    with pytest.raises(PromptFileError, match="larger than"):
        load_suite([write(tmp_path, FULL)])


def test_filters(tmp_path: Path) -> None:
    suite = load_suite(categories=("formal_logic", "general_control"), limit_per_category=3)
    assert [p.category for p in suite.prompts] == ["formal_logic"] * 3 + ["general_control"] * 3
    with pytest.raises(UsageError, match="did you mean 'formal_logic'") as caught:
        load_suite(categories=("formal_logc",))
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="there are sums"):
        load_suite([write(tmp_path, FULL)], categories=("zzzz",))


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({}, "no prompt"),
        ({"a": []}, "no prompt"),
        ({"a": ["x", " "]}, "Text 2"),
        ({"a": ["x", 3]}, "Text 2"),
        ({"a": ["x", "x"]}, "twice"),
        ({"a": "text"}, "list of texts"),
        ({"A b": ["x"]}, "formal_logic"),
    ],
)
def test_bad_lists(lists: dict[str, list[str]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        suite_from_lists(lists)


def test_a_suite_comes_back_from_a_store_as_it_went_in(tmp_path: Path) -> None:
    from dataclasses import asdict

    from fi_store.schema import Prompt, PromptSet, PromptSetMember
    from fi_store.store import Store, now

    suite = load_suite([write(tmp_path, FULL)])
    with Store.open(tmp_path / "s.duckdb", create=True) as store:
        with store.session() as unit:
            unit.add(PromptSet(id=suite.id, name=suite.name, version="3", n_prompts=2, created_at=now()))
            for position, prompt in enumerate(suite.prompts):
                unit.add(Prompt(id=prompt.id, **asdict(prompt)))
                unit.add(PromptSetMember(prompt_set_id=suite.id, position=position, prompt_id=prompt.id))
        again = suite_from_store(store, suite.id)
        assert again == suite
        assert again.id == suite.id
        with pytest.raises(UsageError, match="lost the prompt set"):
            suite_from_store(store, "absent")


def test_the_readme_beside_the_prompts_is_true(tmp_path: Path) -> None:
    """The two YAML examples of prompts/README.md are accepted."""
    text = (shipped("prompts") / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        assert load_suite([write(tmp_path, block, f"{number}.yaml")]).prompts
