"""The shipped prompts keep what they promise: graded, recomputed, paired with controls, without near-duplicates."""

from __future__ import annotations

import importlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from math import log
from typing import Any

import pytest

from fi_store.graders import grade
from fi_store.graders.text import mentions, phrase
from fi_store.prompts import PromptRecord, load_suite
from fi_store.shipped import shipped
from tests.helpers import ROOT

FILES = ("reasoning", "broad", "controls")
COMPUTED = (
    "step_by_step_reasoning", "chain_of_thought", "formal_logic", "probabilistic_reasoning",
    "constraint_satisfaction", "mathematical_reasoning", "multi_step_planning", "cognitive_capabilities",
)  # fmt: skip
"""Categories in which every gradable answer is recomputed."""
RECOMPUTATIONS = sorted(path.stem for path in (ROOT / "tests" / "helpers" / "recomputed").glob("[a-z]*.py"))
NEAR = 0.35
"""Share of common word triples from which two prompts are near-duplicates."""

SUITE: dict[str, list[PromptRecord]] = {
    name: list(load_suite([shipped("prompts") / f"{name}.yaml"]).prompts) for name in FILES
}
ALL = [prompt for prompts in SUITE.values() for prompt in prompts]
GRADED = [prompt for prompt in ALL if prompt.grader is not None]


def by_category(name: str) -> dict[str, list[PromptRecord]]:
    found: dict[str, list[PromptRecord]] = defaultdict(list)
    for prompt in SUITE[name]:
        found[prompt.category].append(prompt)
    return found


def test_every_category_has_its_number_of_prompts() -> None:
    focused, broad = by_category("reasoning"), by_category("broad")
    assert len(focused) == 10
    assert min(map(len, focused.values())) >= 30
    assert len(broad) == 14
    assert min(map(len, broad.values())) >= 15
    assert len(SUITE["controls"]) >= 60
    assert len(ALL) >= 570
    assert len(GRADED) >= 300
    assert sum(p.grader is not None for p in SUITE["reasoning"]) >= 0.7 * len(SUITE["reasoning"])


def test_every_prompt_is_complete_and_ids_are_unique() -> None:
    assert len({prompt.key for prompt in ALL}) == len(ALL)
    for prompt in ALL:
        assert prompt.key.startswith(f"{prompt.category}/")
        assert prompt.control
        assert prompt.failure_mode
        assert prompt.skill
        assert prompt.difficulty
        assert (prompt.failure_answer is not None) == (prompt.grader is not None), prompt.key


@pytest.mark.parametrize("name", ["reasoning", "broad"])
def test_every_category_spans_four_levels_from_the_easiest(name: str) -> None:
    for category, prompts in by_category(name).items():
        levels = Counter(prompt.difficulty for prompt in prompts)
        assert len(levels) >= 4, category
        assert levels[1] >= 4, category


@pytest.mark.parametrize("prompt", GRADED, ids=lambda prompt: prompt.key)
def test_the_grader_accepts_the_answer_and_refuses_the_shortcut(prompt: PromptRecord) -> None:
    assert prompt.grader is not None
    assert prompt.answer is not None
    assert prompt.failure_answer is not None
    for frame in ("{}", "The answer is {}.", "Let us think about it first.\n\n**Answer:** {}"):
        if prompt.grader["kind"] == "code" and frame != "{}":
            continue  # code stands alone or in a fence
        right = grade(prompt.grader, prompt.answer, frame.format(prompt.answer), prompt.text)
        wrong = grade(prompt.grader, prompt.answer, frame.format(prompt.failure_answer), prompt.text)
        assert right.correct is True, (frame, right)
        assert wrong.correct is not True, (frame, wrong)


@pytest.mark.parametrize("frame", ["{}", "**Question:** {}", "{0}\n\n{0}"])
def test_a_prompt_that_is_only_repeated_is_not_graded_right(frame: str) -> None:
    for prompt in GRADED:
        assert prompt.grader is not None
        assert prompt.answer is not None
        found = grade(prompt.grader, prompt.answer, frame.format(prompt.text), prompt.text)
        assert found.correct is not True, (prompt.key, found)


def test_an_answer_among_those_that_the_text_names_is_a_choice() -> None:
    """If only the right word were looked for, it would also be found in a reply that chooses the other one."""
    named = []
    for prompt in GRADED:
        assert prompt.grader is not None
        if prompt.grader["kind"] == "exact":
            answers = [phrase(one or "") for one in (prompt.answer, prompt.failure_answer)]
            named += [prompt.key] * ({one.which for one in mentions(prompt.text, answers)} == {0, 1})
    # For this prompt a right reply names both: "the opposite of north is south".
    assert named == ["analogical_reasoning/compass-turn"]


def _recomputed() -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for name in RECOMPUTATIONS:
        answers = importlib.import_module(f"tests.helpers.recomputed.{name}").ANSWERS
        assert not found.keys() & answers.keys()
        found |= answers
    return found


