"""When a group fires: the predicate that best separates its rows, chosen on D and scored once on C.

A name has two parts. *When* is a predicate, judged by its AUC against random and hard negatives (METHOD section 6);
*what* are the tokens that the group pushes, measured at its positions. A group whose *when* fails a threshold keeps its
*what* and counts as unnamed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analyze.extraction import CONTROL, BoolArray, Extraction, FloatArray, IntArray
from analyze.groups import Group
from analyze.names.predicates import Contexts, Predicate, atoms_without_words
from analyze.stats import cluster_counts
from fi_store.method import METHOD

QUANTILES = 5
PER_CLUSTER = 3
"""Most positives per cluster and quantile."""
WORDS = 24
"""How many of the most typical tokens (and next tokens) become atoms."""
PAIRED = 12
"""How many of the best atoms are joined in pairs."""
STORED = 5
"""How many candidates are stored per group."""
MIN_STRATUM = 8
"""How many negatives (and positives) a stratum needs. All negatives are of the group's own position class. Strata: R
random, T the same token, P another position of the same text, K control texts."""


@dataclass(frozen=True)
class Score:
    """AUC of a predicate on one part of the data; limits are one-sided 95% from a cluster bootstrap."""

    auc: Mapping[str, float]  # stratum -> AUC
    low: Mapping[str, float]
    n: Mapping[str, int]  # number of negatives
    hard: float | None  # mean AUC over the hard strata that apply to this kind of name
    hard_low: float | None


@dataclass(frozen=True)
class NameCandidate:
    """A predicate with its selection score on D and, if it was chosen, its scores on C."""

    predicate: Predicate
    discovery_low: float  # lower limit of AUC on the second inner half of D
    score: Score | None
    named: bool
    baseline: float  # AUC on C against random negatives of the best single token or sequence part


@dataclass(frozen=True)
class _Sample:
    """Positive rows and negative rows by stratum."""

    positives: IntArray
    negatives: Mapping[str, IntArray]


def name_group(
    group: Group,
    extraction: Extraction,
    contexts: Contexts,
    seed: int,
    more: Sequence[Predicate] = (),
) -> list[NameCandidate]:
    """Candidates, the chosen one first; none if the group fires too rarely.

    `more`: predicates in addition to those of the grammar, such as the concept bank's.
    """
    activity = group.activity("target" if group.direction > 0 else "base", group.direction)
    rows, units = extraction.rows, extraction.units
    # 0: first half of D, 1: second half of D, 2: C
    inner = _inner_half(units.clusters, units.discovery, seed)[rows.unit]
    samples = [
        _sample(activity, group, extraction, contexts, inner == part, seed + part) for part in range(3)
    ]
    if any(sample is None for sample in samples):
        return []
    first, second, confirmation = (sample for sample in samples if sample is not None)
    atoms = [*atoms_without_words(), *_word_atoms(first, contexts), *more]
    ranked = _rank(_joined(_rank(atoms, first, contexts)[:PAIRED]) + atoms, first, contexts)[: 4 * PAIRED]
    clusters = units.clusters[rows.unit]
    scored = [(_score(p, second, contexts, clusters, seed), p) for p in ranked]
    scored.sort(key=lambda item: (-item[0].low.get("R", 0.0) - (item[0].hard_low or 0.0), len(item[1].parts)))
    baseline = _baseline(first, confirmation, contexts)
    out = []
    for number, (score, predicate) in enumerate(scored[:STORED]):
        final = _score(predicate, confirmation, contexts, clusters, seed) if number == 0 else None
        named = final is not None and _passes(final, baseline)
        out.append(NameCandidate(predicate, score.low.get("R", 0.0), final, named, baseline))
    return out


def _passes(score: Score, baseline: float) -> bool:
    """The thresholds of METHOD section 6."""
    return (
        score.low.get("R", 0.0) >= METHOD.name_auc_random_low
        and (score.hard_low or 0.0) >= METHOD.name_auc_hard_low
        and score.auc["R"] >= baseline + METHOD.name_margin
    )


def _inner_half(clusters: IntArray, discovery: BoolArray, seed: int) -> IntArray:
    """(n,) 0 and 1 for the inner halves of D by cluster, 2 for C."""
    labels = np.unique(clusters[discovery])
    first = np.random.default_rng(seed).permutation(labels)[: len(labels) // 2]
    return np.where(discovery, np.where(np.isin(clusters, first), 0, 1), 2)


def _sample(
    activity: FloatArray,
    group: Group,
    extraction: Extraction,
    contexts: Contexts,
    inside: BoolArray,
    seed: int,
) -> _Sample | None:
    """Positives from five activation quantiles, at most three per cluster and quantile, and as many negatives."""
    rows, random = extraction.rows, np.random.default_rng(seed)
    fires = activity > 0
    pool = np.flatnonzero(inside & fires & rows.own & (rows.position_class == group.position_class))
    if len(pool) < MIN_STRATUM:
        return None
    quantile = np.digitize(
        activity[pool], np.quantile(activity[pool], np.linspace(0, 1, QUANTILES + 1)[1:-1])
    )
    taken: Counter[tuple[int, int]] = Counter()
    positives = []
    for index in random.permutation(len(pool)):
        key = (int(extraction.units.clusters[rows.unit[pool[index]]]), int(quantile[index]))
        if taken[key] < PER_CLUSTER:
            taken[key] += 1
            positives.append(pool[index])
    chosen = np.sort(np.asarray(positives))
    silent = inside & ~fires & (rows.position_class == group.position_class)
    words = np.unique(contexts.words[chosen])
    masks = {
        "R": silent & rows.own,
        "T": silent & rows.own & np.isin(contexts.words, words),
        "P": silent & rows.own & np.isin(rows.sequence, rows.sequence[chosen]),
        "K": silent & (rows.author == CONTROL),
    }
    negatives = {}
    for stratum, mask in masks.items():
        found = np.flatnonzero(mask)
        if len(found) >= MIN_STRATUM:
            negatives[stratum] = np.sort(
                random.choice(found, size=min(len(found), len(chosen)), replace=False)
            )
    return _Sample(chosen, negatives) if "R" in negatives else None


def _word_atoms(sample: _Sample, contexts: Contexts) -> list[Predicate]:
    """Tokens that are more frequent at (and after) positives than at random negatives: each alone, and in sets."""
    atoms = []
    for kind, words in (("token", contexts.words), ("next", contexts.next_words)):
        inside, outside = Counter(words[sample.positives]), Counter(words[sample.negatives["R"]])
        gain = {
            w: inside[w] / len(sample.positives) - outside[w] / len(sample.negatives["R"])
            for w in inside
            if w
        }
        best = [
            str(w) for w, g in sorted(gain.items(), key=lambda item: (-item[1], item[0]))[:WORDS] if g > 0
        ]
        atoms += [Predicate(kind, (word,)) for word in best]  # type: ignore[arg-type]
        atoms += [Predicate(kind, tuple(best[:size])) for size in (2, 3, 5, 8) if len(best) >= size]  # type: ignore[arg-type]
    return atoms


def _joined(atoms: list[Predicate]) -> list[Predicate]:
    """AND of atoms of different kinds; OR of two lines or two questions."""
    out = []
    for a, b in combinations((atom for atom in atoms if not atom.parts), 2):
        if a.kind != b.kind:
            out.append(Predicate("and", parts=(a, b)))
        elif a.kind in ("line", "question"):
            out.append(Predicate("or", parts=(a, b)))
    return out


def _rank(predicates: list[Predicate], sample: _Sample, contexts: Contexts) -> list[Predicate]:
    """Sorted by mean AUC over the strata, best first; on a tie, atoms before pairs."""

    def key(predicate: Predicate) -> tuple[float, int, str]:
        holds = contexts.evaluate(predicate)
        hits = holds[sample.positives].mean()
        aucs = [(1 + hits - holds[negatives].mean()) / 2 for negatives in sample.negatives.values()]
        return -float(np.mean(aucs)), len(predicate.parts), predicate.phrase

    return sorted(set(predicates), key=key)


def _score(predicate: Predicate, sample: _Sample, contexts: Contexts, clusters: IntArray, seed: int) -> Score:
    """AUC = (1 + hit rate - false alarm rate) / 2 by stratum, lower limits by resampling clusters."""
    holds = contexts.evaluate(predicate).astype(np.float64)
    auc, draws, n = {}, {}, {}
    for stratum, negatives in sample.negatives.items():
        labels = np.unique(clusters[np.concatenate([sample.positives, negatives])])
        counts = cluster_counts(len(labels), METHOD.bootstrap_draws, seed)
        rates = [
            _drawn_rate(counts, labels, clusters[part], holds[part]) for part in (sample.positives, negatives)
        ]
        draws[stratum] = (1 + rates[0] - rates[1]) / 2
        auc[stratum] = float((1 + holds[sample.positives].mean() - holds[negatives].mean()) / 2)
        n[stratum] = len(negatives)
    low = {stratum: float(np.nanquantile(values, METHOD.alpha)) for stratum, values in draws.items()}
    judged = [s for s in (("P", "K") if predicate.lexical else ("T", "P", "K")) if s in auc]
    if not judged:
        return Score(auc, low, n, None, None)
    hard = float(np.mean([auc[s] for s in judged]))
    hard_low = float(np.nanquantile(np.mean([draws[s] for s in judged], axis=0), METHOD.alpha))
    return Score(auc, low, n, hard, hard_low)


def _drawn_rate(counts: FloatArray, labels: IntArray, clusters: IntArray, holds: FloatArray) -> FloatArray:
    """(draws,) share of rows where a predicate holds, with whole clusters drawn `counts` (draws, labels) times."""
    index = np.searchsorted(labels, clusters)
    hits = counts @ np.bincount(index, weights=holds, minlength=len(labels))
    total = counts @ np.bincount(index, minlength=len(labels))
    return np.asarray(np.divide(hits, total, out=np.full(len(total), np.nan), where=total > 0))


def _baseline(first: _Sample, confirmation: _Sample, contexts: Contexts) -> float:
    """AUC on C against random negatives of the best token of D, or of the best part of the sequence."""
    singles = [p for p in _word_atoms(first, contexts) if len(p.value) == 1]
    singles = _rank(singles, first, contexts)[:1]
    parts = [p for p in atoms_without_words() if p.kind == "place"]
    found = []
    for predicate in [*singles, *parts]:
        holds = contexts.evaluate(predicate)
        found.append(
            (1 + holds[confirmation.positives].mean() - holds[confirmation.negatives["R"]].mean()) / 2
        )
    return float(max(found))
