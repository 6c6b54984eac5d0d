"""Rank-one edits at a known layer: from which size on are they found, in the right place, direction and kind?

A *new* direction is random, and pushed one way or the other; an *active* one is a decoder row that a dictionary of an
earlier run found in the base, and must come out as strengthened. What is pushed and when stands in `rank_one.py`. Every
edit goes through the public command with a layer before it, its own and a later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from torch import Tensor, from_numpy

from analyze.extraction import CLASSES, PROMPT
from bench.planted.rank_one import Trigger, make_trigger, random_direction, read_inside, write_edit
from bench.planted.runs import BUNDLED, Finished, Runs, load_settings
from bench.results import Figure, PartResult
from fi_store.dictionaries import load_decoder_rows
from fi_store.prompts import load_suite

COSINE = 0.9
"""Cosine with u from which a result holds it: the first one must, at the largest size."""
SPARSE = (0.02, 0.2)
"""Share of the positions at which an active direction fires in the base."""
ACTIVE = 0.9
"""Share of the active-direction edits that must be called strengthened."""


@dataclass(frozen=True)
class Edit:
    """One edit: `kind` new or active; a negative size pushes against u."""

    name: str
    kind: str
    seed: int  # of its run
    u: Tensor  # (d,) unit
    trigger: Trigger
    size: float


def run(quick: bool, work: Path) -> PartResult:
    """New directions over all sizes, then active ones at the largest, the table and the power curve."""
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
    beside = str(curve.relative_to(work.parent.parent))  # the results file
    return PartResult(figures(judged, judgeable=not quick), {"edits": judged, "curve": beside})


def new_edits(settings: dict[str, Any], triggers: Sequence[Trigger], width: int) -> list[Edit]:
    """Every size along a random direction for each seed; seeds take the signs and the triggers in turn."""
    found = []
    for size in settings["sizes"]:
        for number, seed in enumerate(settings["seeds"]):
            u, trigger = random_direction(width, seed), triggers[number % len(triggers)]
            signed = size if number % 2 == 0 else -size
            found.append(Edit(f"new-{seed}-{signed:+g}", "new", seed, u, trigger, signed))
    return found


def active_edits(
    runs: Runs, run_id: str, settings: dict[str, Any], triggers: Sequence[Trigger]
) -> list[Edit]:
    """Directions at the edited layer that are active in the base, as an earlier run's dictionary has them; what must
    find them again learns its dictionary with another seed.

    The ones that fire most often among those that fire at 2 to 20% of the positions: a direction that is active
    nearly everywhere has two sides, and another dictionary may hold the other one.
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
        directions = [load_decoder_rows(store.folder / row["path"], [row["latent"]])[0] for row in chosen]
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
    asked = {"layers": settings["layers"], "categories": settings["categories"], "seed": edit.seed}
    options = {**settings["options"], **asked}
    return runs.compare(BUNDLED, folder, options)


def judge(runs: Runs, found: Finished, edit: Edit, layer: int) -> dict[str, Any]:
    """What the run says of an edit, as JSON values. Where gate 0 is closed its internal shifts are judged instead.

    `cosine` is that between u and the span of the first result's decoder rows at the edited layer (the first analyzed
    one from it on). A result holds u where it is at least 0.9: `best` is the first that does in the prompts, where the
    edit was planted, or else the first that does, or else the one with the largest cosine; its class, sign and category
    are judged. `others` is what the remaining ones that hold u say of their place, `first` the class of the first that
    holds u in any place, `shams` how many groups the same search confirms on each sham.
    """
    results = found.findings or found.shifts
    members = runs.query("finding_features", found.run_id)
    with runs.open() as store:
        folders = {
            row["layer"]: store.folder / row["path"]
            for row in store.rows("select layer, path from dictionary where run_id = $run", run=found.run_id)
        }
    nearest = min((at for at in folders if at >= layer), default=layer)
    seen = []
    for row in results:
        own = [one for one in members if one["rank"] == row["rank"] and one["layer"] == nearest]
        rows = load_decoder_rows(folders[nearest], [one["latent"] for one in own]) if own else None
        gains = np.asarray([1.0 if one["side"] == "gains" else -1.0 for one in own])
        weights = gains * np.abs([one["weight"] for one in own])
        seen.append((span_cosine(edit.u.numpy(), rows), pushed(edit.u.numpy(), rows, weights), len(own), row))
    best = told(seen)
    return {
        "name": edit.name, "kind": edit.kind, "size": edit.size, "category": edit.trigger.category,
        "run_id": found.run_id, "seconds": found.seconds, "kl": found.gate["kl_symmetric"],
        "reported": bool(found.findings), "confirmed": bool(results), "n_results": len(results),
        "cosine": seen[0][0] if seen else 0.0,
        "best": best and {
            "cosine": best[0], "n_features": best[2], "rank": best[3]["rank"], "change": best[3]["change"],
            "position_class": best[3]["position_class"], "scope": best[3]["scope"], "name": best[3]["name"],
            "sign_right": best[1] * edit.size > 0,
            "category_right": best[3]["categories"][:1] == [edit.trigger.category],
        },
        "first": next((one[3]["change"] for one in seen if one[0] >= COSINE), None),
        "shams": [
                row["n_confirmed"] for row in runs.query("sham_targets", found.run_id) if row["n_confirmed"] is not None
        ],
        "others": [
            {**{key: one[3][key] for key in ("position_class", "change")}, "sign_right": one[1] * edit.size > 0}
            for one in seen if one[0] >= COSINE and one is not best
        ],
        "earliest": min((at for row in results for at in row["layers"]), default=None),
        "layer_right": bool(results) and min(at for row in results for at in row["layers"]) == nearest,
    }  # fmt: skip


