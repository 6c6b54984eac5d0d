"""Describes a run in sentences, from saved queries alone: what changed, what carries it, which prompts differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fi_store.method import METHOD
from fi_store.store import Store, run_query
from fi_store.vocabulary import NO_DIFFERENCE, UNTESTED, VERDICTS
from fi_store.wording import count

Row = dict[str, Any]

SHOWN_BEHAVIORS = 3
"""Differences that nothing carries and that are printed; the rest are in the report and in `unlocated_behaviors`."""
SHOWN_RESULTS = 3
"""Findings that are printed; the rest are in the report and in `top_findings`."""
VERSION_1 = "Results of version 1, which were not tested causally"
"""The heading over results of older runs."""
ALL = 2**31
"""A limit larger than any run's number of prompts."""
SHOWN_PROMPTS = 6
"""Prompts that the paragraph names; the others are only counted."""


@dataclass(frozen=True)
class Headlines:
    """What a run says first, in order; the sentences are those that the analysis stored."""

    findings: tuple[Row, ...]
    unlocated: tuple[Row, ...]  # confirmed differences between the answers that no finding carries
    ending: str  # what follows from there being no finding; empty if there is one
    explained: str  # how much of the difference the findings explain; empty if that is not stored
    version_1: tuple[Row, ...]  # results of version 1, which were not tested causally

    @property
    def sentences(self) -> list[str]:
        """The findings, the differences that nothing carries, and how it ends; a few of each."""
        found = [row["sentence"] for row in self.findings[:SHOWN_RESULTS]]
        open_ = [row["sentence"] for row in self.unlocated[:SHOWN_BEHAVIORS]]
        return [*found, *open_, *filter(None, [self.ending])]


def read_headlines(store: Store, run_id: str) -> Headlines:
    """The headlines of an analyzed run."""
    verdict = run_query(store, "pair_gate", run=run_id).to_pylist()[0]["verdict"]
    results = run_query(store, "top_findings", run=run_id).to_pylist()
    findings = tuple(row for row in results if row["tier"] == "finding")
    unlocated = tuple(run_query(store, "unlocated_behaviors", run=run_id).to_pylist())
    explained = run_query(store, "explained_share", run=run_id).to_pylist()
    version_1 = tuple(row for row in results if row["tier"] != "finding")
    tested = any(row["kind"] == "change" for row in run_query(store, "causal_arms", run=run_id).to_pylist())
    return Headlines(
        findings=findings,
        unlocated=unlocated,
        ending="" if findings or version_1 else _ending(verdict, bool(unlocated), tested),
        explained=explained[0]["sentence"] if explained else "",
        version_1=version_1,
    )


def describe_run(store: Store, run_id: str) -> list[str]:
    """Lines for people: what changed and what carries it, what nothing carries, how much of it all is explained."""
    if not run_query(store, "pair_gate", run=run_id).num_rows:
        return ["This run is not analyzed yet."]
    lines = read_headlines(store, run_id)
    numbered = [f"{row['rank']}. {row['sentence']}" for row in lines.findings[:SHOWN_RESULTS]]
    old = [f"{row['rank']}. {untested_sentence(row)}" for row in lines.version_1[:SHOWN_RESULTS]]
    return [
        *numbered,
        *lines.sentences[len(numbered) :],
        *filter(None, [lines.explained]),
        *([f"{VERSION_1}:", *old] if old else []),
    ]


def _ending(verdict: str, differ: bool, tested: bool) -> str:
    """What to say of the inside of the models without a finding."""
    if differ and tested:
        return "Nothing that was read was shown to carry it."
    if differ:
        return "Whether anything inside the models carries it was not tested."
    if verdict == NO_DIFFERENCE:
        return VERDICTS[NO_DIFFERENCE]
    return "No difference inside the models held on the confirmation half."


def untested_sentence(row: Row) -> str:
    """The stored sentence of a result of version 1; it always says that the result was not tested causally."""
    sentence = str(row["sentence"])
    if UNTESTED in sentence.lower():
        return sentence
    return f"{sentence.rstrip().removesuffix('.')} ({UNTESTED})."


def describe_discrimination(store: Store, run_id: str) -> str:
    """A paragraph on how well prompts and categories tell the models apart; empty for a run that is not analyzed.

    Descriptive, not a test: a category is above (below) average if its whole 95% interval is above (below) the mean
    over all prompts. Categories with fewer than `METHOD.min_category_clusters` families are not judged. A category
    without a difference, and a prompt that adds nothing, is within gate 0's bounds.
    """
    categories = run_query(store, "category_discrimination", run=run_id).to_pylist()
    prompts = run_query(store, "prompt_discrimination", run=run_id, k=ALL).to_pylist()
    if not prompts:
        return ""
    mean = sum(row["kl_symmetric"] for row in prompts) / len(prompts)
    limited = [row for row in categories if row["n_clusters"] >= METHOD.min_category_clusters]
    above = [row for row in limited if row["kl_low"] > mean]
    below = [row for row in limited if row["kl_high"] < mean]
    none = [row for row in limited if row["kl_high"] <= METHOD.gate0_kl_upper and _agrees(row)]
    sentences = [
        f"Over {count(len(prompts), 'prompt')} the models' next-word predictions are {mean:.2g} nats apart "
        "(mean symmetric KL)."
    ]
    if not limited:
        needed = METHOD.min_category_clusters
        sentences.append(f"No category has the {needed} prompt families that a comparison needs.")
    elif above:
        share = sum(row["share"] for row in above)
        part = sum(row["n_prompts"] for row in above) / len(prompts)
        sentences.append(
            f"Best at telling them apart: {_categories(above)}, with {share:.0%} of the difference in {part:.0%} of "
            "the prompts."
        )
    else:
        sentences.append("No category is clearly above the others.")
    if below:
        sentences.append(f"Below average: {_categories(below)}.")
    if none:
        sentences.append(f"No difference in {_categories(none)}.")
    return " ".join([*sentences, _uninformative(prompts)])


def adds_nothing(row: Row) -> bool:
    """Whether the models behave alike on a prompt: within gate 0's bounds, and with the same grade."""
    return bool(row["kl_symmetric"] <= METHOD.gate0_kl_upper and _agrees(row) and not row["grades_differ"])


def _uninformative(prompts: list[Row]) -> str:
    """The sentence about prompts that add nothing."""
    silent = [str(row["prompt"]) for row in prompts if adds_nothing(row)]
    if not silent:
        return "Every prompt adds something."
    rest = f" and {len(silent) - SHOWN_PROMPTS} more" if len(silent) > SHOWN_PROMPTS else ""
    verb = "adds" if len(silent) == 1 else "add"
    names = ", ".join(silent[:SHOWN_PROMPTS])
    return f"{len(silent)} of {count(len(prompts), 'prompt')} {verb} nothing: {names}{rest}."


def _agrees(row: Row) -> bool:
    return bool(row["agreement"] >= METHOD.gate0_agreement)


def _categories(rows: list[Row]) -> str:
    """`formal logic (0.61 nats) and causal reasoning (0.4 nats)`."""
    names = [f"{row['category'].replace('_', ' ')} ({row['kl_symmetric']:.2g} nats)" for row in rows]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
