"""What a run found, in sentences: the end of `fi-store run` and `analyze`, from saved queries alone."""

from __future__ import annotations

from fi_store.query import run_query
from fi_store.store import Store

SHOWN = 3
"""Results that are printed; the rest stands in the report and in `top_findings`."""


def describe_run(store: Store, run_id: str) -> list[str]:
    """Lines for people: the first results as sentences, or the one sentence that says why there is none."""
    gate = run_query(store, "pair_gate", run=run_id).to_pylist()
    if not gate:
        return ["This run is not analysed yet."]
    results = run_query(store, "top_findings", run=run_id, k=SHOWN).to_pylist()
    if not results:
        if gate[0]["verdict"] == "no_behavioural_difference":
            return ["No behavioural difference on these prompts."]
        return ["No difference held on the confirmation half."]
    return [f"{row['rank']}. {_sentence(row['sentence'], row['causal_status'])}" for row in results]


def _sentence(sentence: str, causal_status: str) -> str:
    """The stored sentence; a result that no causal test has seen always says so."""
    if causal_status != "not tested causally" or causal_status in sentence.lower():
        return sentence
    return f"{sentence.rstrip().removesuffix('.')} (not tested causally)."
