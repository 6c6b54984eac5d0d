"""Matches the results of two runs: which are the same, which drifted, which are new and which are gone.

Results are paired one to one so that the sum of their likenesses is largest (an assignment problem). A likeness is the
mean of two parts: the cosine of the groups' decoder directions, if both runs share one space, and the correlation of
their response profiles. Runs of different base models or widths are compared by profile only.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from analyze.compare.profiles import Directions, Profile, ResultGroup, RunResults, load_results
from analyze.extraction import SiteLayer
from fi_store.method import METHOD
from fi_store.store import Store, write_facts
from fi_store.store.tables import FeatureMatch

TIE = 1e-6
"""What an equal change class adds to a likeness: enough to decide ties and nothing else."""

STABLE, DRIFTED, NEW, GONE = "stable", "drifted", "new", "gone"


class MatchRow(NamedTuple):
    """One row of a comparison; a group is None if the other run has nothing like it."""

    number: int  # from 1: the earlier run's results by rank, then the new ones by rank
    group_a: str | None
    group_b: str | None
    status: str  # stable, drifted, new, gone
    direction_cosine: float | None
    profile_correlation: float | None


class Likeness(NamedTuple):
    """How alike two groups are, each part in [-1, 1], or None if it is unknown."""

    cosine: float | None
    correlation: float | None

    @property
    def score(self) -> float:
        """The mean of the known parts; -1 without any."""
        known = [part for part in self if part is not None]
        return sum(known) / len(known) if known else -1.0


def compare_runs(store: Store, run_a: str, run_b: str) -> list[MatchRow]:
    """Matches the results of two analyzed runs, the earlier one first, and writes the rows of `feature_match`.

    Args:
        run_a, run_b: `latest`, an id or a unique prefix.

    Raises:
        NotFoundError, UsageError: there is no such run, or there are several.
        AnalysisError: a run was not analyzed.
    """
    first, second = store.run(run_a), store.run(run_b)
    rows = match_results(load_results(store, first), load_results(store, second))
    keys: dict[str, Any] = {"run_a": first.id, "run_b": second.id}
    columns = {name: [getattr(row, name) for row in rows] for name in MatchRow._fields} if rows else {}
    columns |= {name: [value] * len(rows) for name, value in keys.items()} if rows else {}
    with store.session() as session:
        write_facts(session, FeatureMatch, columns, replace=keys)
    return rows


def match_results(a: RunResults, b: RunResults) -> list[MatchRow]:
    """The pairs with the largest total likeness, then the rest of either run.

    Two results match if their likeness reaches `METHOD.match_minimum`. The match is `stable` if the directions' cosine
    (if unknown, the profiles' correlation) reaches `METHOD.match_stable` and the change class is the same; otherwise it
    is `drifted`.
    """
    same_space = bool(a.lineage & b.lineage) and a.widths == b.widths and len(a.widths) == 1
    shared = a.site_layers & b.site_layers if same_space else frozenset[SiteLayer]()
    table = [[likeness(left, right, shared) for right in b.groups] for left in a.groups]
    changes = [[left.change == right.change for right in b.groups] for left in a.groups]
    partner = _assign(table, changes)
    rows: list[MatchRow] = []
    for i, left in enumerate(a.groups):
        if i not in partner:
            rows.append(MatchRow(len(rows) + 1, left.group_id, None, GONE, None, None))
            continue
        right, found = b.groups[partner[i]], table[i][partner[i]]
        status = _status(found, same_change=left.change == right.change)
        rows.append(MatchRow(len(rows) + 1, left.group_id, right.group_id, status, *found))
    taken = set(partner.values())
    for j, right in enumerate(b.groups):
        if j not in taken:
            rows.append(MatchRow(len(rows) + 1, None, right.group_id, NEW, None, None))
    return rows


def likeness(a: ResultGroup, b: ResultGroup, site_layers: Set[SiteLayer]) -> Likeness:
    """Cosine and profile correlation of two groups of different runs.

    Directions are compared at `site_layers`, where both runs have a dictionary in one space (empty if the runs share
    no model or differ in width).

    Profiles are compared in the position classes of the two groups: prompt by prompt if the runs share at least
    `METHOD.match_shared_prompts` prompts, otherwise category by category. Each is given the sign that makes its group's
    sum positive, so the same features are alike even if they change the other way; the change class says that.
    """
    cosine = None
    if a.direction is not None and b.direction is not None:
        cosine = direction_cosine(_within(a.direction, site_layers), _within(b.direction, site_layers))
    classes = {a.position_class, b.position_class}
    prompts = {name for name, _ in a.by_prompt} & {name for name, _ in b.by_prompt}
    by_prompt = len(prompts) >= METHOD.match_shared_prompts
    left, right = (a.by_prompt, b.by_prompt) if by_prompt else (a.by_category, b.by_category)
    cells = sorted(cell for cell in left.keys() & right.keys() if cell[1] in classes)
    signs = _sign(left, a.position_class) * _sign(right, b.position_class)
    correlation = _correlation(
        np.array([left[cell] for cell in cells]), signs * np.array([right[cell] for cell in cells])
    )
    return Likeness(cosine, correlation)


def direction_cosine(a: Directions, b: Directions) -> float | None:
    """Cosine of two directions that are spread over layers; a layer that only one of them has lowers it.

    None if a direction is zero or empty, or if a shared layer has two widths.
    """
    norms = [np.sqrt(sum(float(vector @ vector) for vector in side.values())) for side in (a, b)]
    shared = a.keys() & b.keys()
    if 0 in norms or any(a[key].shape != b[key].shape for key in shared):
        return None
    product = sum(float(a[key] @ b[key]) for key in shared)
    return float(np.clip(product / (norms[0] * norms[1]), -1, 1))


def _within(direction: Directions, site_layers: Set[SiteLayer]) -> Directions:
    return {key: vector for key, vector in direction.items() if key in site_layers}


def _sign(profile: Profile, position_class: str) -> float:
    return -1.0 if sum(value for (_, name), value in profile.items() if name == position_class) < 0 else 1.0


def _correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float | None:
    """Pearson's r; None with fewer than three cells, or if one side does not vary."""
    if len(x) < 3:
        return None
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip((x @ y) / norm, -1, 1)) if norm > 0 else None


def _assign(table: list[list[Likeness]], same_change: list[list[bool]]) -> dict[int, int]:
    """Row -> column of the accepted pairs.

    Pairs under the minimum are worth nothing, so none is forced. Between equally alike pairs, the one with the same
    change class wins.
    """
    if not table or not table[0]:
        return {}
    score = np.array([[item.score for item in row] for row in table])
    worth = np.where(score >= METHOD.match_minimum, score + TIE * np.array(same_change), 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if worth[i, j] > 0}


def _status(found: Likeness, *, same_change: bool) -> str:
    deciding = found.cosine if found.cosine is not None else found.correlation
    return STABLE if same_change and deciding is not None and deciding >= METHOD.match_stable else DRIFTED
