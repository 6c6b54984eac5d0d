"""Gate 0: does the pair's behavior differ at all on the confirmation half? And what could the test have detected?

Everything comes from the stored token divergences (METHOD section 1, gate 0). Means are taken per prompt first: half
for the base's answer and half for the target's, so a longer answer never counts more. Intervals are 95%, over clusters
of prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from analyze.stats import Interval, mean_interval
from fi_store.errors import AnalysisError
from fi_store.method import METHOD
from fi_store.store import Store
from fi_store.store.tables import PairGate, Run
from fi_store.vocabulary import DIFFERENT, NO_DIFFERENCE

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairBehavior:
    """How far apart two models' behavior is: three intervals over clusters, and the number of prompts behind them."""

    gap: Interval  # G, nats per response token
    kl_symmetric: Interval  # nats per response token
    agreement: Interval  # share of response tokens with the same most likely token
    n_units: int

    @property
    def verdict(self) -> str:
        """`no_behavioral_difference` if the KL's upper limit and the agreement are within METHOD's bounds."""
        unchanged = (
            float(self.kl_symmetric.high) <= METHOD.gate0_kl_upper
            and float(self.agreement.estimate) >= METHOD.gate0_agreement
        )
        return NO_DIFFERENCE if unchanged else DIFFERENT


@dataclass(frozen=True)
class PromptBehavior:
    """How far apart two models' behavior is on each of n prompts; NaN if a prompt has no such prediction."""

    prompt_ids: list[str]
    clusters: npt.NDArray[np.int64]  # (n,)
    kl_symmetric: Floats  # (n,) nats per response token
    agreement: Floats  # (n,) share of response tokens
    gap: Floats  # (n,) G, nats per response token


def pair_gate(store: Store, run_id: str) -> PairGate:
    """The row of `pair_gate` for a run, measured on its confirmation half; the caller stores it.

    Raises:
        AnalysisError: see `measure_behavior`.
    """
    run = store.run(run_id)
    found = measure_behavior(store, run, half="C", seed=run.seed)
    return PairGate(
        run_id=run.id,
        gap=float(found.gap.estimate),
        gap_low=float(found.gap.low),
        gap_high=float(found.gap.high),
        kl_symmetric=float(found.kl_symmetric.estimate),
        kl_low=float(found.kl_symmetric.low),
        kl_high=float(found.kl_symmetric.high),
        agreement=float(found.agreement.estimate),
        n_units=found.n_units,
        verdict=found.verdict,
    )


def measure_behavior(
    store: Store, run: Run, *, half: str = "C", draws: int = METHOD.bootstrap_draws, seed: int = 0
) -> PairBehavior:
    """The three measures of gate 0 on one half of a run.

    A response of m tokens has m predictions: one at the `start` position (for its first token), and one at every
    response position that another token follows. What the last token predicts (an end mark, or nothing) is not counted.
    Both texts share the start position, which is stored once.

    - Symmetric KL of a prediction: 1/2 (KL(t||b) + KL(b||t)). A text's value is the mean over its predictions.
    - Agreement: the share of predictions where both models' most likely tokens are the same.
    - G = 1/2 mean[(l_t - l_b)(y_t) + (l_b - l_t)(y_b)], where l is the log-probability of the token that follows. It
      excludes the first token, whose log-probability is stored for only one of the two texts (the start is read with
      one text): counting it on one side would weight that model's answers. It also excludes tokens that the two
      tokenizers split differently, which have no common log-probability.

    If one answer to a prompt is empty, the other text counts alone. A prompt without any prediction is left out.

    Raises:
        AnalysisError: fewer than two clusters have answers (or answers of two tokens), or there are NaN.
    """
    prompts = prompt_behavior(store, run, half)

    def interval(values: Floats, what: str) -> tuple[Interval, int]:
        present = ~np.isnan(values)
        if len(np.unique(prompts.clusters[present])) < 2:
            raise AnalysisError(
                f"Half {half} has {what} in fewer than two families of prompts.",
                hint="use more prompts or a larger --max-new-tokens",
            )
        found = mean_interval(values[present], prompts.clusters[present], 0.95, draws, seed)
        return found, int(present.sum())

    kl, n_units = interval(prompts.kl_symmetric, "answers")
    agreement, _ = interval(prompts.agreement, "answers")
    gap, _ = interval(prompts.gap, "answers of two tokens or more")
    return PairBehavior(gap, kl, agreement, n_units)


