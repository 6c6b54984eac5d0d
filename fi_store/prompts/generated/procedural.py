"""Generates a prompt file from reasoning_gym's families: ids, families, difficulty, graders, baselines.

Prompts made from one template are one cluster in the statistics (METHOD section 1). So a generator with one template is
one family, however many prompts it gives; a generator that says which of its templates it used (word problems, date
tasks, row rules) gives one family per template.

No control texts are made: a control that shares a generated prompt's topic and length but needs no reasoning would be
the same text with another request, and a model might answer the question that is still in it.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fi_store.errors import UsageError
from fi_store.graders import faults, grade
from fi_store.prompts.generated.families import FAMILIES, REFUSED, Family
from fi_store.prompts.generated.reasoning_gym import gym_version, load_gym
from fi_store.prompts.records import PromptRecord
from fi_store.prompts.write import full_form, write_new
from fi_store.wording import count

ALL = "all"
"""Stands for every family."""
MAX_PROMPTS = 1_000
"""Maximum number of prompts in one file."""
MAX_CHARACTERS = 2_000
"""Maximum length of a prompt: small models have short contexts, and reading takes time."""
DRAWS = 4_000
"""Size of a generator's data set. It never changes, because some generators shuffle the whole set."""

FORM_DEMAND = re.compile(
    r"(?:^|[.!?:;)(\]\n])\s*(?:please\s+)?(?:only\s+)?(?:give|provide|reply|respond|answer|return|output|state|write"
    r"|format|express|put|do not|don't|your (?:final )?(?:answer|output|response|solution))\b[^.!?\n]{0,100}\b(?:only"
    r"|just|nothing else|exactly|json|format(?:ted)?|quotation|quotes|tags?|latex|markdown|boxed|units?|one word"
    r"|single word|no other)\b|<answer>",
    re.IGNORECASE,
)
"""A demand on the form of the answer. It would measure obedience and keep a model from reasoning aloud."""


@dataclass(frozen=True)
class Tally:
    """The result for one family: how many prompts were wanted, which were made, and why others were left out."""

    name: str
    wanted: int
    prompts: tuple[PromptRecord, ...]
    skipped: Counter[str]

    @property
    def majority(self) -> tuple[str, float]:
        """The most frequent answer and its share: the accuracy of always giving that answer."""
        answer, count = Counter(str(prompt.answer) for prompt in self.prompts).most_common(1)[0]
        return answer, count / len(self.prompts)


@dataclass(frozen=True)
class Generated:
    """The prompts of a file, family by family, with what is needed to generate them again."""

    seed: int
    version: str
    tallies: tuple[Tally, ...]

    @property
    def prompts(self) -> tuple[PromptRecord, ...]:
        """All prompts; families take turns, so the first few prompts are a mixture."""
        rounds = zip_longest(*(tally.prompts for tally in self.tallies))
        return tuple(prompt for turn in rounds for prompt in turn if prompt is not None)


def chosen_families(names: Sequence[str]) -> tuple[str, ...]:
    """The given names, each once; `all` stands for every family.

    Raises:
        UsageError: an unknown family, or one that cannot be used, with the reason.
    """
    for name in names:
        if name in FAMILIES or name == ALL:
            continue
        hint = "fi-store prompts generate --list"
        for reason, refused in REFUSED.items():
            if name in refused:
                raise UsageError(f"--family: {name} is not used: it {reason}.", hint=hint)
        close = get_close_matches(name, FAMILIES, n=3, cutoff=0.5)
        guess = f"; did you mean {' or '.join(close)}?" if close else "."
        raise UsageError(f"--family: there is no family {name!r}{guess}", hint=hint)
    wanted = tuple(FAMILIES) if ALL in names else tuple(dict.fromkeys(names))
    if not wanted:
        raise UsageError("--family: no family is named.", hint="fi-store prompts generate --list")
    return wanted


def generate(names: Sequence[str], n: int, seed: int) -> Generated:
    """Generates `n` prompts, dealt evenly to the families; a seed and a package version always give the same ones.

    Raises:
        UsageError: unknown families, fewer prompts than families, the package is missing, or nothing is left.
    """
    wanted = chosen_families(names)
    if n < len(wanted):
        raise UsageError(f"--n {n}: {len(wanted)} families need at least one prompt each.")
    gym = load_gym()
    seen: set[str] = set()
    tallies = []
    for index, name in enumerate(wanted):
        share = n // len(wanted) + (index < n % len(wanted))
        with redirect_stdout(io.StringIO()):  # some generators print their attempts
            tallies.append(_family_prompts(gym, name, share, seed, seen))
    empty = [tally for tally in tallies if not tally.prompts]
    if empty:
        raise UsageError(f"The family {empty[0].name} gave no prompts; left out: {reasons(empty[0])}.")
    return Generated(seed, gym_version(), tuple(tallies))


