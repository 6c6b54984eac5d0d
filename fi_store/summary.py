"""Describes a run in sentences, from saved queries alone: what it found, and which prompts differ most."""

from __future__ import annotations

from typing import Any

from fi_store.method import METHOD
from fi_store.store import Store, run_query
from fi_store.vocabulary import NO_DIFFERENCE, UNTESTED, VERDICTS
from fi_store.wording import count

Row = dict[str, Any]

SHOWN_BEHAVIORS = 3
"""Differences between the answers that are printed; the rest are in the report and in `behaviors`."""
SHOWN_RESULTS = 3
"""Results that are printed; the rest are in the report and in `top_findings`."""
ALL = 2**31
"""A limit larger than any run's number of prompts."""
SHOWN_PROMPTS = 6
"""Prompts that the paragraph names; the others are only counted."""


def describe_run(store: Store, run_id: str) -> list[str]:
    """Lines for people: what the answers do differently, then the first results inside, or why there are none."""
    gate = run_query(store, "pair_gate", run=run_id).to_pylist()
    if not gate:
        return ["This run is not analyzed yet."]
    behaviors = [row for row in run_query(store, "behaviors", run=run_id).to_pylist() if row["confirmed"]]
    differences = [row["sentence"] for row in behaviors[:SHOWN_BEHAVIORS]]
    results = run_query(store, "top_findings", run=run_id, k=SHOWN_RESULTS).to_pylist()
    if results:
        inside = [f"{row['rank']}. {_sentence(row['sentence'], row['causal_status'])}" for row in results]
    elif gate[0]["verdict"] == NO_DIFFERENCE and not differences:
        inside = [VERDICTS[NO_DIFFERENCE]]
    elif gate[0]["verdict"] == NO_DIFFERENCE:
        inside = ["On average over all positions, the models' predictions hardly differ."]
    else:
        inside = ["No difference inside the models held on the confirmation half."]
    return [*differences, *inside]


def _sentence(sentence: str, causal_status: str) -> str:
    """The stored sentence; it always says so if the result has not been tested causally."""
    if causal_status != UNTESTED or causal_status in sentence.lower():
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
