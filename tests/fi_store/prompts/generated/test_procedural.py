"""Generated prompts: which are kept and left out, what a cluster is, and that a seed always gives the same file."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from fi_store.errors import UsageError
from fi_store.prompts import load_suite
from fi_store.prompts.file import CATEGORY
from fi_store.prompts.generated import FAMILIES, generate, procedural
from fi_store.prompts.generated import reasoning_gym as gym
from fi_store.prompts.generated.families import REFUSED, Family
from fi_store.prompts.generated.judges import number
from fi_store.prompts.generated.procedural import chosen_families
from tests.helpers import ROOT
from tests.helpers.command import fi_store

ITEM = {"question": "How many pears are 3 and {}?", "answer": "5", "metadata": {"task": "pears"}}


class ToyDataset:
    """Stands in for a generator: cycles through a list of items."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = items

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {**ITEM, **self.items[index % len(self.items)]}
        if item["answer"] == "fail":
            raise AssertionError("settings that do not go together")
        return item | {"question": item["question"].format(index)}

    def score_answer(self, answer: str, item: dict[str, Any]) -> float:
        return float(item.get("score", 1.0))


Toys = Callable[..., procedural.Tally]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Toys:
    """Generates prompts from the given items as if the package had made them; settings go to the family."""

    def run(items: list[dict[str, Any]], n: int = 3, **settings: Any) -> procedural.Tally:
        package = SimpleNamespace(create_dataset=lambda name, **_: ToyDataset(items))
        monkeypatch.setattr(procedural, "load_gym", lambda: package)
        family = Family("mathematical_reasoning", "sums", number(), **settings)
        monkeypatch.setitem(FAMILIES, "toy", family)
        return generate(["toy"], n, 1).tallies[0]

    return run


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"answer": None}, "no reference answer"),
        ({"answer": "5\n6"}, "an answer of several lines or parts"),
        ({"answer": ["5"]}, "an answer of several lines or parts"),
        ({"answer": "five or six"}, "an answer that no grader compares exactly"),
        ({"question": "{} " + "pears " * 400}, "longer than 2,000 characters"),
        ({"question": "What is 2 + 3?"}, "a duplicate"),
        ({"question": "What is {}? Answer with only the number."}, "asks for a form of answer"),
        ({"question": "What is {}?\nYour answer should be valid JSON."}, "asks for a form of answer"),
        ({"question": "What is {}? Put it in <answer></answer>."}, "asks for a form of answer"),
        ({"score": 0.99}, "no full score for its own answer"),
        ({"answer": "fail"}, "its generator failed"),
    ],
)
def test_what_is_left_out_is_counted(toys: Toys, item: dict[str, Any], reason: str) -> None:
    tally = toys([{}, item], n=4)
    assert len(tally.prompts) == 4
    assert tally.skipped == {reason: 1 if reason == "a duplicate" else 3}
    assert all(prompt.answer == "5" for prompt in tally.prompts)


def test_a_family_without_prompts_is_an_error_with_the_reason(toys: Toys) -> None:
    with pytest.raises(UsageError, match=r"toy gave no prompts; left out: 110 \(110 no reference answer\)"):
        toys([{"answer": None}])


def test_known_demands_on_the_form_are_removed(toys: Toys) -> None:
    items = [{"question": "What is {}? Answer with only the number."}]
    tally = toys(items, drop=(" Answer with only the number.",))
    assert tally.prompts[0].text == "What is 0?"
    assert len(toys(items, asks_form=True).prompts) == 3


def test_one_template_is_one_family_and_several_are_several(toys: Toys) -> None:
    items = [{"metadata": {"task": name}} for name in ("pears", "figs")]
    assert {prompt.family for prompt in toys(items, n=4).prompts} == {"rg-toy"}
    assert Counter(prompt.family for prompt in toys(items, n=4, variant="task").prompts) == {
        "rg-toy-pears": 2,
        "rg-toy-figs": 2,
    }


def test_the_majority_baseline_is_the_share_of_the_most_frequent_answer(toys: Toys) -> None:
    assert toys([{}, {}, {"answer": "6"}], n=9).majority == ("5", 6 / 9)


def test_difficulty_follows_the_settings(toys: Toys) -> None:
    assert [prompt.difficulty for prompt in toys([{}], levels=({"a": 1}, {"a": 2})).prompts] == [1, 2, 1]
    assert {prompt.difficulty for prompt in toys([{}]).prompts} == {3}


def test_the_table_is_sound() -> None:
    for name, family in FAMILIES.items():
        assert CATEGORY.fullmatch(family.category), name
        assert 1 <= len(family.levels) <= 5, name
    refused = [name for names in REFUSED.values() for name in names]
    assert len(set(refused)) == len(refused)
    assert not set(refused) & set(FAMILIES)
    assert {*FAMILIES, *refused} <= set(gym.load_gym().factory.DATASETS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sylogism", "did you mean syllogism"),
        ("qqq", r"there is no family 'qqq'\.$"),
        ("propositional_logic", "it has no reference answer"),
        ("game_of_life_halting", "accepts any answer"),
    ],
)
def test_families_that_cannot_be_used_are_rejected(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        chosen_families(["gcd", name])
    assert caught.value.hint == "fi-store prompts generate --list"


def test_all_stands_for_every_family_and_none_is_taken_twice() -> None:
    assert chosen_families(["gcd", "lcm", "gcd"]) == ("gcd", "lcm")
    assert chosen_families(["all"]) == tuple(FAMILIES)
    with pytest.raises(UsageError, match="no family is named"):
        chosen_families([])


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "reasoning_gym", raising=False)
    monkeypatch.setattr(gym.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="reasoning-gym, which is not installed") as caught:
        generate(["gcd"], 1, 0)
    assert "pip install 'fi-store[rg]'" in caught.value.hint