def _family_prompts(gym: Any, name: str, wanted: int, seed: int, seen: set[str]) -> Tally:
    family = FAMILIES[name]
    prompts: list[PromptRecord] = []
    skipped: Counter[str] = Counter()
    for index, dataset, item in _items(gym, name, seed):
        if len(prompts) == wanted or index >= 50 + 20 * wanted:
            break
        made = "its generator failed" if item is None else _prompt(name, family, index, dataset, item, seed)
        if not isinstance(made, str) and made.text in seen:
            made = "a duplicate"
        if isinstance(made, str):
            skipped[made] += 1
            continue
        seen.add(made.text)
        prompts.append(made)
    return Tally(name, wanted, tuple(prompts), skipped)


def _items(gym: Any, name: str, seed: int) -> Iterator[tuple[int, Any, dict[str, Any] | None]]:
    """Yields (index, dataset, item); levels take turns, and the item is None where the generator fails."""
    levels = FAMILIES[name].levels
    start = int.from_bytes(sha256(f"{name} {seed}".encode()).digest()[:4], "big") // 2
    # Generators seed item i with start + i; the hash keeps neighboring seeds from sharing most of their prompts.
    datasets = [gym.create_dataset(name, seed=start, size=DRAWS, **settings) for settings in levels]
    for index in range(DRAWS):
        dataset = datasets[index % len(levels)]
        try:
            item = dataset[index]
        except Exception:  # a generator may raise anything on settings that do not go together
            item = None
        yield index, dataset, item


def _prompt(
    name: str, family: Family, index: int, dataset: Any, item: dict[str, Any], seed: int
) -> PromptRecord | str:
    """The prompt made from an item, or why the item is left out."""
    answer = item["answer"]
    if answer is None:
        return "no reference answer"
    if not isinstance(answer, str) or not answer.strip() or "\n" in answer.strip():
        return "an answer of several lines or parts"
    doubt = family.doubt(item) if family.doubt is not None else None
    if doubt is not None:
        return doubt
    text = item["question"]
    for demand in family.drop:
        text = text.replace(demand, "")
    text = text.strip()
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS:,} characters"
    if not family.asks_form and FORM_DEMAND.search(text):
        return "asks for a form of answer"
    if dataset.score_answer(answer, item) != 1:
        return "no full score for its own answer"
    reference, grader = family.judge.read(item)
    if not _comparable(grader, reference, answer, text):
        return "an answer that no grader compares exactly"
    slug = name.replace("_", "-")
    return PromptRecord(
        key=f"{family.category}/{slug}-{seed}-{index}",
        category=family.category,
        text=text,
        family=f"rg-{slug}{_template(family, index, dataset, item)}",
        skill=family.skill,
        difficulty=family.difficulty(index % len(family.levels)),
        answer=reference,
        grader=grader,
    )


def _comparable(grader: dict[str, Any], reference: str, answer: str, text: str) -> bool:
    """Whether the grader has no faults and recognizes the right answer to a prompt, alone and in a sentence."""
    replies = (answer, f"The answer is {answer}.")
    return not any(faults(grader, reference, None, text)) and all(
        grade(grader, reference, reply, text).correct for reply in replies
    )


def _template(family: Family, index: int, dataset: Any, item: dict[str, Any]) -> str:
    """The part of a family's name that identifies an item's template; empty if the family has only one."""
    if family.variant is not None:
        return f"-{item['metadata'][family.variant]}".replace("_", "-")
    return f"-{getattr(dataset, family.drawn)[index]}" if family.drawn is not None else ""


def reasons(tally: Tally) -> str:
    """Why prompts were left out, with counts: "12 (9 a duplicate, 3 longer than 2,000 characters)"."""
    if not tally.skipped:
        return "0"
    parts = ", ".join(f"{count} {reason}" for reason, count in tally.skipped.most_common())
    return f"{tally.skipped.total()} ({parts})"


def write_prompts(generated: Generated, clusters: int, path: Path) -> None:
    """Writes a new file in the full form; `clusters` is how many clusters its prompts form.

    Raises:
        UsageError: the file exists, or its name does not end in .yaml.
    """
    write_new(path, full_form(generated.prompts, path.stem, _description(generated, clusters)))


def _description(generated: Generated, clusters: int) -> str:
    n = len(generated.prompts)
    baselines = (f"{tally.name} {tally.majority[1]:.0%}" for tally in generated.tallies)
    same = sum(round(tally.majority[1] * len(tally.prompts)) for tally in generated.tallies) / n
    return (
        f"{count(n, 'generated prompt')} (reasoning-gym {generated.version}, seed {generated.seed}). "
        f"Clusters in the statistics: {clusters}; prompts from one template, or with mostly the same words, are one "
        f"cluster. Always giving each family's most frequent answer is right in {same:.0%}: {', '.join(baselines)}. "
        "There are no control texts, so names are tested less strictly."
    )
