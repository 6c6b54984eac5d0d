"""A small extraction with a planted difference, made without a model: rows, units, texts and activations.

All directions of a random basis but the first fire sparsely in both models. The first is planted: it fires in the
target only (in the base only, if swapped), in the answers to prompts of the category `planted`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from analyze.extraction import BASE, CONTROL, PROMPT, RESPONSE, START, TARGET, Extraction, Rows, Units
from analyze.groups import Residuals

WORDS = ["the", " cat", " sat", " on", " mat", ".", " one", " two", " red", " blue", " Plan", " so"]
PUSHED = WORDS.index(" Plan")


@dataclass
class Synthetic:
    """An extraction and the activations of its readers at one layer."""

    extraction: Extraction
    activations: dict[str, torch.Tensor]
    planted: np.ndarray  # (N,) rows where the planted direction fires
    direction: torch.Tensor  # (d,)


def make(
    n_units: int = 60,
    d: int = 32,
    strength: float = 6.0,
    seed: int = 0,
    dtype=torch.float32,
    says: bool = False,
) -> Synthetic:
    """With `says`, the target's answers contain the word that is pushed, right after each push."""
    random = np.random.default_rng(seed)
    unit, author, cls, position, sequence = [], [], [], [], []
    next_sequence = 0
    for u in range(n_units):
        for who in (BASE, TARGET, CONTROL):
            next_position = 4
            classes = [PROMPT] * 5 + [START] if who in (BASE, CONTROL) else []
            classes += [RESPONSE] * 8 if who != CONTROL else []
            for c in classes:
                unit.append(u)
                author.append(who)
                cls.append(c)
                position.append(next_position)
                sequence.append(next_sequence)
                next_position += 1
            next_sequence += 1
    n = len(unit)
    categories = np.asarray(
        ["planted" if u % 3 == 0 else "other" if u % 3 == 1 else "third" for u in range(n_units)]
    )
    discovery = random.permutation(n_units) % 2 == 0
    empty = [""] * n_units
    units = Units(
        prompt_ids=[f"p{u}" for u in range(n_units)],
        clusters=np.arange(n_units),
        categories=categories,
        discovery=discovery,
        questions=empty,
        controls=empty,
        answers={"base": empty, "target": empty},
        finished=dict.fromkeys(("base", "target"), np.ones(n_units, dtype=bool)),
    )
    token = random.integers(0, len(WORDS) - 2, n)
    fires = (
        (np.asarray(cls) == RESPONSE) & (categories[np.asarray(unit)] == "planted") & (random.random(n) < 0.8)
    )
    author_of, sequence_of = np.asarray(author), np.asarray(sequence)
    if says:
        same = (sequence_of[:-1] == sequence_of[1:]) & (author_of[:-1] == TARGET)
        token[np.flatnonzero(fires[:-1] & same) + 1] = PUSHED
    promoted = np.tile(np.asarray([[0, 1]]), (n, 1))
    promoted[fires] = [PUSHED, 0]
    kl = np.where(fires[:, None], [[0.9, 0.05]], [[0.05, 0.05]]).astype(np.float32)
    rows = Rows(
        unit=np.asarray(unit),
        author=author_of,
        position_class=np.asarray(cls),
        position=np.asarray(position),
        sequence=sequence_of,
        token=token,
        next_token=np.append(token[1:], -1),
        promoted_ids=promoted,
        promoted_kl=kl,
        suppressed_ids=np.tile(np.asarray([[2, 3]]), (n, 1)),
        suppressed_kl=np.full((n, 2), 0.05, dtype=np.float32),
        discovery=discovery[np.asarray(unit)],
    )
    extraction = Extraction(units, rows, dict(enumerate(WORDS)), ("base", "target", "sham_0"), {})
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)))[0]
    shared = torch.from_numpy(random.exponential(2.0, (n, d)) * (random.random((n, d)) < 0.1)).float()
    shared[:, 0] = 0
    base = shared @ basis
    noise = [torch.from_numpy(random.normal(0, 0.05, (n, d))).float() for _ in range(3)]
    target = base + torch.from_numpy(fires.astype(np.float32))[:, None] * strength * basis[0] + noise[0]
    read = extraction.rows_read("sham_0")
    activations = {"base": base + noise[1], "target": target, "sham_0": (base + noise[2])[read]}
    return Synthetic(extraction, {k: v.to(dtype) for k, v in activations.items()}, fires, basis[0])


def residuals_of(data: Synthetic) -> Residuals:
    """Both models' rows of the single layer."""
    return Residuals(
        {(reader, 0): data.activations[reader] for reader in ("base", "target")}, data.extraction
    )


def swapped(data: Synthetic) -> Synthetic:
    """The same pair with base and target swapped."""
    rows = data.extraction.rows
    author = rows.author.copy()
    author[rows.author == BASE], author[rows.author == TARGET] = TARGET, BASE
    mirrored = replace(
        rows,
        author=author,
        promoted_ids=rows.suppressed_ids,
        promoted_kl=rows.suppressed_kl,
        suppressed_ids=rows.promoted_ids,
        suppressed_kl=rows.promoted_kl,
    )
    activations = dict(data.activations)
    activations["base"], activations["target"] = data.activations["target"], data.activations["base"]
    return replace(data, extraction=replace(data.extraction, rows=mirrored), activations=activations)