def test_the_package_is_imported_late_and_leaves_no_stand_ins() -> None:
    script = (
        "import sys, fi_store.prompts.generated.procedural, fi_store.cli.prompts_generate\n"
        "assert 'reasoning_gym' not in sys.modules\n"
        "from fi_store.prompts.generated.reasoning_gym import UNUSED, load_gym\n"
        "assert load_gym().create_dataset('gcd', seed=1, size=2)[0]['answer']\n"
        "kinds = {type(thing).__name__ for thing in (*sys.modules.values(), *sys.meta_path)}\n"
        "assert not kinds & {'_StandIn', '_StandIns'}\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def fingerprint(prompts: tuple[Any, ...]) -> str:
    content = [(one.key, one.family, one.text, one.answer, one.grader, one.difficulty) for one in prompts]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def test_a_seed_gives_the_same_prompts_in_every_process() -> None:
    script = (
        "from tests.fi_store.prompts.generated.test_procedural import fingerprint\n"
        "from fi_store.prompts.generated.procedural import generate\n"
        "print(fingerprint(generate(['all'], 140, 5).prompts))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == fingerprint(generate(["all"], 140, 5).prompts)


def test_the_first_prompts_do_not_depend_on_how_many_there_are_and_seeds_share_few() -> None:
    few, many = generate(["gcd"], 5, 1).prompts, generate(["gcd"], 40, 1).prompts
    assert few == many[:5]
    texts = {prompt.text for prompt in many}
    assert len(texts & {prompt.text for prompt in generate(["gcd"], 40, 2).prompts}) < 10


def test_the_command_writes_a_file_that_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "mine.yaml"
    done = fi_store(
        "prompts", "generate", "--family", "syllogism, gsm_symbolic", "--n", 41, "--seed", 3, "-o", path
    )
    assert done.code == 0, done.err
    assert "41 prompts of 2 families" in done.out
    assert re.search(
        r"syllogism .*formal_logic .* 21 .*% \((yes|no)\) .*the generator's answer is wrong", done.out
    )
    assert done.out.rstrip().endswith(f"Next: fi-store run --prompts-file {path}")
    assert fi_store("prompts", "validate", path).code == 0
    suite = load_suite([path])
    assert Counter(p.category for p in suite.prompts) == {"formal_logic": 21, "step_by_step_reasoning": 20}
    assert all(re.fullmatch(r"[a-z_]+/[a-z-]+-3-\d+", prompt.key) for prompt in suite.prompts)
    assert not any(prompt.control for prompt in suite.prompts)
    description = yaml.safe_load(path.read_text(encoding="utf-8"))["description"]
    share = generate(["syllogism", "gsm_symbolic"], 41, 3).tallies[0].majority[1]
    assert f"syllogism {share:.0%}" in description
    clusters = int(re.findall(r"Clusters in the statistics: (\d+);", description)[0])
    assert f", {clusters} clusters, in" in done.out
    assert 10 < clusters <= 21
    again = fi_store("prompts", "generate", "--family", "gcd", "--n", 1, "-o", path)
    assert again.code == 2
    assert f"{path} already exists." in again.err
    assert load_suite([path]) == suite


def test_one_template_is_reported_as_too_little(tmp_path: Path) -> None:
    done = fi_store("prompts", "generate", "--family", "coin_flip", "--n", 200, "-o", tmp_path / "flips.yaml")
    assert done.code == 0, done.err
    assert re.search(r"Note: coin_flip has only \d+ of 200 prompts", done.out)
    assert "of 1 family, 1 cluster, in" in done.out
    assert "Note: with fewer than 24 clusters, nothing can be tested" in done.out
    assert load_suite([tmp_path / "flips.yaml"]).name == "flips"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--family", "gcd"), "--output"),
        (("--family", "gcd,lcm", "--n", 1, "-o", "x.yaml"), "2 families need at least one prompt each"),
        (("--family", "gcd", "--n", 1001, "-o", "x.yaml"), "at most 1000 prompts"),
        (("-o", "x.yaml"), "no family is named"),
    ],
)
def test_wrong_usage(
    arguments: tuple[Any, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = fi_store("prompts", "generate", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not list(tmp_path.iterdir())


def test_the_families_are_listed() -> None:
    done = fi_store("prompts", "generate", "--list")
    assert done.code == 0
    assert re.search(r"coin_flip\W+probabilistic_reasoning\W+number\W+1-5", done.out)
    assert all(name in done.out for name in FAMILIES)
