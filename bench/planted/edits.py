"""Rank-one edits at a known layer: from what size are they found, with the right layer, direction, sign and class?

A *new* direction is random, and pushed one way or the other. An *active* one is a decoder row that a dictionary of an
earlier run found in the base; it must come out as strengthened. `rank_one.py` defines what is pushed and when. Every
edit goes through the public command, which analyzes the edited layer, one before it and one after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
from torch import Tensor, from_numpy

from analyze.extraction import CLASSES, PROMPT
from bench.planted.rank_one import Trigger, make_trigger, random_direction, read_inside, write_edit
from bench.planted.runs import BUNDLED, Finished, Runs, load_settings
from bench.results import Figure, PartResult
from fi_store.dictionaries import load_directions
from fi_store.prompts import load_suite

COSINE = 0.9
"""Cosine with u from which a result holds u; at the largest size the first result must."""
SPARSE = (0.02, 0.2)
"""Share of the positions at which an active direction fires in the base, at least and at most."""
ACTIVE = 0.9
"""Share of the active-direction edits that must be called strengthened."""


@dataclass(frozen=True)
class Edit:
    """One edit: `kind` new or active; a negative size pushes against u."""

    name: str
    kind: str
    seed: int  # of its run
    u: Tensor  # (d,) unit length
    trigger: Trigger
    size: float


def run(quick: bool, work: Path) -> PartResult:
    """New directions at all sizes, then active ones at the largest; the table and the power curve."""
    settings = load_settings("edits", quick=quick)
    runs = Runs(work)
    prompts = load_suite((), settings["categories"], settings["options"]["limit_per_category"]).prompts
    inside = read_inside(BUNDLED, prompts, settings["layer"], runs.cache_dir)
    triggers = [make_trigger(inside, category) for category in settings["categories"]]
    width = inside.residual.shape[1]
    judged = []
    for edit in new_edits(settings, triggers, width):
        judged.append(judge(runs, make(runs, edit, settings), edit, settings["layer"]))
    for edit in active_edits(runs, judged[0]["run_id"], settings, triggers):
        judged.append(judge(runs, make(runs, edit, settings), edit, settings["layer"]))
    curve = work / "power.svg"
    power_curve(judged).save(curve)
    relative = str(curve.relative_to(work.parent.parent))  # to the folder of the results file
    return PartResult(figures(judged, judgeable=not quick), {"edits": judged, "curve": relative})


def new_edits(settings: dict[str, Any], triggers: Sequence[Trigger], width: int) -> list[Edit]:
    """Each size along one random direction per seed; signs and triggers alternate over the seeds."""
    made = []
    for size in settings["sizes"]:
        for number, seed in enumerate(settings["seeds"]):
            u, trigger = random_direction(width, seed), triggers[number % len(triggers)]
            signed = size if number % 2 == 0 else -size
            made.append(Edit(f"new-{seed}-{signed:+g}", "new", seed, u, trigger, signed))
    return made


def active_edits(
    runs: Runs, run_id: str, settings: dict[str, Any], triggers: Sequence[Trigger]
) -> list[Edit]:
    """Edits along directions at the edited layer that an earlier run's dictionary found active in the base.

    The run that must find them again learns its dictionary with another seed. Taken are those that fire most often
    among those that fire at 2 to 20% of the positions: a direction that is active nearly everywhere has two sides, and
    another dictionary may hold the other one.
    """
    with runs.open() as store:
        chosen = store.rows(
            "select f.latent, d.path from feature f join dictionary d on d.id = f.dictionary_id"
            " where f.run_id = $run and f.layer = $layer and f.alive"
            " and f.n_fire_base between $rare * d.n_rows and $dense * d.n_rows"
            " order by f.n_fire_base desc, f.latent limit $k",
            rare=SPARSE[0],
            dense=SPARSE[1],
            run=run_id,
            layer=settings["layer"],
            k=settings["active"],
        )
        directions = [load_directions(store.folder / row["path"], [row["latent"]])[0] for row in chosen]
    size, seed = settings["sizes"][-1], settings["seeds"][-1]
    return [
        Edit(
            f"active-{number}-{size:+g}",
            "active",
            seed,
            from_numpy(u),
            triggers[number % len(triggers)],
            size,
        )
        for number, u in enumerate(directions)
    ]


def make(runs: Runs, edit: Edit, settings: dict[str, Any]) -> Finished:
    """Writes an edit's adapter and compares the base with it."""
    folder = runs.work / "edits" / edit.name
    write_edit(folder, BUNDLED, settings["layer"], edit.trigger, edit.u, edit.size)
    own = {"layers": settings["layers"], "categories": settings["categories"], "seed": edit.seed}
    options = {**settings["options"], **own}
    return runs.compare(BUNDLED, folder, options)


