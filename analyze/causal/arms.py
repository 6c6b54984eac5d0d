"""Patches as files: what is taken from the target and given to the base at some rows of one layer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from analyze.extraction import CLASSES, RESPONSE, BoolArray, Extraction, FloatArray, IntArray
from analyze.features import LayerEffects
from analyze.groups import Group
from analyze.scratch import StoredArray
from analyze.shards import BLOCK, Vectors
from fi_store.dictionaries import scaled_difference
from fi_store.ids import content_id
from fi_store.store import Store, arm_path
from fi_store.vocabulary import ArmKind, Side

Rows = Mapping[Side, Vectors]
"""Both models' activations (N, d) at one layer."""
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Patch:
    """What an arm holds: at `rows`, coefficients @ directions, or the coefficients themselves."""

    kind: ArmKind
    effects: LayerEffects
    classes: tuple[int, ...]  # position classes, ascending
    rows: IntArray  # (r,) ascending
    coefficients: Float32 | StoredArray[np.float32]  # (r, k)
    directions: Float32 | None = None  # (k, d) raw units
    group_id: str | None = None
    # (k,) of the directions, where they are features; -1 for one that does not act in the answer
    latents: IntArray | None = None
    notes: Mapping[str, str] = field(
        default_factory=dict
    )  # what generation needs for positions in the answer

    @cached_property
    def id(self) -> str:
        digest = hashlib.sha256()
        for part in (self.rows, self.coefficients[:], self.directions, self.latents):
            digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        at = (self.kind, self.group_id, self.effects.site, self.effects.layer)
        return content_id("arm", *at, digest.hexdigest())

    @property
    def vectors(self) -> Float32:
        """(r, d) what is taken or given at every row."""
        return self.at(slice(None))

    def at(self, numbers: slice | IntArray) -> Float32:
        """(b, d) what is taken or given at some of the rows, by their numbers among them."""
        coefficients = self.coefficients[numbers]
        return coefficients if self.directions is None else coefficients @ self.directions

    @property
    def lengths(self) -> Float32:
        """(r,) how long that is."""
        starts = range(0, len(self.rows), BLOCK)
        parts = [np.linalg.norm(self.at(slice(start, start + BLOCK)), axis=1) for start in starts]
        return np.concatenate([*parts, np.zeros(0, dtype=np.float32)])

    def write(self, store: Store, run_id: str) -> None:
        """Writes the file of the arm, unless it is there."""
        path = store.folder / arm_path(run_id, self.id)
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, npt.NDArray[Any]] = {
            "rows": self.rows,
            "coefficients": np.ascontiguousarray(self.coefficients[:]),
        }
        if self.directions is not None:
            tensors["directions"] = np.ascontiguousarray(self.directions)
        if self.latents is not None:
            tensors["latents"] = self.latents
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata=dict(self.notes))
        partial.replace(path)


def features_patch(
    kind: ArmKind,
    groups: Sequence[Group],
    extraction: Extraction,
    units: BoolArray,
    dictionary: str,
    leader: str,
) -> Patch:
    """The part of the difference that these groups of one layer carry, at their own positions.

    sum_j (f_j^target - f_j^base) s u_j over the features of the groups whose class the row has. `dictionary`: its
    folder, relative to the store's.
    """
    effects = groups[0].effects
    rows = np.unique(np.concatenate([group.rows(extraction, units) for group in groups]))
    latents = np.unique(np.concatenate([group.latents for group in groups]))
    moved = effects.moved(latents).tocsr()[rows].toarray()
    for group in groups:
        others = [other for other in groups if other.position_class == group.position_class]
        own = np.isin(latents, np.concatenate([other.latents for other in others]))
        here = extraction.rows.position_class[rows] == group.position_class
        moved[np.ix_(here, ~own)] = 0
    directions = effects.directions[torch.from_numpy(latents)].numpy()
    in_answers = [group.latents for group in groups if group.position_class == RESPONSE]
    acting = np.isin(latents, np.concatenate([*in_answers, np.zeros(0, dtype=np.int64)]))
    return Patch(
        kind=kind,
        effects=effects,
        classes=tuple(sorted({group.position_class for group in groups})),
        rows=rows,
        coefficients=StoredArray(moved, extraction.scratch),
        directions=directions.astype(np.float32),
        group_id=leader,
        latents=np.where(acting, latents, -1),
        notes={"dictionary": dictionary, "side_first": effects.anchor},
    )


