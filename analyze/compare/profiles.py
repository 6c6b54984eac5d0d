"""What a run's results are recognized by in another run: decoder directions and response profiles.

Both are sums over a group's members with the signed weights that the run stored (a member on the other side of the
group counts negatively). They are read from the store and the dictionary folders, without a model and without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analyze.extraction import SiteLayer
from fi_store.dictionaries import load_directions
from fi_store.errors import AnalysisError
from fi_store.store import Store
from fi_store.store.tables import Model, Run

Directions = Mapping[SiteLayer, npt.NDArray[np.float64]]
"""(d,) per site and layer."""
Cell = tuple[str, str]
"""A prompt (or a category) and a position class."""
Profile = dict[Cell, float]


@dataclass(frozen=True)
class ResultGroup:
    """A result of a run: its group, its change class, and what it is recognized by."""

    group_id: str
    change: str
    position_class: str
    direction: Directions | None  # None without dictionaries
    by_prompt: Profile
    by_category: Profile


@dataclass(frozen=True)
class RunResults:
    """A run's results in order of rank, and the spaces of its directions."""

    groups: list[ResultGroup]
    lineage: frozenset[str]  # its models and the base models of its adapters
    widths: frozenset[int]
    site_layers: frozenset[SiteLayer]  # where it learned dictionaries


def load_results(store: Store, run: Run) -> RunResults:
    """The results of an analyzed run.

    Raises:
        AnalysisError: the run was not analyzed; a dictionary is damaged.
    """
    if not store.rows("select 1 from pair_gate where run_id = $run", run=run.id):
        raise AnalysisError(
            f"Run {run.id} was not analyzed, so it has no results yet.", hint=store.command("analyze", run.id)
        )
    with store.session() as session:
        models = [session.get_one(Model, name) for name in (run.base_model_id, run.target_model_id)]
    found = store.rows(
        "select group_id, change, position_class from finding where run_id = $run order by rank", run=run.id
    )
    directions = _directions(store, run)
    by_prompt = _profiles(store, _BY_PROMPT, run=run.id, source=run.extraction_run_id)
    by_category = _profiles(store, _BY_CATEGORY, run=run.id)
    dictionaries = store.rows("select site, layer from dictionary where run_id = $run", run=run.id)
    groups = [
        ResultGroup(
            group_id=row["group_id"],
            change=row["change"],
            position_class=row["position_class"],
            direction=directions.get(row["group_id"]),
            by_prompt=by_prompt.get(row["group_id"], {}),
            by_category=by_category.get(row["group_id"], {}),
        )
        for row in found
    ]
    lineage = {model.id for model in models} | {
        model.base_model_id for model in models if model.base_model_id
    }
    return RunResults(
        groups,
        frozenset(lineage),
        frozenset(model.d_model for model in models),
        frozenset((row["site"], row["layer"]) for row in dictionaries),
    )


def _directions(store: Store, run: Run) -> dict[str, dict[SiteLayer, npt.NDArray[np.float64]]]:
    """Group -> site and layer -> weighted sum of its members' unit-length decoder rows.

    A group has no direction if the dictionary folder of a member is gone (`fi-store gc`); that is logged.
    """
    members = store.rows(
        "select m.group_id, m.weight, f.site, f.layer, f.latent, d.path from feature_group_member m"
        " join finding r on r.run_id = m.run_id and r.group_id = m.group_id"
        " join feature f on f.id = m.feature_id and f.run_id = m.run_id"
        " join dictionary d on d.id = f.dictionary_id where m.run_id = $run order by m.group_id, f.id",
        run=run.id,
    )
    wanted: dict[str, list[int]] = {}
    for member in members:
        wanted.setdefault(member["path"], []).append(member["latent"])
    rows: dict[tuple[str, int], npt.NDArray[np.float32]] = {}
    missing = set()
    for path, latents in wanted.items():
        if (store.folder / path).is_dir():
            loaded = load_directions(store.folder / path, latents)
            rows.update(zip(((path, latent) for latent in latents), loaded, strict=True))
        else:
            missing.add(path)
    if missing:
        message = f"{len(missing)} dictionaries are gone; results are matched across runs by profile alone."
        store.event(run.id, "analyze", "warning", message, detail={"paths": sorted(missing)})
    directions: dict[str, dict[SiteLayer, npt.NDArray[np.float64]]] = {}
    for member in members:
        if member["path"] in missing:
            continue
        vector = member["weight"] * rows[member["path"], member["latent"]].astype(np.float64)
        sums = directions.setdefault(member["group_id"], {})
        key = (member["site"], member["layer"])
        sums[key] = sums[key] + vector if key in sums else vector
    incomplete = {member["group_id"] for member in members if member["path"] in missing}
    return {group: sums for group, sums in directions.items() if group not in incomplete}


_MEMBERS = (
    "with members as (select m.group_id, m.feature_id, m.weight, f.scale from feature_group_member m"
    " join finding r on r.run_id = m.run_id and r.group_id = m.group_id"
    " join feature f on f.id = m.feature_id and f.run_id = m.run_id where m.run_id = $run and f.scale > 0)"
)

_BY_PROMPT = (
    # A group's theta per prompt and position class (METHOD section 4): the mean over a text's tokens, then over texts.
    f"{_MEMBERS}, tokens as (select row, prompt_id, author, position_class from token_divergence"
    "  where run_id = $source and author <> 'control'),"
    " texts as (select prompt_id, position_class, author, count(*) as n,"
    "  count(*) over (partition by prompt_id, position_class) as texts"
    "  from tokens group by prompt_id, position_class, author),"
    " sums as (select m.group_id, t.prompt_id, t.position_class, t.author,"
    "  sum(m.weight * (a.value_target - a.value_base) / m.scale) as total"
    "  from feature_activation a join members m on m.feature_id = a.feature_id"
    "  join tokens t on t.row = a.row where a.run_id = $run"
    "  group by m.group_id, t.prompt_id, t.position_class, t.author)"
    " select g.group_id, x.prompt_id as cell, x.position_class,"
    "  sum(coalesce(s.total, 0) / x.n / x.texts) as value"
    " from texts x cross join (select distinct group_id from members) g"
    " left join sums s on s.group_id = g.group_id and s.prompt_id = x.prompt_id"
    "  and s.position_class = x.position_class and s.author = x.author"
    " group by g.group_id, x.prompt_id, x.position_class"
)

_BY_CATEGORY = (
    f"{_MEMBERS}, means as (select s.feature_id, s.category, s.position_class,"
    "  sum(s.sum_theta) / sum(s.n) as theta from feature_summary s where s.run_id = $run and s.category <> '*'"
    "  group by s.feature_id, s.category, s.position_class)"
    " select m.group_id, x.category as cell, x.position_class, sum(m.weight * x.theta) as value"
    " from members m join means x on x.feature_id = m.feature_id"
    " group by m.group_id, x.category, x.position_class"
)


def _profiles(store: Store, sql: str, **parameters: str) -> dict[str, Profile]:
    profiles: dict[str, Profile] = {}
    for row in store.rows(sql, **parameters):
        profiles.setdefault(row["group_id"], {})[row["cell"], row["position_class"]] = row["value"]
    return profiles