def _not_computed() -> set[str]:
    modules = (importlib.import_module(f"tests.helpers.recomputed.{name}") for name in RECOMPUTATIONS)
    return {key for module in modules for key in getattr(module, "NOT_COMPUTED", ())}


def _written(value: Any) -> str:
    """A computed value, written as an answer."""
    if isinstance(value, (frozenset, set)):
        return ", ".join(sorted(map(str, value)))
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Fraction) and value.denominator == 1:
        return str(value.numerator)
    return str(value)


@pytest.mark.parametrize(("key", "compute"), sorted(_recomputed().items()), ids=lambda item: str(item)[:60])
def test_the_recomputed_answer_is_the_written_one(key: str, compute: Callable[[], Any]) -> None:
    (prompt,) = [prompt for prompt in GRADED if prompt.key == key]
    assert prompt.grader is not None
    assert prompt.answer is not None
    value = _written(compute())
    assert grade(prompt.grader, prompt.answer, value).correct is True, (prompt.answer, value)


def test_what_can_be_recomputed_is_recomputed() -> None:
    known = _recomputed().keys() | _not_computed()
    assert known <= {prompt.key for prompt in GRADED}
    missing = [p.key for p in GRADED if p.category in COMPUTED and p.key not in known]
    assert missing == []


def _triples(text: str) -> set[tuple[str, ...]]:
    words = re.sub(r"[^\w]+", " ", text.lower()).split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def test_no_two_prompts_are_near_duplicates_outside_a_family() -> None:
    triples = [(prompt, _triples(prompt.text)) for prompt in ALL]
    duplicates = [
        (a.key, b.key)
        for (a, x), (b, y) in combinations(triples, 2)
        if a.family != b.family and x and y and len(x & y) > NEAR * len(x | y)
    ]
    assert duplicates == []


def test_a_family_stays_inside_its_category() -> None:
    families: dict[str, set[str]] = defaultdict(set)
    for prompt in ALL:
        families[prompt.family].add(prompt.category)
    assert [name for name, categories in families.items() if len(categories) > 1] == []


def test_controls_are_as_long_as_their_prompts_and_share_their_words() -> None:
    ratios = []
    shared = []
    for prompt in ALL:
        assert prompt.control is not None
        ratios.append(len(prompt.control) / len(prompt.text))
        words = [set(re.findall(r"\w{4,}", text.lower())) for text in (prompt.text, prompt.control)]
        shared.append(len(words[0] & words[1]) / max(1, min(map(len, words))))
        assert 0.6 <= ratios[-1] <= 1.67, prompt.key
        assert prompt.control.rstrip().endswith("?") == prompt.text.rstrip().endswith("?"), prompt.key
    assert 0.95 <= sum(ratios) / len(ratios) <= 1.05
    assert sum(shared) / len(shared) >= 0.3


def _separable_by_words(prompts: list[PromptRecord]) -> float:
    """Share of texts and controls that naive Bayes tells apart by their words, trained on other prompts."""
    words = [[set(re.findall(r"\w+", text.lower())) for text in (p.text, p.control or "")] for p in prompts]
    right = 0
    for fold in range(10):
        known = [pair for i, pair in enumerate(words) if i % 10 != fold]
        counts = [Counter(word for pair in known for word in pair[side]) for side in (0, 1)]
        for text, control in words[fold::10]:
            for side, found in ((1, text), (-1, control)):
                score = sum(log((counts[0][word] + 0.5) / (counts[1][word] + 0.5)) for word in found)
                right += side * score > 0
    return right / (2 * len(prompts))


def test_the_readme_gives_the_figures_of_the_balance() -> None:
    readme = " ".join((shipped("prompts") / "README.md").read_text(encoding="utf-8").split())
    asking = [*SUITE["reasoning"], *SUITE["broad"]]
    ratios = [len(p.control or "") / len(p.text) for p in ALL]
    mean = sum(ratios) / len(ratios)
    assert (
        f"{mean:.3f} times as long as its text on average ({min(ratios):.2f} to {max(ratios):.2f})" in readme
    )
    assert f"right in {_separable_by_words(asking):.0%} of the texts and controls" in readme
    assert f"({_separable_by_words(SUITE['controls']):.0%} in `controls.yaml`" in readme
    for word in ("yes", "no", "many", "describe", "look"):
        counts = [
            sum(word in re.findall(r"\w+", text.lower()) for text in texts)
            for texts in zip(*((p.text, p.control or "") for p in ALL), strict=True)
        ]
        assert f'"{word}" ({counts[0]} against {counts[1]})' in readme


def test_no_category_opens_with_the_same_words() -> None:
    for name in FILES:
        for category, prompts in by_category(name).items():
            openings = Counter(tuple(prompt.text.lower().split()[:2]) for prompt in prompts)
            assert openings.most_common(1)[0][1] <= 3, category
