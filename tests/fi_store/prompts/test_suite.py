"""Prompt files and suites: what is accepted, and that every complaint names file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fi_store.errors import PromptFileError, UsageError
from fi_store.ids import content_id
from fi_store.prompts import file as promptfile
from fi_store.prompts import load_suite, suite_from_lists, suite_from_store
from fi_store.prompts import nodes as promptnodes
from fi_store.shipped import shipped
from tests.helpers.bad_prompts import BAD, FULL, graded


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_suite_holds_every_category() -> None:
    suite = load_suite()
    counts = {name: sum(p.category == name for p in suite.prompts) for name in suite.categories}
    assert len(counts) == 11
    assert {n for name, n in counts.items() if name != "general_control"} == {32}
    assert counts["general_control"] == 64


def test_the_full_form(tmp_path: Path) -> None:
    suite = load_suite([write(tmp_path, FULL)])
    assert (suite.name, suite.version) == ("mine", "3")
    one, two = suite.prompts
    assert (one.key, one.family, one.control, one.difficulty) == ("sums/one", "sums/one", "What is a sum?", 2)
    assert (one.answer, one.grader, one.failure_answer) == ("2", {"kind": "number", "tolerance": 0.5}, "11")
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


@pytest.mark.parametrize(("text", "line", "words"), BAD, ids=lambda value: repr(value)[-60:])
def test_a_complaint_names_the_file_and_the_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PromptFileError) as caught:
        load_suite([path])
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: "), message[:500]
    assert words in message
    assert len(message) < 500
    assert "validate" in caught.value.hint
    assert message.startswith(str(caught.value.complaints[0]))


def test_all_complaints_of_a_file_come_at_once(tmp_path: Path) -> None:
    text = FULL.replace("difficulty: 2", "difficulty: 6\n    color: red").replace(
        "kind: number", "kind: magic"
    )
    path = write(
        tmp_path, text.replace('text: "What is 2 + 2?"', "text: 4").replace("version: 3", "version: []")
    )
    with pytest.raises(PromptFileError) as caught:
        load_suite([path])
    assert [one.line for one in caught.value.complaints] == [2, 10, 9, 12, 17]
    assert str(caught.value) == f"{caught.value.complaints[0]} There are 4 more."
    other = write(tmp_path, "a:\n  - 1\n", "other.yaml")
    with pytest.raises(PromptFileError) as caught:
        load_suite([path, other])
    assert [one.path for one in caught.value.complaints] == [path] * 5 + [other]


def test_no_more_than_twenty_complaints_are_made(tmp_path: Path) -> None:
    path = write(tmp_path, "a:\n" + "  - 1\n" * 100)
    with pytest.raises(PromptFileError) as caught:
        load_suite([path])
    assert len(caught.value.complaints) == promptfile.MAX_COMPLAINTS == 20


@pytest.mark.parametrize(
    "grader",
    [
        "{kind: exact}", '{kind: exact, aliases: ["hound", "the hound"]}', '{kind: choice, options: ["Dog", "cat"]}',
        '{kind: set, universe: ["cow", "cat", "dog"]}', '{kind: set, universe: ["cat", "dog"], ordered: true}',
        '{kind: regex, pattern: "dog(gy)?"}', "{kind: code, language: python}",
    ],
)  # fmt: skip
def test_good_graders(tmp_path: Path, grader: str) -> None:
    prompt = load_suite([write(tmp_path, graded(grader))]).prompts[0]
    assert prompt.grader == yaml.safe_load(grader)
    assert prompt.failure_answer == "cat"


def test_a_failure_answer_is_not_needed_but_changes_the_prompt(tmp_path: Path) -> None:
    with_it = load_suite([write(tmp_path, FULL)]).prompts[0]
    without = load_suite([write(tmp_path, FULL.replace('    failure_answer: "11"\n', ""))]).prompts[0]
    assert without.failure_answer is None
    assert without.id != with_it.id
    judged = ("sums", "sums/one", without.text, without.control, without.answer, without.grader)
    assert without.id == content_id("prompt", *judged), "the id that older stores have"


def test_two_prompts_with_the_same_content_are_rejected(tmp_path: Path) -> None:
    text = (
        "prompts:\n  - {id: a, category: c, family: f, text: same}\n"
        "  - {id: b, category: c, family: f, text: same}\n"
    )
    with pytest.raises(PromptFileError, match=r":3: the same prompt is already at .*:2"):
        load_suite([write(tmp_path, text)])


def test_the_same_id_in_two_files_is_rejected(tmp_path: Path) -> None:
    first, second = write(tmp_path, FULL, "a.yaml"), write(tmp_path, FULL, "b.yaml")
    with pytest.raises(PromptFileError, match=r"b\.yaml:5: the id 'sums/one' .*a\.yaml:5"):
        load_suite([first, second])


def test_unreadable_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PromptFileError, match="no such file"):
        load_suite([tmp_path / "absent.yaml"])
    with pytest.raises(PromptFileError, match="directory"):
        load_suite([tmp_path])
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a:\n  - ok\n  - caf\xe9\n")
    with pytest.raises(PromptFileError, match=r"latin\.yaml:3: this is not UTF-8 text. Save"):
        load_suite([latin])
    with pytest.raises(PromptFileError, match=r":2: this is not JSON"):
        load_suite([write(tmp_path, '{"a":\n ["b",]}', "bad.json")])
    with pytest.raises(PromptFileError, match="control character"):
        load_suite([write(tmp_path, '{"a": ["b\\u001b[31m"]}', "escape.json")])
    with pytest.raises(PromptFileError, match="too deeply"):
        load_suite([write(tmp_path, "[" * 100_000, "deep.json")])
    monkeypatch.setattr(promptnodes, "MAX_EVENTS", 30)
    with pytest.raises(PromptFileError, match="too many values"):
        load_suite([write(tmp_path, FULL)])
    monkeypatch.setattr(promptnodes, "MAX_BYTES", 10)
    with pytest.raises(PromptFileError, match="larger than"):
        load_suite([write(tmp_path, FULL)])


def test_a_shipped_file_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_suite([Path("broad")]).name == "broad"
    assert load_suite([Path("reasoning"), Path("controls")]) == load_suite()
    write(tmp_path, FULL, "broad")
    assert load_suite([Path("broad")]).name == "mine", "a path that exists comes first"
    for other in ("concepts", "README", "sub/broad"):
        with pytest.raises(PromptFileError, match="cannot be read"):
            load_suite([Path(other)])


def test_a_limited_category_is_evenly_spread(tmp_path: Path) -> None:
    whole = suite_from_lists({"a": [f"text {n}" for n in range(10)], "b": ["one", "two"]})
    few = suite_from_lists({"a": [f"text {n}" for n in range(10)], "b": ["one", "two"]}, limit_per_category=4)
    assert [p.text for p in few.prompts] == ["text 0", "text 2", "text 5", "text 7", "one", "two"]
    assert suite_from_lists({"a": ["x", "y"]}, limit_per_category=2).prompts == tuple(
        suite_from_lists({"a": ["x", "y"]}).prompts
    )
    assert set(few.prompts) <= set(whole.prompts)
    levels = {p.difficulty for p in load_suite(categories=("formal_logic",), limit_per_category=8).prompts}
    assert levels == {1, 2, 3, 4, 5}


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

    from fi_store.store import Store, now
    from fi_store.store.tables import Prompt, PromptSet, PromptSetMember

    suite = load_suite([write(tmp_path, FULL)])
    with Store.open(tmp_path / "s.duckdb", create=True) as store:
        with store.session() as session:
            session.add(PromptSet(id=suite.id, name=suite.name, version="3", n_prompts=2, created_at=now()))
            for position, prompt in enumerate(suite.prompts):
                session.add(Prompt(id=prompt.id, **asdict(prompt)))
                session.add(PromptSetMember(prompt_set_id=suite.id, position=position, prompt_id=prompt.id))
        again = suite_from_store(store, suite.id)
        assert again == suite
        assert again.id == suite.id
        with pytest.raises(UsageError, match="is missing from the store"):
            suite_from_store(store, "absent")


def test_the_readme_beside_the_prompts_is_true(tmp_path: Path) -> None:
    """The two YAML examples of prompts/README.md are accepted."""
    text = (shipped("prompts") / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        assert load_suite([write(tmp_path, block, f"{number}.yaml")]).prompts
