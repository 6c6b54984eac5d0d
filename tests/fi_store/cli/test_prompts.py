"""The prompts commands (list, show, validate, new, import) on good files and on every kind of bad one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fi_store.prompts import PromptRecord, full_form, load_suite, starter
from fi_store.shipped import shipped
from tests.helpers.bad_prompts import BAD, FULL
from tests.helpers.command import fi_store


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def test_list_counts_what_can_be_graded() -> None:
    write("mine.yaml", FULL)
    (row,) = json.loads(fi_store("prompts", "list", "--prompts-file", "mine.yaml", "--format", "json").out)
    assert row == {
        "category": "sums", "prompts": 2, "families": 2, "with_control": 1, "gradable": 1, "difficulty": "2",
    }  # fmt: skip
    rows = json.loads(fi_store("prompts", "list", "--prompts-file", "broad", "--format", "json").out)
    assert len(rows) == 14
    assert {row["difficulty"] for row in rows} == {"1-5"}


def test_show_has_the_grader_and_the_failure() -> None:
    rows = json.loads(fi_store("prompts", "show", "--category", "formal_logic", "--format", "json").out)
    assert {row["id"].split("/")[0] for row in rows} == {"formal_logic"}
    row = next(row for row in rows if row["id"] == "formal_logic/tulip-syllogism")
    assert row["grader"] == '{kind: choice, options: ["yes", "no"]}'
    assert (row["answer"], row["failure_answer"]) == ("yes", "no")
    assert row["failure_mode"]
    shown = fi_store("prompts", "show", "--id", "formal_logic/tulip-syllogism").out
    assert 'grader          {kind: choice, options: ["yes", "no"]}\n' in shown
    assert f"text            {row['text']}\n" in shown
    one = fi_store("prompts", "show", "--id", "formal_logic/tulip-syllogism", "--format", "json").out
    assert json.loads(one) == [row]
    broad = fi_store("prompts", "show", "--category", "code_understanding", "--format", "json")
    assert len(json.loads(broad.out)) >= 15


def test_an_unknown_id_gets_a_guess() -> None:
    result = fi_store("prompts", "show", "--id", "formal_logic/tulip-sylogism")
    assert result.code == 2
    assert result.err == (
        "Error: No prompt has the id 'formal_logic/tulip-sylogism'.\n"
        "Next: fi-store prompts show --id formal_logic/tulip-syllogism\n"
    )
    assert fi_store("prompts", "show", "--id", "x", "--prompts-file", write("a.yaml", FULL)).code == 2


def test_an_unknown_category_names_the_option_of_the_command() -> None:
    result = fi_store("prompts", "show", "--category", "formal_logc")
    assert result.err == (
        "Error: --category: no prompt has the category 'formal_logc'; did you mean 'formal_logic'?\n"
        "Next: fi-store prompts list\n"
    )
    result = fi_store("prompts", "show", "--category", "nonsense", "--prompts-file", write("a.yaml", FULL))
    assert "--category: no prompt has the category 'nonsense'; there are sums." in result.err


def test_one_is_counted_in_the_singular() -> None:
    write("a.csv", "text,category\nWhy?,s\n")
    assert fi_store("prompts", "import", "a.csv", "-o", "a.yaml").out.startswith("1 prompt in 1 category, in")
    assert fi_store("prompts", "validate", "a.yaml").out == (
        "1 prompt in 1 category: no problems.\n"
        "Note: 1 family; with fewer than 24, nothing can be tested (half are for confirmation).\n"
        "Note: 1 prompt has no control text, which makes the test of names weaker.\n"
    )


def test_validate_says_that_files_have_no_problems() -> None:
    result = fi_store("prompts", "validate", "reasoning", "broad", "controls")
    assert result == (0, "622 prompts in 23 categories: no problems.\n", "")


@pytest.mark.parametrize(("text", "line", "words"), BAD, ids=lambda value: repr(value)[-60:])
def test_validate_prints_a_line_for_each_complaint(text: str, line: int, words: str) -> None:
    path = write("mine.yaml", text)
    result = fi_store("prompts", "validate", path)
    assert result.code == 2
    lines = result.out.splitlines()
    assert lines[0].startswith(f"mine.yaml:{line}: ")
    assert words in lines[0]
    assert all(line.startswith("mine.yaml:") and line.endswith(".") for line in lines)
    complaints = "1 complaint" if len(lines) == 1 else f"{len(lines)} complaints"
    assert result.err == f"Error: {complaints}, see above.\nNext: fi-store prompts validate mine.yaml\n"


def test_validate_goes_through_all_files() -> None:
    write("a.yaml", "a:\n  - 1\n  - 2\n")
    write("b.yaml", FULL.replace("difficulty: 2", "difficulty: 9"))
    write("c.yaml", FULL)
    lines = fi_store("prompts", "validate", "a.yaml", "b.yaml", "c.yaml").out.splitlines()
    duplicates = ["c.yaml:5", "c.yaml:5", "c.yaml:13", "c.yaml:13"]
    assert [line.split(": ")[0] for line in lines] == ["a.yaml:2", "a.yaml:3", "b.yaml:9", *duplicates]
    write("b.yaml", FULL)
    lines = fi_store("prompts", "validate", "b.yaml", "c.yaml").out.splitlines()
    assert lines[0] == "c.yaml:5: the id 'sums/one' is already at b.yaml:5. Give it another id."
    assert len(lines) == 4


def test_validate_reports_duplicates_with_the_rest() -> None:
    text = FULL.replace("difficulty: 2", "difficulty: 9").replace("sums/two", "sums/one")
    write("a.yaml", text.replace("    family: other", "    difficulty: 7"))
    write("b.yaml", text.replace("sums/one", "sums/three"))
    lines = fi_store("prompts", "validate", "a.yaml", "b.yaml").out.splitlines()
    assert [line.split(". ")[0] for line in lines] == [
        "a.yaml:9: 'difficulty' must be a whole number from 1 to 5",
        "a.yaml:15: 'difficulty' must be a whole number from 1 to 5",
        "a.yaml:13: the id 'sums/one' is already at a.yaml:5",
        "b.yaml:9: 'difficulty' must be a whole number from 1 to 5",
        "b.yaml:5: the same prompt is already at a.yaml:5",
        "b.yaml:13: the id 'sums/three' is already at b.yaml:5",
        "b.yaml:13: the same prompt is already at a.yaml:13",
    ]
    write("a.json", json.dumps({"prompts": [{"id": "x", "category": "c", "text": "t"}] * 2}))
    assert len(fi_store("prompts", "validate", "a.json").out.splitlines()) == 2, "both are on one line"


def test_new_writes_a_file_that_validates() -> None:
    result = fi_store("prompts", "new", "folder/mine.yaml")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("Next: fi-store prompts validate folder/mine.yaml\n")
    assert fi_store("prompts", "validate", "folder/mine.yaml").code == 0
    text = Path("folder/mine.yaml").read_text()
    assert "#" in text
    assert "folder/mine.yaml" in text
    options = ("--category", "river_lore", "--category", "sums", "--category", "sums")
    assert fi_store("prompts", "new", "two.yml", *options).code == 0
    suite = load_suite([Path("two.yml")])
    assert suite.categories == ("river_lore", "sums")
    assert all(prompt.failure_answer and prompt.control for prompt in suite.prompts)
    schema = json.loads((shipped("prompts") / "schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(yaml.safe_load(starter(Path("x.yaml"))))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mine.yaml"], "mine.yaml already exists"),
        (["mine.json"], "mine.json does not end in .yaml"),
        (["other.yaml", "--category", "My Sums"], "'My Sums' is not written like formal_logic"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_new_refuses(arguments: list[str], words: str) -> None:
    write("mine.yaml", "precious")
    result = fi_store("prompts", "new", *arguments)
    assert result.code == 2
    assert words in result.err
    assert "Next: " in result.err
    assert sorted(path.name for path in Path().iterdir()) == ["mine.yaml"]
    assert Path("mine.yaml").read_text() == "precious"


CSV = """\
text,category,answer,grader,difficulty,failure_answer,skill
"What is 1 + 1?
Say it.",sums,2,{kind: number},2,11,
"Say ""no"", or yes?",,no,"{kind: choice, options: [""yes"", ""no""]}",,yes,échos
,,,,,,
What is 3 + 3?,sums,,,,,
"""


def test_import_reads_a_table() -> None:
    write("mine.csv", CSV)
    result = fi_store("prompts", "import", "mine.csv", "--output", "out/mine.yaml", "--category", "words")
    assert result == (
        0,
        "3 prompts in 2 categories, in out/mine.yaml.\nNext: fi-store prompts validate out/mine.yaml\n",
        "",
    )
    assert fi_store("prompts", "validate", "out/mine.yaml").code == 0
    one, two, three = load_suite([Path("out/mine.yaml")]).prompts
    assert (one.key, one.text, one.difficulty) == ("sums/1", "What is 1 + 1?\nSay it.", 2)
    assert (one.answer, one.grader, one.failure_answer) == ("2", {"kind": "number"}, "11")
    assert (two.key, two.text, two.skill) == ("words/1", 'Say "no", or yes?', "échos")
    assert two.grader == {"kind": "choice", "options": ["yes", "no"]}
    assert (three.key, three.family, three.answer) == ("sums/2", "sums/2", None)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_import_reads_other_delimiters(delimiter: str) -> None:
    write("mine.csv", f"Category{delimiter}Text\r\nsums{delimiter}What is 1, 2 or 3?\r\n")
    assert fi_store("prompts", "import", "mine.csv", "-o", "mine.yaml").code == 0
    assert load_suite([Path("mine.yaml")]).prompts[0].text == "What is 1, 2 or 3?"


def test_import_reads_json_lines() -> None:
    lines = [
        {"text": "Wie heißt 😀?", "category": "words", "id": "words/smile"},
        {
            "text": "Is it?",
            "answer": "yes",
            "grader": {"kind": "choice", "options": ["yes", "no"]},
            "difficulty": 3,
        },
    ]
    write(
        "mine.jsonl",
        "\n\n".join(json.dumps(line, ensure_ascii=bool(i)) for i, line in enumerate(lines)) + "\n",
    )
    assert fi_store("prompts", "import", "mine.jsonl", "-o", "mine.yaml", "--category", "checks").code == 0
    one, two = load_suite([Path("mine.yaml")]).prompts
    assert (one.key, one.text) == ("words/smile", "Wie heißt 😀?")
    assert (two.key, two.difficulty, two.grader) == ("checks/1", 3, lines[1]["grader"])


def test_import_says_what_it_took_for_what() -> None:
    user, system = {"role": "user", "content": "Why\r\nnot?"}, {"role": "system", "content": "Be brief."}
    reply = {"role": "assistant", "content": "No."}
    parts = {"role": "user", "content": [{"type": "text", "text": "Now?"}]}
    tools = [
        {"type": "function", "function": {"parameters": {"properties": {"a": {"items": {"b": {"c": {}}}}}}}}
    ]
    rows = [
        {"messages": [system, user, reply], "tools": tools, "control": None},
        {"messages": [user, reply, parts], "source": "x"},
    ]
    write("chats.jsonl", "\ufeff" + "\n".join(map(json.dumps, rows)))
    chats = ("prompts", "import", "chats.jsonl", "-o", "chats.yaml", "--category", "s")
    assert "a prompt has no key 'source'" in fi_store(*chats, "--turn", "last").out
    made = fi_store(*chats, "--turn", "last", "--ignore", "source")
    assert made.out.splitlines()[:-2] == [
        r"Note: Line breaks written \r\n or \r are kept as \n.",
        "Note: The column 'messages' is taken for the text.",
        "Note: Left out: the column 'tools' (1).",
        "Note: Left out: messages with the role 'system', which a run takes with --system-prompt (1).",
        "Note: Left out: messages with the role 'assistant' (2).",
        "Note: Left out: further turns of the user (1).",
    ]
    assert [prompt.text for prompt in load_suite([Path("chats.yaml")]).prompts] == ["Why\nnot?", "Now?"]
    write("excel.csv", "\ufeffsep=|\r\nQuestion|Input|topic\r\nIs 1, 2 or 3?|of; which|sums\r\n")
    table = ("prompts", "import", "excel.csv", "-o", "excel.yaml")
    assert fi_store(*table, "--column", "category=topic").out.startswith(
        "excel.csv:2: a prompt has no key 'Input'"
    )
    assert "is not FIELD=NAME" in fi_store(*table, "--column", "topic=category").err
    made = fi_store(*table, "--column", "category=topic", "--ignore", "Input")
    assert made.out.splitlines()[:3] == [
        "Note: The first line names the delimiter '|'.",
        "Note: The column 'topic' is taken for the category.",
        "Note: The column 'question' is taken for the text.",
    ]
    (prompt,) = load_suite([Path("excel.yaml")]).prompts
    assert (prompt.text, prompt.category, prompt.control) == ("Is 1, 2 or 3?", "sums", None)
    write(
        "nulls.json",
        '{"prompts": [{"id": "s/1", "category": "s", "text": "x", "control": null, "answer": null}]}',
    )
    assert fi_store("prompts", "import", "nulls.json", "-o", "nulls.yaml").code == 0


def test_columns_are_those_of_the_file(tmp_path: Path) -> None:
    """A name that no row has is no silence, case is that of the header, and a conversation may be called otherwise."""
    table = tmp_path / "t.csv"
    table.write_text("Prompt,ID,topic\nWhy?,one,sums\n", encoding="utf-8")
    imported = ("prompts", "import", table, "--output", tmp_path / "t.yaml")
    mistyped = fi_store(*imported, "--column", "category=topics", "--ignore", "topic", "--category", "sums")
    assert mistyped.code == 2
    assert "has no column 'topics'" in mistyped.err
    assert fi_store(*imported, "--column", "category=topic", "--column", "family=ID").code == 0
    assert 'family: "one"' in (tmp_path / "t.yaml").read_text(encoding="utf-8")
    lines = tmp_path / "c.jsonl"
    lines.write_text(
        '{"conversation": [{"role": "user", "content": "Why so?"}], "category": "sums"}', encoding="utf-8"
    )
    named = fi_store(
        "prompts", "import", lines, "--output", tmp_path / "c.yaml", "--column", "text=conversation"
    )
    assert named.code == 0, named.err
    assert "Why so?" in (tmp_path / "c.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["lists.json", "lists.yaml"])
def test_import_reads_lists(name: str) -> None:
    write(name, json.dumps({"sums": ["1 + 1?", "2 + 2?"], "words": ["Spell \u2028 it."]}))
    assert fi_store("prompts", "import", name, "-o", "mine.yaml").code == 0
    made, given_ = load_suite([Path("mine.yaml")]), load_suite([Path(name)])
    assert made.id == given_.id
    assert [prompt.key for prompt in made.prompts] == ["sums/1", "sums/2", "words/1"]


BAD_SOURCES = [
    ("a.csv", "", "a.csv:1: the file is empty"),
    ("a.csv", "text\n", "a.csv:1: the file holds no prompts"),
    ("a.csv", "query,category\nx,y\n", "a.csv:1: a prompt has no key 'query'. Leave it out with --ignore"),
    ("a.csv", "category\ny\n", "a.csv:1: the header has no column 'text'"),
    ("a.csv", "prompt,question,category\nx,y,s\n", "a.csv:1: prompt and question could both be the text. Say which"),
    ("a.jsonl", '{"messages": "x", "category": "s"}\n', "a.jsonl:1: 'messages' must be a list of messages"),
    ("a.jsonl", '{"messages": [{"role": "system", "content": "x"}], "category": "s"}\n', "no message with"),
    ("a.jsonl", '{"messages": [{"role": "user", "content": [{"type": "image"}]}], "category": "s"}\n', "else than"),
    ("a.jsonl", '{"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}], "category": "s"}\n',
     "a.jsonl:1: the conversation has 2 turns of the user, and a prompt has one. Choose with --turn"),
    ("a.jsonl", '{"text": "x", "text": "y", "category": "s"}\n', "a.jsonl:1: the key 'text' is given twice"),
    ("a.csv", "text,color\nx,y\n", "a.csv:1: a prompt has no key 'color'"),
    ("a.csv", "text,text\nx,y\n", "a.csv:1: the column 'text' appears twice"),
    ("a.csv", "text,category\nWhy?\n", "a.csv:2: the prompt has no category. Add a column or key 'category', or give"),
    ("a.csv", "text,category\n\n\nWhy, then?,sums\n", "a.csv:4: the row has 3 cells, the header 2"),
    ("a.csv", 'text,category\n"Why?,sums\n', "this is not CSV, unexpected end of data"),
    ("a.csv", "text,category\nx,My Sums\n", "a.csv:2: the category 'My Sums' is not written like formal_logic"),
    ("a.csv", "text,category,difficulty\nx,s,hard\n", "a.csv:2: 'difficulty' must be a whole number"),
    ("a.csv", 'text,category,answer,grader\n"x\ny",s,2,{kind: magic}\n', "a.csv:2: the grader kind 'magic' is unknown"),
    ("a.csv", "text,category,answer,grader\nx,s,2,{kind\n", "a.csv:2: this is not YAML"),
    ("a.csv", "text,category,answer\nx,s,2\n", "a.csv:2: there is 'answer' but no 'grader'"),
    ("a.csv", "text,category\nx,s\nx,s\n", "a.csv:3: the same prompt is already at a.csv:2"),
    ("a.csv", "text,category\nx\x1b,s\n", "a.csv:2: 'text' contains a control character"),
    ("a.csv", f"text,category\n{'x' * 140_000},s\n", "this is not CSV, field larger than field limit"),
    ("a.jsonl", '{"text": "x", "category": "s"}\n{"text": \n', "a.jsonl:2: this is not JSON"),
    ("a.jsonl", '{"text": 4, "category": "s"}\n', "a.jsonl:1: 'text' must be text. Put '4' in quotes"),
    ("a.jsonl", '["x"]\n', "a.jsonl:1: a prompt must be a mapping"),
    ("a.jsonl", '{"text": "x", "category": "s", "id": "a"}\n' * 2, "a.jsonl:2: the id 'a' is already at a.jsonl:1"),
    ("a.jsonl", "[" * 100_000, "a.jsonl:1: this is nested too deeply"),
    ("a.json", '{"sums": []}', "a.json:1: the category 'sums' must be a list of texts"),
    ("a.json", '["x"]', "a.json:1: a prompt file is a mapping"),
    ("a.yaml", "sums: text\n", "a.yaml:1: the category 'sums' must be a list of texts"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "complaint"), BAD_SOURCES, ids=lambda value: repr(value)[:50])
def test_import_complains_about_the_line_of_the_source(name: str, text: str, complaint: str) -> None:
    write(name, text)
    result = fi_store("prompts", "import", name, "--output", "out.yaml")
    assert result.code == 2
    assert complaint in result.out.splitlines()[0]
    assert "see above.\nNext: fi-store prompts import a." in result.err
    assert not Path("out.yaml").exists()


def test_import_makes_all_complaints_at_once() -> None:
    write("a.csv", "text,category,difficulty\nx,s,9\ny,s,2\n,s,1\nz,Z,8\n")
    lines = fi_store("prompts", "import", "a.csv", "-o", "out.yaml").out.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["a.csv:2", "a.csv:4", "a.csv:5", "a.csv:5"]
    write("a.csv", "text,category,color\nx,s,red\ny,s,blue\n")
    assert len(fi_store("prompts", "import", "a.csv", "-o", "out.yaml").out.splitlines()) == 1
    write("a.csv", "id,text,category\na,x,s\na,,s\n")
    lines = fi_store("prompts", "import", "a.csv", "-o", "out.yaml").out.splitlines()
    assert [line[:20] for line in lines] == ["a.csv:3: the prompt ", "a.csv:3: the id 'a' "]
    write("a.jsonl", "{\n{}\n{\n")
    lines = fi_store("prompts", "import", "a.jsonl", "-o", "out.yaml", "--category", "s").out.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["a.jsonl:1", "a.jsonl:3", "a.jsonl:2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.csv", "-o", "out.yaml"], "absent.csv cannot be read"),
        (["good.csv", "-o", "good.csv"], "good.csv does not end in .yaml"),
        (["good.csv", "-o", "there.yaml"], "there.yaml already exists"),
        (["good.csv", "-o", "out.yaml", "--category", "A b"], "'A b' is not written like formal_logic"),
        (["lists.json", "-o", "out.yaml", "--category", "s"], "lists.json names its own categories"),
        (["good.csv"], "Missing option '--output'"),
    ],
)
def test_import_refuses(arguments: list[str], words: str) -> None:
    write("good.csv", "text,category\nx,s\n")
    write("lists.json", '{"s": ["x"]}')
    write("there.yaml", "precious")
    result = fi_store("prompts", "import", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert Path("there.yaml").read_text() == "precious"
    assert not Path("out.yaml").exists()


lines = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(str.strip)
records = st.builds(
    PromptRecord,
    key=lines, category=st.sampled_from(["sums", "formal_logic"]), text=lines, family=lines, control=st.none() | lines,
    skill=st.none() | lines, difficulty=st.none() | st.integers(1, 5), language=lines, failure_mode=st.none() | lines,
)  # fmt: skip


several = st.lists(
    records,
    min_size=1,
    max_size=4,
    unique_by=(lambda prompt: prompt.key, lambda prompt: (prompt.category, prompt.text)),
)


@given(several, lines, lines)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_files_are_read_back_the_same(
    tmp_path: Path, prompts: list[PromptRecord], name: str, version: str
) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(full_form(prompts, name, "Any.", version), encoding="utf-8", newline="\n")
    read = load_suite([path])
    assert (read.name, read.version, list(read.prompts)) == (name, version, prompts)


@pytest.mark.parametrize("name", ["reasoning", "broad", "controls"])
def test_the_shipped_files_survive_writing(name: str) -> None:
    shipped_file = load_suite([shipped("prompts") / f"{name}.yaml"])
    path = write("again.yaml", full_form(shipped_file.prompts, name, "Again.", shipped_file.version))
    assert load_suite([path]).prompts == shipped_file.prompts


def test_printed_commands_are_quoted() -> None:
    """A shell reads the next command with the very names that were given, and runs nothing inside them."""
    name = "a b; $(touch x) it's.yaml"
    for out in (fi_store("prompts", "new", name).out, f"Next: {Path(name).read_text().splitlines()[1]}"):
        command = out.splitlines()[-1].partition("fi-store ")[2]
        assert shlex.split(command) == ["prompts", "validate", name]
    refused = fi_store("prompts", "validate", write(name, "s: text\n"))
    assert shlex.split(refused.err.splitlines()[-1])[1:] == ["fi-store", "prompts", "validate", name]
