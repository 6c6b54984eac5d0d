"""Notices a pair that computes the same in another basis: nothing that compares directions can be read off it.

Where gate 0 finds no difference in behaviour and yet the activations lie far apart while their geometry over the
prompts is the same (METHOD section 8, function-preserving edits), features that "moved" say how the basis was turned.
"""

from __future__ import annotations

from fi_store.config import METHOD
from fi_store.schema_results import PairGate
from fi_store.store import Store

WARNING = (
    "The basis differs: the models answer alike, their activations lie apart by {apart:.0%} of their size and still "
    "have the same geometry (CKA {cka:.2f} in the median layer). One model's residual stream seems to be the other's, "
    "turned; what moved inside says nothing about behaviour."
)


def basis_warning(store: Store, run_id: str, gate: PairGate) -> str | None:
    """The warning for a pair in two bases, None for any other; reads the run's own layer similarities.

    Asked of the answers' positions, in the median over layers (and sites): relative difference norm and CKA of equal
    layers.
    """
    if gate.verdict != "no_behavioural_difference":
        return None
    found = store.rows(
        "select median(apart.value) as apart, median(alike.value) as cka"
        " from layer_similarity alike join layer_similarity apart using (run_id, source, site, label, position_class)"
        " where run_id = $run and source = 'fi-store' and position_class = 'response'"
        " and alike.metric = 'cka' and apart.metric = 'relative_difference'",
        run=run_id,
    )[0]
    if found["apart"] is None or found["apart"] < METHOD.basis_apart or found["cka"] < METHOD.basis_cka:
        return None
    return WARNING.format(**found)
