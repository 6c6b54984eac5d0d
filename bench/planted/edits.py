"""Rank-one edits at a known layer: from what size are they found, with the right direction, layer, sign and class?

A *new* direction is random, and pushed one way or the other. An *active* one is a decoder row that a dictionary of an
earlier run found in the base; its features must come out as strengthened. `rank_one.py` defines what is pushed and
when. Every edit goes through the public command, which analyzes the edited layer, one before it and one after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from torch import Tensor, from_numpy

from bench.planted.rank_one import Trigger, make_trigger, random_direction, read_inside, write_edit
from bench.planted.runs import BUNDLED, Finished, Runs, load_settings
from bench.results import Figure, PartResult
from fi_store.dictionaries import load_directions
from fi_store.prompts import load_suite

COSINE = 0.9
"""Cosine with the planted direction from which a finding holds it."""
JUDGED = 0.4
"""The smallest size for which the goals hold."""
SPARSE = (0.02, 0.2)
"""Share of the positions at which an active direction fires in the base, at least and at most."""
ACTIVE = 0.9
"""Share of the edits of active directions that must be called strengthened inside."""
ARMS = """
select group_id, layer, path from arm where run_id = $run and kind = 'change' order by layer, id
"""


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
    """New directions at all sizes, then active ones at the largest."""
    settings = load_settings("edits", quick=quick)
    runs = Runs(work)
    prompts = load_suite((), settings["categories"], settings["options"]["limit_per_category"]).prompts
    inside = read_inside(BUNDLED, prompts, settings["layer"], runs.cache_dir)
    triggers = [make_trigger(inside, category) for category in settings["categories"]]
    width = inside.residual.shape[1]
    judged = []
    for edit in new_edits(settings, triggers, width):
        judged.append(judge(runs, compare(runs, edit, settings), edit, settings["layer"]))
    for edit in active_edits(runs, judged[0]["run_id"], settings, triggers):
        judged.append(judge(runs, compare(runs, edit, settings), edit, settings["layer"]))
    return PartResult(figures(judged, judgeable=not quick), {"edits": judged})


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


def compare(runs: Runs, edit: Edit, settings: dict[str, Any]) -> Finished:
    """Writes an edit's adapter and compares the base with it."""
    folder = runs.work / "edits" / edit.name
    write_edit(folder, BUNDLED, settings["layer"], edit.trigger, edit.u, edit.size)
    own = {"layers": settings["layers"], "categories": settings["categories"], "seed": edit.seed}
    options = {**settings["options"], **own}
    return runs.compare(BUNDLED, folder, options)


def judge(runs: Runs, finished: Finished, edit: Edit, layer: int) -> dict[str, Any]:
    """What the run says of an edit, as JSON values: its first finding, and the first that holds the direction.

    A finding is judged by its patch at the edited layer, or else at the first layer after it where it has one.
    """
    arms = runs.rows(ARMS, finished.run_id)
    found = []
    for row in finished.findings:
        own = [arm for arm in arms if arm["group_id"] == row["group_id"]]
        path = next((arm["path"] for arm in own if arm["layer"] >= layer), own[-1]["path"])
        overlap = overlap_with(edit.u.numpy(), runs.store_path.parent / path)
        found.append(
            {
                **{key: row[key] for key in ("rank", "name", "change", "change_inside", "share_closed")},
                **overlap,
                "sign_right": overlap["push"] * edit.size > 0,
                "layer_right": own[0]["layer"] == layer,
            }
        )
    first = found[0] if found else None
    holding = next((each for each in found if each["span"] >= COSINE), first)
    return {
        "name": edit.name, "kind": edit.kind, "size": edit.size, "category": edit.trigger.category,
        "run_id": finished.run_id, "seconds": finished.seconds, "kl": finished.gate["kl_symmetric"],
        "findings": len(found), "first": first, "holding": holding,
    }  # fmt: skip


def overlap_with(u: np.ndarray, path: Path) -> dict[str, float]:
    """How a patch's file lies to u (d,), of length 1.

    `cosine`: of u with the strongest direction of what the patch moves; `span`: with the nearest direction that its
    features can make; `push`: the sum over rows of what it moves along u, positive if the target has more.
    """
    patch = load_file(path)
    moved = patch["coefficients"].astype(np.float64) @ patch["directions"]
    strongest = np.linalg.eigh(moved.T @ moved)[1][:, -1]
    basis = np.linalg.svd(patch["directions"].astype(np.float64), full_matrices=False)[2]
    return {
        "cosine": float(abs(strongest @ u)),
        "span": float(np.linalg.norm(basis @ u)),
        "push": float((moved @ u).sum()),
    }


def figures(judged: Sequence[dict[str, Any]], *, judgeable: bool) -> list[Figure]:
    """The table of this part; the quick form judges nothing."""
    new = [one for one in judged if one["kind"] == "new"]
    out = []
    for size in sorted({abs(one["size"]) for one in new}):
        own = [one for one in new if abs(one["size"]) == size]
        kl = float(np.mean([one["kl"] for one in own]))
        detail = f"mean KL {kl:.2g} nats per token"
        out.append(Figure(f"found: size {size:g}", share(own, bool), "of edits", "", None, detail))
    large = [one for one in new if abs(one["size"]) >= JUDGED]
    cosines = [one["first"]["cosine"] if one["first"] else 0.0 for one in large]
    spans = ", ".join(f"{one['first']['span']:.2f}" for one in large if one["first"])
    layers = share(large, lambda first: first["layer_right"])
    signs = share(large, lambda first: first["sign_right"])
    active = [one["holding"] for one in judged if one["kind"] == "active"]
    inside = [row["change_inside"] if row else "nothing found" for row in active]
    rate = inside.count("strengthened") / max(1, len(inside))
    for name, value, unit, goal, holds, detail in (
        ("first finding, smallest cosine", min(cosines), "", f">= {COSINE}", min(cosines) >= COSINE, f"spans {spans}"),
        ("first finding, earliest layer right", layers, "of edits", "all", layers == 1, ""),
        ("first finding, sign right", signs, "of edits", "all", signs == 1, ""),
        ("active direction called strengthened inside", rate, "of edits", f">= {ACTIVE}", rate >= ACTIVE,
         ", ".join(inside)),
    ):  # fmt: skip
        out.append(Figure(name, value, unit, goal, holds if judgeable else None, detail))
    return out


def share(judged: Sequence[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> float:
    """The share of edits with a first finding for which something holds."""
    return float(np.mean([one["first"] is not None and holds(one["first"]) for one in judged]))