class Overlap(NamedTuple):
    """How far one result of a run contains an edit's direction u."""

    cosine: float  # between u and the span of the result's decoder rows
    push: float  # along u, see `push_along`
    n_features: int
    row: dict[str, Any]


def judge(runs: Runs, finished: Finished, edit: Edit, layer: int) -> dict[str, Any]:
    """What the run reports about an edit, as JSON values; its internal shifts are judged if gate 0 is closed.

    Cosines are between u and the span of a result's decoder rows at the edited layer, or else at the first analyzed
    layer after it; `cosine` is the first result's. A result holds u if its cosine is at least 0.9. `best` is the result
    whose class, sign and category are judged (`judged_result`). `others` are the other results that hold u, with their
    position class, `first` is the class of the first result that holds u in any position class, and `shams` counts the
    groups that the same search confirms on each sham.
    """
    results = finished.findings or finished.shifts
    members = runs.query("finding_features", finished.run_id)
    with runs.open() as store:
        folders = {
            row["layer"]: store.folder / row["path"]
            for row in store.rows(
                "select layer, path from dictionary where run_id = $run", run=finished.run_id
            )
        }
    nearest = min((at for at in folders if at >= layer), default=layer)
    u = edit.u.numpy()
    overlaps = []
    for row in results:
        features = [one for one in members if one["rank"] == row["rank"] and one["layer"] == nearest]
        rows = load_directions(folders[nearest], [one["latent"] for one in features]) if features else None
        gains = np.asarray([1.0 if one["side"] == "gains" else -1.0 for one in features])
        weights = gains * np.abs([one["weight"] for one in features])
        overlaps.append(Overlap(span_cosine(u, rows), push_along(u, rows, weights), len(features), row))
    best = judged_result(overlaps)
    return {
        "name": edit.name, "kind": edit.kind, "size": edit.size, "category": edit.trigger.category,
        "run_id": finished.run_id, "seconds": finished.seconds, "kl": finished.gate["kl_symmetric"],
        "reported": bool(finished.findings), "confirmed": bool(results), "n_results": len(results),
        "cosine": overlaps[0].cosine if overlaps else 0.0,
        "best": best and {
            "cosine": best.cosine, "n_features": best.n_features,
            **{key: best.row[key] for key in ("rank", "change", "position_class", "scope", "name")},
            "sign_right": best.push * edit.size > 0,
            "category_right": best.row["categories"][:1] == [edit.trigger.category],
        },
        "first": next((one.row["change"] for one in overlaps if one.cosine >= COSINE), None),
        "shams": [
            row["n_confirmed"] for row in runs.query("sham_targets", finished.run_id) if row["n_confirmed"] is not None
        ],
        "others": [
            {**{key: one.row[key] for key in ("position_class", "change")}, "sign_right": one.push * edit.size > 0}
            for one in overlaps if one.cosine >= COSINE and one is not best
        ],
        "earliest": min((at for row in results for at in row["layers"]), default=None),
        "layer_right": bool(results) and min(at for row in results for at in row["layers"]) == nearest,
    }  # fmt: skip


def judged_result(overlaps: Sequence[Overlap]) -> Overlap | None:
    """The result by which an edit is judged, out of all in their order.

    It is the first that holds u in the prompts, where the edit was planted; or else the first that holds u; or else the
    one with the largest cosine.
    """
    holding = [one for one in overlaps if one.cosine >= COSINE]
    in_prompts = [one for one in holding if one.row["position_class"] == CLASSES[PROMPT]]
    return next(iter([*in_prompts, *holding]), max(overlaps, key=lambda one: one.cosine, default=None))


def span_cosine(u: np.ndarray, rows: np.ndarray | None) -> float:
    """Cosine between u (d,), of length 1, and its projection on the span of rows (r, d); 0 without rows."""
    if rows is None:
        return 0.0
    basis = np.linalg.svd(rows.astype(np.float64), full_matrices=False)[2]
    return float(np.linalg.norm(basis @ u))