def control_patch(like: Patch, direction: FloatArray, sign: int, run_id: str) -> Patch:
    """One direction (d,) of length 1 with the length of another patch at every row."""
    return Patch(
        kind="control",
        effects=like.effects,
        classes=like.classes,
        rows=like.rows,
        coefficients=(sign * like.lengths[:, None]).astype(np.float32),
        directions=direction[None].astype(np.float32),
        group_id=like.group_id,
        notes={"like": arm_path(run_id, like.id), "sign": str(sign)},
    )


def layer_patch(
    kind: ArmKind,
    effects: LayerEffects,
    classes: tuple[int, ...],
    both: Rows,
    extraction: Extraction,
    units: BoolArray,
) -> Patch:
    """A patch of a whole layer at some positions: the whole difference, what the dictionary says of it, or its mean.

    The mean is that of each position class over the rows of D.
    """
    rows = rows_of(extraction, classes, units)
    vectors = np.zeros((len(rows), both["base"].shape[1]), dtype=np.float32)
    if kind == "mean_shift":
        for position_class in classes:
            learned = rows_of(extraction, (position_class,), extraction.units.discovery)
            total = sum(part.sum(axis=0, dtype=np.float64) for part in differences(both, learned))
            vectors[extraction.rows.position_class[rows] == position_class] = total / max(1, len(learned))
    else:
        parts = (
            differences(both, rows) if kind == "whole" else _of_dictionary(effects, both, rows, extraction)
        )
        start = 0
        for part in parts:
            vectors[start : start + len(part)] = part
            start += len(part)
    return Patch(kind, effects, classes, rows, StoredArray(vectors, extraction.scratch))


def _of_dictionary(
    effects: LayerEffects, both: Rows, rows: IntArray, extraction: Extraction
) -> Iterator[Float32]:
    """(b, d) what the dictionary says of target - base at some rows, a block after the other."""
    first, second = effects.readers
    for some in torch.split(torch.from_numpy(rows), BLOCK):
        classes = torch.from_numpy(extraction.rows.position_class[some.numpy()].astype(np.int64))
        difference = effects.dictionary.encode_pair(
            (both[first][some], both[second][some]), classes
        ).difference
        assert difference is not None
        yield (difference if second == "target" else -difference).numpy()


def rows_of(extraction: Extraction, classes: Sequence[int], units: BoolArray) -> IntArray:
    """The rows of some position classes in the texts of some units (n,), without control texts, ascending."""
    rows = extraction.rows
    return np.flatnonzero(rows.own & np.isin(rows.position_class, classes) & units[rows.unit])


def differences(both: Rows, rows: IntArray) -> Iterator[Float32]:
    """(b, d) target - base at some rows, a block after the other."""
    for some in torch.split(torch.from_numpy(rows), BLOCK):
        yield scaled_difference((both["base"][some], both["target"][some]), 1.0).numpy()


def arm_row(patch: Patch, run_id: str) -> dict[str, object]:
    """The row of `arm`."""
    return {
        "id": patch.id,
        "run_id": run_id,
        "kind": patch.kind,
        "group_id": patch.group_id,
        "site": patch.effects.site,
        "layer": patch.effects.layer,
        "position_classes": [CLASSES[position_class] for position_class in patch.classes],
        "n_rows": len(patch.rows),
        "n_directions": 0 if patch.directions is None else len(patch.directions),
        "path": arm_path(run_id, patch.id),
    }
