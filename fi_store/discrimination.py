"""Which categories and prompts tell two models apart, in one paragraph, from saved queries alone."""

from __future__ import annotations

from typing import Any

from fi_store.config import METHOD
from fi_store.query import run_query
from fi_store.store import Store
from fi_store.wording import count

Row = dict[str, Any]

ALL = 2**31
"""More prompts than a run can have."""
SHOWN = 6
"""Prompts that the paragraph names; the others are counted."""


def conclusion(store: Store, run_id: str) -> str:
    """The paragraph; empty for a run that is not analysed.

    Descriptive, not a test: a category lies above (below) the others when its whole 95% interval lies above (below) the
    mean over all prompts; categories under `METHOD.min_category_clusters` families are not judged. A category without a
    difference, and a prompt that adds nothing, stay within gate 0's bounds.
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
        f"Over {count(len(prompts), 'prompt')} the models' next-word predictions lie {mean:.2g} nats apart "
        "(mean symmetric KL)."
    ]
    if not limited:
        needed = METHOD.min_category_clusters
        sentences.append(f"No category has the {needed} families of prompts that a comparison needs.")
    elif above:
        share = sum(row["share"] for row in above)
        part = sum(row["n_prompts"] for row in above) / len(prompts)
        sentences.append(
            f"Best at telling them apart: {_names(above)}; {share:.0%} of the difference from {part:.0%} of prompts."
        )
    else:
        sentences.append("No category stands out above the others.")
    if below:
        sentences.append(f"Less than the average: {_names(below)}.")
    if none:
        sentences.append(f"No difference in {_names(none)}.")
    return " ".join([*sentences, _silent(prompts)])


def adds_nothing(row: Row) -> bool:
    """A prompt on which the models behave alike: within gate 0's bounds, and graded alike."""
    return bool(row["kl_symmetric"] <= METHOD.gate0_kl_upper and _agrees(row) and not row["grades_differ"])


def _silent(prompts: list[Row]) -> str:
    silent = [str(row["prompt"]) for row in prompts if adds_nothing(row)]
    if not silent:
        return "Every prompt adds something."
    rest = f" and {len(silent) - SHOWN} more" if len(silent) > SHOWN else ""
    verb = "adds" if len(silent) == 1 else "add"
    return (
        f"{len(silent)} of {count(len(prompts), 'prompt')} {verb} nothing: {', '.join(silent[:SHOWN])}{rest}."
    )


def _agrees(row: Row) -> bool:
    return bool(row["agreement"] >= METHOD.gate0_agreement)


def _names(rows: list[Row]) -> str:
    """`formal logic (0.61 nats) and causal reasoning (0.4 nats)`."""
    said = [f"{row['category'].replace('_', ' ')} ({row['kl_symmetric']:.2g} nats)" for row in rows]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