def push_along(u: np.ndarray, rows: np.ndarray | None, weights: np.ndarray) -> float:
    """How far the features move along u: > 0 if those that gain point along u, or those that lose against it."""
    return float(weights @ (rows @ u)) if rows is not None else 0.0


def figures(judged: Sequence[dict[str, Any]], *, judgeable: bool) -> list[Figure]:
    """The table of this part; goals hold for the largest size."""

    def ok(holds: bool) -> bool | None:
        return holds if judgeable else None

    out = []
    for size in sorted({abs(one["size"]) for one in judged if one["kind"] == "new"}):
        own = [one for one in judged if one["kind"] == "new" and abs(one["size"]) == size]
        detail = (
            f"confirmed inside {share(own, 'confirmed'):.2f}, mean KL {share(own, 'kl'):.2g} nats per token"
        )
        out.append(Figure(f"reported: size {size:g}", share(own, "reported"), "of edits", "", None, detail))
    largest = max(abs(one["size"]) for one in judged)
    own = [one for one in judged if one["kind"] == "new" and abs(one["size"]) == largest]
    best = [one["best"] or {} for one in own]
    lowest = min(one["cosine"] for one in own)
    of_judged = (
        f"first result that holds u, or the nearest: {min(one.get('cosine', 0.0) for one in best):.2f}"
    )
    signs, categories = ([bool(one.get(key)) for one in best] for key in ("sign_right", "category_right"))
    layers = share(own, "layer_right")
    earliest = ", ".join(str(one["earliest"]) for one in own)
    out += [
        Figure(
            "smallest cosine with u, largest size",
            lowest,
            "",
            "at least 0.9",
            ok(lowest >= COSINE),
            of_judged,
        ),
        Figure(
            "layer right, largest size", layers, "of edits", "1", ok(layers == 1), f"earliest: {earliest}"
        ),
        Figure(
            "sign right, largest size", float(np.mean(signs)), "of edits", "1", ok(all(signs)), elsewhere(own)
        ),
        Figure("category right, largest size", float(np.mean(categories)), "of edits", "", None),
    ]
    active = [one for one in judged if one["kind"] == "active"]
    if active:
        changes = [(one["best"] or {}).get("change", "nothing found") for one in active]
        rate = changes.count("strengthened") / len(changes)
        goal = "at least 9 in 10"
        name = "active direction called strengthened"
        detail = f"{', '.join(changes)}; {elsewhere(active)}"
        out.append(Figure(name, rate, "of edits", goal, ok(rate >= ACTIVE), detail))
        first = sum(one["first"] == "strengthened" for one in active) / len(active)
        out.append(Figure("the same by the first result that holds it anywhere", first, "of edits", "", None))
    shams = [count > 0 for one in judged for count in one["shams"]]
    if shams:
        detail = f"{sum(shams)} of {len(shams)}, floors from the edit's other shams"
        out.append(
            Figure("shams with a confirmed group", sum(shams) / len(shams), "of shams", "", None, detail)
        )
    return out


def elsewhere(judged: Sequence[dict[str, Any]]) -> str:
    """How often the other results that hold u get its sign right; without the trigger a push has both signs."""
    signs = [other["sign_right"] for one in judged for other in one["others"]]
    return f"sign right in {sum(signs)} of {len(signs)} further results that hold u"


def share(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Mean of a value over edits."""
    return float(np.mean([float(row[name]) for row in rows]))


def power_curve(judged: Sequence[dict[str, Any]]) -> alt.LayerChart:
    """Detection rate of the new directions by size, for results and for everything that passed gate 2."""
    new = [one for one in judged if one["kind"] == "new"]
    rows = [
        {"size": size, "what": what, "rate": share([one for one in new if abs(one["size"]) == size], key)}
        for size in sorted({abs(one["size"]) for one in new})
        for what, key in (("reported as a result", "reported"), ("confirmed inside", "confirmed"))
    ]
    count = len(new) // len({abs(one["size"]) for one in new})
    title = alt.Title("Rank-one edits that are found", subtitle=f"{count} directions of each size")
    base = alt.Chart(alt.InlineData(values=rows), title=title).encode(
        x=alt.X("size:Q", scale=alt.Scale(type="log"), title="push, share of the residual stream's length"),
        y=alt.Y("rate:Q", scale=alt.Scale(domain=[0, 1]), title="share of edits"),
        color=alt.Color("what:N", title=None),
    )
    return alt.LayerChart(layer=[base.mark_line(), base.mark_point(filled=True, size=60)])