def prompt_behavior(store: Store, run: Run, half: str | None) -> PromptBehavior:
    """The measures of `measure_behavior` for each prompt with a prediction, in one half or (None) in both."""
    table = _read(store, run, half)
    unit = np.asarray(table["unit"].to_numpy(), dtype=np.int64)
    is_target = np.asarray(table["is_target"].to_numpy(zero_copy_only=False), dtype=np.int64)
    units, first, index = np.unique(unit, return_index=True, return_inverse=True)
    text = 2 * index.astype(np.int64) + is_target

    def means(name: str) -> Floats:
        values = np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)  # NULL becomes NaN
        keep = ~np.isnan(values)
        return _unit_means(values[keep], text[keep], len(units))

    clusters = np.asarray(table["cluster"].to_numpy(), dtype=np.int64)[first]
    prompt_ids = [str(name) for name in table["prompt_id"].take(pa.array(first)).to_pylist()]
    return PromptBehavior(prompt_ids, clusters, means("kl"), means("agree"), means("gain"))


def _read(store: Store, run: Run, half: str | None) -> pa.Table:
    """One row per prediction and text; the start position appears once for each text that has a token."""
    return store.arrow(
        "with answers as (select d.*, u.unit, u.cluster from token_divergence d"
        "  join run_unit u on u.run_id = $run and u.prompt_id = d.prompt_id"
        "  where d.run_id = $source and ($half::varchar is null or u.half = $half) and d.author <> 'control'),"
        " texts as (select distinct prompt_id, author from answers where position_class in ('thinking', 'response')),"
        " predictions as ("
        "  select prompt_id, unit, cluster, author, kl_target_base, kl_base_target, agree,"
        "   logprob_target - logprob_base as better from answers"
        "   where position_class in ('thinking', 'response') and next_token_id is not null"
        "  union all select a.prompt_id, a.unit, a.cluster, t.author, a.kl_target_base, a.kl_base_target, a.agree, null"
        "   from answers a join texts t on t.prompt_id = a.prompt_id where a.position_class = 'start')"
        " select prompt_id, unit, cluster, author = 'target' as is_target, (kl_target_base + kl_base_target) / 2 as kl,"
        " agree::double as agree, case when author = 'target' then better else -better end as gain"
        " from predictions order by unit, is_target",
        run=run.id,
        source=run.extraction_run_id,
        half=half,
    )


def _unit_means(values: Floats, text: npt.NDArray[np.int64], n_units: int) -> Floats:
    """(n_units,) means of the texts' means; NaN for a unit without values. `text` is 2 unit + side."""
    counts = np.bincount(text, minlength=2 * n_units).reshape(n_units, 2)
    sums = np.bincount(text, weights=values, minlength=2 * n_units).reshape(n_units, 2)
    texts = (counts > 0).sum(axis=1)
    means: Floats = (sums / np.maximum(counts, 1)).sum(axis=1) / np.maximum(texts, 1)
    means[texts == 0] = np.nan
    return means


def smallest_detectable(n_clusters: int, k: int, alpha: float = METHOD.alpha, power: float = 0.8) -> float:
    """The smallest mean that k tests detect with this power.

    It is in SD over clusters: `(z(1 - alpha / 2k) + z(power)) / sqrt(n)`, the normal approximation with a two-sided
    Bonferroni bound.

    Raises:
        AnalysisError: there are no clusters or no candidates, or the level or power is outside (0, 1).
    """
    if n_clusters < 1 or k < 1 or not 0 < alpha < 1 or not 0 < power < 1:
        raise AnalysisError(
            f"No effect is detectable with n = {n_clusters}, K = {k}, level {alpha} and power {power}: "
            "counts must be at least 1, and the level and power between 0 and 1."
        )
    return float((special.ndtri(1 - alpha / (2 * k)) + special.ndtri(power)) / np.sqrt(n_clusters))


TURNED_BASIS = (
    "The basis differs: the models answer alike, and their activations differ by {apart:.0%} of their size but have "
    "the same geometry (CKA {cka:.2f} in the median layer). One model's residual stream seems to be a rotation of the "
    "other's, so features that moved say nothing about behavior."
)
"""If gate 0 finds no behavioral difference, but the activations are far apart with the same geometry over the prompts
(METHOD section 7, function-preserving edits), features that "moved" only reflect the rotation of the basis."""


def basis_warning(store: Store, run_id: str, gate: PairGate) -> str | None:
    """The warning for a pair in two bases, None for any other pair.

    It reads the run's own layer similarities: the relative difference norm and CKA of equal layers at the answers'
    positions, as medians over layers and sites.
    """
    if gate.verdict != NO_DIFFERENCE:
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
    return TURNED_BASIS.format(**found)
