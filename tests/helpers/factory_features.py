"""The part of `store_factory` that writes similarity, dictionaries, features and their summaries."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa

from fi_store.ids import content_id
from fi_store.store import Store, write_facts
from fi_store.store.tables import facts
from fi_store.store.tables import results as r
from fi_store.store.tables import runs as s
from tests.helpers.planted import CATEGORIES, LAYERS, N_LATENTS, N_LAYERS, PLANTED, Planted


class FeatureRows:
    """Layer similarity, dictionaries, features and summaries of one run; `groups` are the planted changes."""

    store: Store
    run_id: str
    kind: str
    random: random.Random
    halves: list[str]
    features: list[dict[str, Any]]
    groups: list[tuple[str, Planted, list[tuple[str, int, int]]]]

    @property
    def version_1(self) -> bool:
        """Whether the run's results are those of version 1, which tested nothing causally."""
        return self.kind != "different"

    def _similarity(self) -> None:
        size = 0.01 if self.kind == "same" else 1.0
        rows: list[r.LayerSimilarity] = []
        for layer in range(N_LAYERS):
            depth = (layer / (N_LAYERS - 1)) ** 2 * size
            values = {
                "cka": 1 - 0.22 * depth,
                "cosine": 1 - 0.16 * depth,
                "relative_difference": 0.02 * size + 0.55 * depth,
            }
            for metric, value in values.items():
                for shift, position_class in enumerate(("prompt", "start", "response")):
                    value_here = value + 0.01 * shift * depth * (1 if metric == "relative_difference" else -1)
                    width = 0.01 + 0.02 * depth
                    rows.append(
                        r.LayerSimilarity(
                            run_id=self.run_id,
                            source="fi-store",
                            metric=metric,
                            site="resid_post",
                            label=str(layer),
                            position_class=position_class,
                            layer_base=layer,
                            layer_target=layer,
                            value=value_here,
                            ci_low=value_here - width,
                            ci_high=value_here + width,
                            n_units=20,
                        )
                    )
            if layer % 3 == 0:
                for metric, value in (("similarity", 0.97 - 0.2 * depth), ("difference", 0.05 + 0.3 * depth)):
                    rows.append(
                        r.LayerSimilarity(
                            run_id=self.run_id,
                            source="crosscoder-file",
                            metric=metric,
                            site="resid_post",
                            label=f"model.layers.{layer}.weight",
                            position_class="all",
                            layer_base=layer,
                            layer_target=layer,
                            value=value,
                            ci_low=None,
                            ci_high=None,
                            n_units=None,
                        )
                    )
        with self.store.session() as session:
            session.add_all(rows)

    def _features(self) -> None:
        size = 0.02 if self.kind == "same" else 1.0
        rows: list[s.Base] = []
        for layer in LAYERS:
            dictionary_id = content_id("dictionary", self.run_id, layer)
            rows.append(
                r.Dictionary(
                    id=dictionary_id,
                    run_id=self.run_id,
                    kind="paired_sae",
                    site="resid_post",
                    layer=layer,
                    d_model=576,
                    n_latents=N_LATENTS,
                    k=16,
                    seed=0,
                    steps=500,
                    n_rows=2000,
                    path=f"features/{self.run_id}/{layer}",
                    scale=1.3,
                    threshold=0.4,
                    ev_base_d=0.86,
                    ev_target_d=0.85,
                    ev_base_c=0.81,
                    ev_target_c=0.80 - layer / 1000,
                    l0_base=15.8,
                    l0_target=16.2,
                    dead_share=0.11,
                    dark_matter=0.35 + layer / 200,
                    mean_shift=0.22,
                    loss_recovered_base=0.83 if self.version_1 else None,
                    loss_recovered_target=0.82 if self.version_1 else None,
                )
            )
            for latent in range(N_LATENTS):
                theta = self.random.gauss(0, 0.03) * size
                ratio = theta * 12 + self.random.gauss(0, 0.2) * size
                change = (
                    "strengthened"
                    if ratio > 0.6
                    else "weakened"
                    if ratio < -0.6
                    else "shared"
                    if abs(ratio) < 0.3
                    else "undetermined"
                )
                row = {
                    "id": content_id("feature", self.run_id, layer, latent),
                    "run_id": self.run_id,
                    "dictionary_id": dictionary_id,
                    "site": "resid_post",
                    "layer": layer,
                    "latent": latent,
                    "alive": latent % 9 != 8,
                    "n_fire_base": 40 + latent,
                    "n_fire_target": 44 + latent,
                    "scale": 1.0 + latent / 50,
                    "decoder_norm_base": 1.0,
                    "decoder_norm_target": 1.0,
                    "position_class": ("prompt", "start", "response")[latent % 3],
                    "change": change,
                    "log2_ratio": ratio,
                    "theta": theta,
                }
                self.features.append(row)
        self._plant(size)
        rows += [r.Feature(**row) for row in self.features]
        rows += [self._scaling(row) for row in self.features[:6]]
        with self.store.session() as session:
            session.add_all(rows)

    def _scaling(self, feature: dict[str, Any]) -> r.LatentScaling:
        """Every third latent is specific to the target, both as a candidate and in fact; the others are shared."""
        alone = feature["latent"] % 3 == 0
        nu = 0.05 if alone else 0.97
        return r.LatentScaling(
            run_id=self.run_id,
            feature_id=feature["id"],
            candidate="target_only" if alone else "shared",
            relative_norm=0.95 if alone else 0.52,
            owner="target",
            n_tokens=300,
            n_clusters=20,
            **{f"beta_{part}_base": nu for part in ("err", "rec", "act")},
            **{f"beta_{part}_target": 1.0 for part in ("err", "rec", "act")},
            **{f"nu_{part}{end}": nu for part in ("err", "rec") for end in ("", "_low", "_high")},
            specific=alone,
        )

    def _plant(self, size: float) -> None:
        for number, planted in enumerate(PLANTED):
            members = []
            for layer in planted.layers:
                row = next(f for f in self.features if f["layer"] == layer and f["latent"] == number)
                row.update(
                    alive=True,
                    change=planted.change,
                    theta=planted.theta * size,
                    log2_ratio=planted.log2 * size,
                    position_class=planted.position_class,
                )
                members.append((row["id"], layer, number))
            self.groups.append((content_id("group", self.run_id, number), planted, members))

    def _summaries(self) -> None:
        rows: list[dict[str, Any]] = []
        planted = {feature: p for _, p, members in self.groups for feature, _, _ in members}
        for f in self.features:
            strongest = planted[f["id"]].categories if f["id"] in planted else ()
            for half in ("D", "C"):
                for category in ("*", *CATEGORIES):
                    n = self.halves.count(half) if category == "*" else 2
                    theta = f["theta"] * (1.6 if category in strongest else 1.0 if category == "*" else 0.7)
                    base = 0.2 + f["latent"] / 200
                    rows.append(
                        {
                            "run_id": self.run_id,
                            "feature_id": f["id"],
                            "layer": f["layer"],
                            "latent": f["latent"],
                            "position_class": f["position_class"],
                            "category": category,
                            "half": half,
                            "n": n,
                            "n_nonzero": n,
                            "mean_base": base,
                            "mean_target": base * 2 ** f["log2_ratio"],
                            "sum_theta": theta * n,
                            "sumsq_theta": theta * theta * n * 1.3,
                            "max_abs_theta": abs(theta) * 2,
                        }
                    )
        active = [
            {
                "run_id": self.run_id,
                "feature_id": feature,
                "layer": layer,
                "latent": latent,
                "row": row,
                "value_base": 0.1,
                "value_target": 1.5,
            }
            for _, _, members in self.groups
            for feature, layer, latent in members
            for row in range(0, 60, 5)
        ]
        with self.store.session() as session:
            write_facts(
                session, facts.FeatureSummary, pa.Table.from_pylist(rows), replace={"run_id": self.run_id}
            )
            write_facts(
                session,
                facts.FeatureActivation,
                pa.Table.from_pylist(active),
                replace={"run_id": self.run_id},
            )