def told(
    seen: Sequence[tuple[float, float, int, dict[str, Any]]],
) -> tuple[float, float, int, dict[str, Any]] | None:
    """Of (cosine, ..., row) in the results' order the one that is judged (`judge`)."""
    held = [one for one in seen if one[0] >= COSINE]
    planted = [one for one in held if one[3]["position_class"] == CLASSES[PROMPT]]
    return next(iter([*planted, *held]), max(seen, key=lambda one: one[0], default=None))


def span_cosine(u: np.ndarray, rows: np.ndarray | None) -> float:
    """Cosine between a unit vector (d,) and its projection on the span of rows (r, d); 0 without rows."""
    if rows is None:
        return 0.0
    basis = np.linalg.svd(rows.astype(np.float64), full_matrices=False)[2]
    return float(np.linalg.norm(basis @ u))


def pushed(u: np.ndarray, rows: np.ndarray | None, weights: np.ndarray) -> float:
    """How far the features move along u: > 0 where those that gain point with it, or those that lose against it."""
    return float(weights @ (rows @ u)) if rows is not None else 0.0


def figures(judged: Sequence[dict[str, Any]], *, judgeable: bool) -> list[Figure]:
    """The table of the part; the goals are those of the largest size."""

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
    among = f"first result that holds u, or the nearest: {min(one.get('cosine', 0.0) for one in best):.2f}"
    signs, categories = ([bool(one.get(key)) for one in best] for key in ("sign_right", "category_right"))
    layers = share(own, "layer_right")
    earliest = ", ".join(str(one["earliest"]) for one in own)
    out += [
        Figure(
            "smallest cosine with u, largest size", lowest, "", "at least 0.9", ok(lowest >= COSINE), among
        ),
        Figure(
            "layer right, largest size", layers, "of edits", "1", ok(layers == 1), f"earliest: {earliest}"
        ),
        Figure(
            "sign right, largest size", float(np.mean(signs)), "of edits", "1", ok(all(signs)), elsewhere(own)
        ),
        Figure("category right, largest size", float(np.mean(categories)), "of edits", "", None),
    ]
    active = [one["best"] or {} for one in judged if one["kind"] == "active"]
    if active:
        changes = [one.get("change", "nothing found") for one in active]
        rate = changes.count("strengthened") / len(changes)
        goal = "at least 9 in 10"
        called = "active direction called strengthened"
        said = [one for one in judged if one["kind"] == "active"]
        detail = f"{', '.join(changes)}; {elsewhere(said)}"
        out.append(Figure(called, rate, "of edits", goal, ok(rate >= ACTIVE), detail))
        first = sum(one["first"] == "strengthened" for one in said) / len(said)
        out.append(Figure("the same by the first result that holds it anywhere", first, "of edits", "", None))
    shams = [count > 0 for one in judged for count in one["shams"]]
    if shams:
        of = f"{sum(shams)} of {len(shams)}, floors from the edit's other shams"
        out.append(Figure("shams with a confirmed group", sum(shams) / len(shams), "of shams", "", None, of))
    return out


def elsewhere(judged: Sequence[dict[str, Any]]) -> str:
    """Whether the other results that hold u tell its sign. The push has both signs on prompts without the trigger."""
    signs = [other["sign_right"] for one in judged for other in one["others"]]
    return f"sign right in {sum(signs)} of {len(signs)} further results that hold u"


def share(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Mean of a value over edits."""
    return float(np.mean([float(row[name]) for row in rows]))


def power_curve(judged: Sequence[dict[str, Any]]) -> alt.LayerChart:
    """Detection rate of the new directions against size, for results and for anything that passed gate 2."""
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
