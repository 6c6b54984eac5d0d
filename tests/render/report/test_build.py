"""Reports: complete for every kind of run, recorded in the store, and harmless whatever the models wrote."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from fi_store.errors import NotFoundError, RenderError, UsageError
from fi_store.store import Store
from fi_store.store.tables import Accuracy, AnalysisPlan, Finding, PairGate
from fi_store.summary import VERSION_1, describe_run
from render.report import render_report, render_visualizations
from render.report.cards import choose_answers
from render.report.data import read_report
from tests.helpers.page import Page, copied
from tests.helpers.planted import LED, N_FINDINGS
from tests.helpers.store_factory import PLANTED, FilledStore

OBSTACLE = (
    """UPDATE analysis_plan SET plan = json_merge_patch(plan, '{"obstacle": "No cause was tested here."}')"""
)


@pytest.fixture(scope="module")
def different(plain_store: FilledStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    path = copied(plain_store, tmp_path_factory.mktemp("different"))
    with Store.open(path) as store:
        return path, render_report(store, "latest")


def test_files_are_written_to_the_runs_folders_and_recorded(
    different: tuple[Path, list[Path]], plain_store: FilledStore
) -> None:
    path, files = different
    run = plain_store.runs[1]
    assert files[0] == path.parent / "reports" / run / "report.html"
    assert files[1] == path.parent / "reports" / run / "report.md"
    assert path.parent / "features" / run / "features.json" in files
    assert path.parent / "visualizations" / run / "callouts.png" in files
    with Store.open(path) as store:
        rows = store.rows("SELECT path, kind, n_bytes FROM report WHERE run_id = $run", run=run)
    recorded = {row["path"]: row for row in rows if not row["path"].endswith("old.md")}
    assert {path.parent / name for name in recorded} == set(files)
    for name, row in recorded.items():
        assert row["n_bytes"] == (path.parent / name).stat().st_size
    assert {row["kind"] for row in recorded.values()} == {"html", "markdown", "chart", "features"}


def test_the_page_says_everything_in_order(different: tuple[Path, list[Path]]) -> None:
    page = Page(different[1][0].read_text(encoding="utf-8"))
    text = page.words[page.words.index("Model comparison") :]
    order = [
        "What changed from bundled:smollm2 to organism-1",
        "How much of the difference the findings explain The findings explain 64%",
        "Gap between the models 1.21 nats",
        "Gap that the dictionaries close up to 73%",
        "The findings Each was picked",
        "organism-1 with the patch on You have 0 books left on the shelf.",
        "How often the answers have it",
        "What it closes at each layer",
        "At its own words 60% of the gap closed",
        "Differences that nothing carries These differences",
        "8% [−4%, 20%] (finding 1)",
        "Where the difference forms How much of the gap passes through each layer",
        "How alike the layers are",
        "Where the answers differ, by category and prompt",
        "Right answers 52 of 80 graded answers (65%) were cut off at the limit of 48 tokens; in 8 (10%)",
        "What this run could and could not have seen It could have confirmed a difference in 9% of the answers",
        "Moved, but not shown to matter",
        "carries none of it",
        "Layer 4: 11% of the latents are dead.",
        "Method Behaviors first.",
        "Provenance The two models as loaded",
    ]
    offsets = [text.index(phrase) for phrase in order]
    assert offsets == sorted(offsets)
    for planted in PLANTED[:N_FINDINGS]:
        assert planted.name in text
    for jargon in ("resid_post", "step_by_step_reasoning", "mean_shift", "sham", "floor", "None", "nan"):
        assert jargon not in text.split()


def test_markdown_and_console_say_the_same_in_the_same_order(different: tuple[Path, list[Path]]) -> None:
    path, files = different
    page = Page(files[0].read_text(encoding="utf-8")).words
    text = files[1].read_text(encoding="utf-8")
    with Store.open(path) as store:
        lines = [line.removeprefix(f"{rank}. ") for rank, line in enumerate(describe_run(store, "latest"), 1)]
    order = [
        *lines,
        "The findings",
        "Differences that nothing carries",
        "Where the difference forms",
        "Right answers",
        "What this run could and could not have seen",
        "Method",
        "Provenance",
    ]
    headings = [part.split("\n", 1)[0] for part in text.split("\n## ")[1:]]
    assert headings == ["How much of the difference the findings explain", *order[len(lines) :]]
    offsets = [text.index(phrase.replace("[", "\\[")) for phrase in lines]
    assert offsets == sorted(offsets)
    main = page[page.index("Model comparison") :]
    assert [main.index(phrase) for phrase in lines] == sorted(main.index(phrase) for phrase in lines)


def test_spans_are_marked_in_answers(different: tuple[Path, list[Path]]) -> None:
    page, text = (file.read_text(encoding="utf-8") for file in different[1][:2])
    assert "<mark>Step 1</mark>: There are" in page
    assert "«Step 1»: There are" in text
    assert "<mark>Therefore</mark>" in page


def test_the_page_is_accessible_and_self_contained(different: tuple[Path, list[Path]]) -> None:
    page = Page(different[1][0].read_text(encoding="utf-8"))
    assert page.tags[0] == ("html", {"lang": "en"})
    assert page.count("h1") == 1
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert all(below <= above + 1 for above, below in pairwise(levels))
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    assert links
    assert all(link.removeprefix("#") in ids for link in links)
    for _, attributes in page.tags:
        assert "style" not in attributes  # the policy would drop it
        assert str(attributes.get("src", "data:")).startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "base", "form"}


def test_rendering_is_a_function_of_the_store(different: tuple[Path, list[Path]]) -> None:
    path, files = different
    before = {file: file.read_bytes() for file in files}
    with Store.open(path) as store:
        assert render_report(store, "latest") == files
        count = store.rows("SELECT count(*) AS n FROM report WHERE kind = 'html'")[0]["n"]
    assert {file: file.read_bytes() for file in files} == before
    assert count == 1


def test_features_json_indexes_by_change_and_category(different: tuple[Path, list[Path]]) -> None:
    path = next(file for file in different[1] if file.name == "features.json")
    exported = json.loads(path.read_text(encoding="ascii"))
    assert [result["rank"] for result in exported["results"]] == list(range(1, N_FINDINGS + 1))
    assert exported["by_change"]["strengthened"] == [1, 4]
    assert exported["by_category"]["step_by_step_reasoning"] == [1, 4]
    first = exported["results"][0]
    assert [feature["layer"] for feature in first["features"]] == [*PLANTED[0].layers, *PLANTED[LED].layers]
    assert {patch["kind"] for patch in first["patches"]} == {"change", "control"}
    assert exported["explained"] == {"explained": 0.64, "low": 0.51, "high": 0.77}
    assert [row["phrase"] for row in exported["unlocated_behaviors"]] == ["shelf"]
    assert [row["number"] for row in exported["moved_no_effect_shown"]] == [7, 8]
    assert len(first["examples"]) == 4
    assert first["p_value"] == pytest.approx(0.003)


def test_a_pair_without_a_difference_gets_a_complete_report(same_store: FilledStore, tmp_path: Path) -> None:
    with Store.open(copied(same_store, tmp_path)) as store:
        files = render_report(store, "latest", charts=False)
        text = Page(files[0].read_text(encoding="utf-8")).words
        assert "No behavioral difference on these prompts." in text
        assert "A difference in fewer than 9% of the answers could not have been confirmed." in text
        assert "Findings 0" in text
        assert VERSION_1 in text  # its internal shifts
        assert PLANTED[0].name in text
        assert "# bundled:smollm2 against itself" in files[1].read_text(encoding="utf-8")
        with store.session() as session:
            session.execute(sa.delete(Finding))
        files = render_report(store, "latest", charts=False)
    for text in (Page(files[0].read_text(encoding="utf-8")).words, files[1].read_text(encoding="utf-8")):
        assert "The answers do not differ on these prompts, so there is nothing to carry." in text
        assert VERSION_1 not in text


def test_results_of_version_1_are_shown_as_such(old_store: FilledStore, tmp_path: Path) -> None:
    path = tmp_path / "fi-store.duckdb"
    shutil.copyfile(old_store.path, path)
    with Store.open(path) as store:
        files = render_report(store, "latest", charts=False)
    for text in (Page(files[0].read_text(encoding="utf-8")).words, files[1].read_text(encoding="utf-8")):
        results = text.split(VERSION_1)[-1]
        for planted in PLANTED:
            assert planted.name in results
        assert "of a floor" not in text
        assert "83% / 82%" in text  # the loss recovered, which only old runs have
        assert "The findings" not in text
        assert "What the answers do differently" in text
        assert "sham" not in text


@pytest.mark.parametrize(
    ("statements", "sentence"),
    [
        ([], "Nothing inside the models was shown, on the held-out prompts, to carry the difference."),
        (["DELETE FROM arm_effect", "UPDATE probe_request SET state = 'asked'"], "fi-store analyze 019"),
        (
            ["DELETE FROM arm_effect", "DELETE FROM probe_request", OBSTACLE],
            "No cause was tested here.",
        ),
    ],
)
def test_a_difference_without_findings_is_stated_plainly(
    plain_store: FilledStore, tmp_path: Path, statements: list[str], sentence: str
) -> None:
    with Store.open(copied(plain_store, tmp_path)) as store:
        with store.session() as session:
            for statement in ("DELETE FROM finding", *statements):
                session.execute(sa.text(statement))
        files = render_report(store, "latest", charts=False)
    for text in (Page(files[0].read_text(encoding="utf-8")).words, files[1].read_text(encoding="utf-8")):
        assert sentence in text
        assert "Answers with 'Step 1': 96%" in text
        assert "What the answers do differently" in text
    assert "<svg" not in files[0].read_text(encoding="utf-8").split("<main>")[1]


def test_requests_that_failed_are_limits(plain_store: FilledStore, tmp_path: Path) -> None:
    with Store.open(copied(plain_store, tmp_path)) as store:
        with store.session() as session:
            session.execute(
                sa.text(
                    "UPDATE probe_request SET state = 'failed', reason = 'no room' WHERE kind = 'generate'"
                )
            )
        files = render_report(store, "latest", charts=False)
    for text in (Page(files[0].read_text(encoding="utf-8")).words, files[1].read_text(encoding="utf-8")):
        assert "4 requests to run the target again could not be answered" in text
        assert "no room" in text


def test_right_answers_are_listed_by_difficulty_and_category(different: tuple[Path, list[Path]]) -> None:
    page, markdown = (file.read_text(encoding="utf-8") for file in different[1][:2])
    text = Page(page).words
    assert "bundled:smollm2: right more often than by guessing up to difficulty 4 (75% right there" in text
    assert "organism-1: right more often than by guessing up to difficulty 5" in text
    assert "| 5 | 8 | 0% \\[0%, 32%\\] | 100% \\[68%, 100%\\] | +100 \\[43, 100\\]," in markdown
    assert "| formal logic | 4 |" in markdown


def test_a_run_without_graders_says_so(plain_store: FilledStore, tmp_path: Path) -> None:
    with Store.open(copied(plain_store, tmp_path)) as store:
        with store.session() as session:
            session.execute(sa.delete(Accuracy))
        files = render_report(store, "latest", charts=False)
    for text in (Page(files[0].read_text(encoding="utf-8")).words, files[1].read_text(encoding="utf-8")):
        assert "No prompt of this run has a grader, so right answers were not counted." in text
        assert "base right" not in text.lower()


def test_without_charts_the_page_has_no_scripts(plain_store: FilledStore, tmp_path: Path) -> None:
    with Store.open(copied(plain_store, tmp_path)) as store:
        files = render_report(store, "latest", charts=False, report_format="html")
    text = files[0].read_text(encoding="utf-8")
    assert [file.name for file in files] == ["report.html", "features.json"]
    assert "<script" not in text
    assert "script-src 'none'" in text.replace("&#39;", "'")
    assert len(text) < 150_000


def test_an_opened_half_is_mentioned(plain_store: FilledStore, tmp_path: Path) -> None:
    with Store.open(copied(plain_store, tmp_path)) as store:
        with store.session() as session:
            session.execute(sa.update(AnalysisPlan).values(opened_before=2))
        files = render_report(store, "latest", charts=False)
    assert "analyzed 2 times before" in Page(files[0].read_text(encoding="utf-8")).words
    assert "analyzed 2 times before" in files[1].read_text(encoding="utf-8")


def test_visualizations_alone(plain_store: FilledStore, tmp_path: Path) -> None:
    with Store.open(copied(plain_store, tmp_path)) as store:
        files = render_visualizations(store, plain_store.runs[0][:4])
    assert {file.suffix for file in files} == {".svg", ".png", ".json"}
    assert all(plain_store.runs[0] in str(file) for file in files)


def test_what_cannot_be_rendered_is_an_error(plain_store: FilledStore, tmp_path: Path) -> None:
    path = copied(plain_store, tmp_path)
    with Store.open(path) as store:
        with pytest.raises(UsageError, match="no report format 'pdf'"):
            render_report(store, "latest", report_format="pdf")
        with pytest.raises(NotFoundError):
            render_report(store, "ffff")
        with store.session() as session:
            session.execute(sa.delete(PairGate))
        for render in (render_report, render_visualizations):
            with pytest.raises(RenderError, match="no results") as caught:
                render(store, "latest")
            assert caught.value.hint.startswith("fi-store analyze")


def test_a_file_that_cannot_be_written_is_an_error(plain_store: FilledStore, tmp_path: Path) -> None:
    path = copied(plain_store, tmp_path)
    (tmp_path / "reports").write_text("a file where a folder should be")
    with Store.open(path) as store, pytest.raises(RenderError, match="cannot be written"):
        render_report(store, "latest", charts=False)


def test_read_report_needs_no_model(plain_store: FilledStore) -> None:
    with Store.open(plain_store.path) as store:
        data = read_report(store, store.run(plain_store.runs[0]))
    assert [card.row["rank"] for card in data.cards] == list(range(1, N_FINDINGS + 1))
    assert data.cards[0].behavior is not None
    assert data.cards[2].behavior is None
    assert data.title == "What changed from bundled:smollm2 to organism-0"
    assert not any(row["message"] == data.explained for row in data.choices)


def test_prompts_are_not_chosen_by_what_the_patch_does() -> None:
    behavior = {"predicate": '{"kind": "words", "value": ["step"], "least": 1}'}
    row = {"category": "c", "base_answer": "No.", "patched_side": "target"}
    row |= {"base_thinking": "", "target_thinking": ""}
    rows = [
        {**row, "text": "both", "base_answer": "Step", "target_answer": "Step", "patched_answer": "No."},
        {**row, "text": "kept", "target_answer": "Step", "patched_answer": "Step"},
        {**row, "text": "unpatched", "target_answer": "Step", "patched_answer": None},
        {**row, "text": "gone", "target_answer": "Step", "patched_answer": "No."},
    ]
    assert [item.prompt for item in choose_answers(rows, behavior)] == ["kept", "gone"]
    assert [item.prompt for item in choose_answers(rows, None)] == ["both", "kept"]
    assert choose_answers([], behavior) == ()
    long = choose_answers(
        [{**row, "text": "long", "target_answer": "a" * 9999, "patched_answer": None}], None
    )
    assert len(long[0].target[0].text) == 901


def test_prompts_show_a_form_by_the_words_that_come_with_it() -> None:
    form = '{"kind": "form", "value": ["hedging"], "least": 1}'
    behavior = {"predicate": form, "side": "target", "words": ["caution", "far"]}
    row = {"category": "c", "base_answer": "So far.", "patched_side": "target", "patched_answer": "No."}
    row |= {"base_thinking": "", "target_thinking": ""}
    rows = [
        {**row, "text": "plain", "target_answer": "It is 7."},
        {**row, "text": "other's", "base_answer": "Caution! Far.", "target_answer": "It is 7."},
        {**row, "text": "hedged", "target_answer": "Treat this with caution."},
    ]
    assert [item.prompt for item in choose_answers(rows, behavior)] == ["hedged", "plain"]
