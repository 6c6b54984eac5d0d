"""The rows of dictionaries, latent scaling, groups and their members."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from analyze.features import PARTS, LayerEffects
from analyze.groups import Group
from analyze.write.keys import dictionary_id, feature_id
from fi_store.method import METHOD
from fi_store.store import Store, dictionary_path


def dictionary_row(store: Store, run_id: str, effects: LayerEffects) -> dict[str, Any]:
    config, quality = effects.dictionary.config, effects.quality
    return {
        "id": dictionary_id(run_id, effects),
        "run_id": run_id,
        "kind": config.kind,
        "site": config.site,
        "layer": config.layer,
        "d_model": config.d_model,
        "n_latents": config.n_latents,
        "k": config.k,
        "seed": config.seed,
        "steps": config.steps,
        "n_rows": config.n_rows,
        "path": dictionary_path(run_id, config.site, config.layer),
        "scale": config.scale,
        "threshold": config.threshold,
        "ev_base_d": quality.explained["base", "D"],
        "ev_target_d": quality.explained["target", "D"],
        "ev_base_c": quality.explained["base", "C"],
        "ev_target_c": quality.explained["target", "C"],
        "l0_base": quality.l0["base"],
        "l0_target": quality.l0["target"],
        "dead_share": quality.dead_share,
        "dark_matter": quality.dark_matter,
        "mean_shift": quality.mean_shift,
        "loss_recovered_base": None,
        "loss_recovered_target": None,
    }


def group_rows(
    run_id: str,
    groups: Sequence[Group],
    leaders: Mapping[str, str],
    tested: Collection[str],
    recurrences: Mapping[str, float],
) -> list[dict[str, Any]]:
    """One row per group, in the order of D.

    `leaders`: group's id -> the id of the group that leads its change. `tested`: ids of groups in changes that were
    tested on C. `recurrences`: share of the other seeds by id; empty with one seed.
    """
    return [
        {
            "id": group.id,
            "run_id": run_id,
            "number": number,
            "position_class": group.class_name,
            "layers": [group.effects.layer],
            "n_features": len(group.members),
            "attributed": group.attributed,
            "share": group.share,
            "selected": group.id in tested,
            "leader_id": leader if (leader := leaders.get(group.id)) != group.id else None,
            "recurrence": recurrences.get(group.id),
        }
        for number, group in enumerate(groups, start=1)
    ]


def member_rows(run_id: str, group: Group) -> list[dict[str, Any]]:
    return [
        {
            "group_id": group.id,
            "feature_id": feature_id(run_id, group.effects, member.latent),
            "run_id": run_id,
            "weight": member.weight * member.sign * group.direction,
            "side": "gains" if member.sign > 0 else "loses",
        }
        for member in group.members
    ]


def scaling_rows(run_id: str, layers: Sequence[LayerEffects]) -> list[dict[str, Any]]:
    """Latent scaling of every crosscoder latent that fires on C; no rows for other kinds."""
    rows = []
    for effects in layers:
        if effects.scaling is None:
            continue
        sums, nu = effects.scaling.sums, effects.scaling.nu
        base, target = effects.side("base"), effects.side("target")
        norms = [effects.dictionary.decoder(side).norm(dim=1).double().numpy() for side in (base, target)]
        relative = ((norms[1] - norms[0]) / np.maximum(np.maximum(*norms), 1e-12) + 1) / 2
        betas = {
            f"beta_{part}_{name}": sums.beta(part, side)
            for part in PARTS
            for name, side in (("base", base), ("target", target))
        }
        limits = {
            f"nu_{part}{end}": nu[part][i] for part in nu for i, end in enumerate(("", "_low", "_high"))
        }
        for latent in np.flatnonzero(sums.tokens):
            rows.append(
                {
                    "run_id": run_id,
                    "feature_id": feature_id(run_id, effects, int(latent)),
                    "candidate": _candidate(float(relative[latent])),
                    "relative_norm": float(relative[latent]),
                    "owner": effects.readers[int(sums.own[latent])],
                    "n_tokens": int(sums.tokens[latent]),
                    "n_clusters": int(sums.clusters[latent]),
                    **{name: float(values[latent]) for name, values in betas.items()},
                    **{
                        name: float(values[latent]) if np.isfinite(values[latent]) else None
                        for name, values in limits.items()
                    },
                    "specific": effects.scaling.specific(int(latent)),
                }
            )
    return rows


def _candidate(relative_norm: float) -> str:
    """What the decoders' norms alone suggest (Minder et al. 2025, section 2)."""
    if abs(relative_norm - 0.5) <= METHOD.relative_norm_shared:
        return "shared"
    if relative_norm > METHOD.relative_norm_specific:
        return "target_only"
    return "base_only" if relative_norm < 1 - METHOD.relative_norm_specific else "between"
