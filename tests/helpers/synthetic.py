"""A small extraction with a planted difference, made without a model: rows, units, texts, activations and gradients.

All directions of a random basis but the first fire sparsely in both models. The first is planted: it fires in the
target only (in the base only, if swapped), in the answers to prompts of the category `planted`. Each model finds the
token after it `NATS` less likely in the other's answer than in its own, and the gradients say that this passes along
the planted direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from analyze.extraction import (
    BASE,
    CONTROL,
    PROMPT,
    RESPONSE,
    START,
    TARGET,
    AnswerTokens,
    Extraction,
    Rows,
    Units,
)
from analyze.groups import Residuals
from analyze.shards import Shard
from fi_store.vocabulary import SIDES, Side

WORDS = ["the", " cat", " sat", " on", " mat", ".", " one", " two", " red", " blue", " Plan", " so"]
PUSHED = WORDS.index(" Plan")
ANSWER_TOKENS = 8
COUNTED_TOKENS = ANSWER_TOKENS + 1
"""With the end mark."""
NATS = 1.0
"""By how much the planted direction makes a token of an answer more likely in its own model than in the other one."""
SITE, LAYER = "resid_post", 0


@dataclass
class Synthetic:
    """An extraction and the activations of both models at one layer."""

    extraction: Extraction
    activations: dict[Side, torch.Tensor]
    planted: np.ndarray  # (N,) rows where the planted direction fires
    basis: torch.Tensor  # (d, d) orthonormal; both models are sparse in it

    @property
    def direction(self) -> torch.Tensor:
        """(d,) the planted one."""
        return self.basis[0]


def make(
    n_units: int = 60,
    d: int = 32,
    strength: float = 6.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    says: bool = False,
    folder: Path | None = None,
) -> Synthetic:
    """With `says`, the target's answers contain the word that is pushed, right after each push. `folder`: gradients are
    written there."""
    random = np.random.default_rng(seed)
    unit, author, cls, position, sequence = [], [], [], [], []
    next_sequence = 0
    for u in range(n_units):
        for who in (BASE, TARGET, CONTROL):
            next_position = 4
            classes = [PROMPT] * 5 + [START] if who in (BASE, CONTROL) else []
            classes += [RESPONSE] * ANSWER_TOKENS if who != CONTROL else []
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
    token = random.integers(0, len(WORDS) - 2, n)
    fires = (
        (np.asarray(cls) == RESPONSE) & (categories[np.asarray(unit)] == "planted") & (random.random(n) < 0.8)
    )
    author_of, sequence_of = np.asarray(author), np.asarray(sequence)
    if says:
        same = (sequence_of[:-1] == sequence_of[1:]) & (author_of[:-1] == TARGET)
        token[np.flatnonzero(fires[:-1] & same) + 1] = PUSHED
    rows = Rows(
        unit=np.asarray(unit),
        author=author_of,
        position_class=np.asarray(cls),
        position=np.asarray(position),
        sequence=sequence_of,
        token=token,
        next_token=np.append(token[1:], -1),
        discovery=discovery[np.asarray(unit)],
    )
    pieces = {
        (u, side): [WORDS[t] for t in token[answer_rows(rows, u, side)]]
        for u in range(n_units)
        for side in SIDES
    }
    empty = [""] * n_units
    units = Units(
        prompt_ids=[f"p{u}" for u in range(n_units)],
        clusters=np.arange(n_units),
        categories=categories,
        discovery=discovery,
        questions=empty,
        controls=empty,
        answers={side: ["".join(pieces[u, side]) for u in range(n_units)] for side in SIDES},
        answer_starts=dict.fromkeys(SIDES, np.zeros(n_units, dtype=np.int64)),
        finished=dict.fromkeys(SIDES, np.ones(n_units, dtype=bool)),
    )
    answers = {
        (u, side, reader): AnswerTokens(
            -1.0 - NATS * np.append(False, fires[answer_rows(rows, u, side)]) * (reader != side),
            np.cumsum([*map(len, pieces[u, side]), 0]),
        )
        for u in range(n_units)
        for side in SIDES
        for reader in SIDES
    }
    extraction = Extraction(units, rows, dict(enumerate(WORDS)), {}, {}, answers)
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)))[0]
    shared = torch.from_numpy(random.exponential(2.0, (n, d)) * (random.random((n, d)) < 0.1)).float()
    shared[:, 0] = 0
    base = shared @ basis
    noise = [torch.from_numpy(random.normal(0, 0.05, (n, d))).float() for _ in range(2)]
    target = base + torch.from_numpy(fires.astype(np.float32))[:, None] * strength * basis[0] + noise[0]
    activations: dict[Side, torch.Tensor] = {"base": (base + noise[1]).to(dtype), "target": target.to(dtype)}
    if folder is not None:
        # A token counts half of its nats, per token of its answer: the sum over the rows is the gap.
        along = NATS / (2 * COUNTED_TOKENS * strength) * basis[0]
        answer = torch.from_numpy((rows.position_class == RESPONSE).astype(np.float32))
        own = torch.from_numpy(rows.own.astype(np.float32))
        small = torch.from_numpy(random.normal(0, 1e-4, (2, n, d))).float()
        shards = {}
        for sign, side, nothing in ((-1, "base", small[0]), (1, "target", small[1])):
            path = folder / f"gradients-{side}.safetensors"
            gradients = sign * (answer[:, None] * along + own[:, None] * nothing)
            save_file({"gradients": gradients.contiguous()}, path)
            shards[side, SITE, LAYER] = (Shard(path, n, True),)
        extraction = replace(extraction, gradient_shards=shards)
    return Synthetic(extraction, activations, fires, basis)


def answer_rows(rows: Rows, unit: int, author: Side) -> np.ndarray:
    """The rows of an answer's tokens in their order."""
    own = rows.author == (BASE if author == "base" else TARGET)
    return np.flatnonzero(own & (rows.unit == unit) & (rows.position_class == RESPONSE))


def residuals_of(data: Synthetic) -> Residuals:
    """Both models' rows of the single layer."""
    return Residuals({(side, 0): data.activations[side] for side in SIDES}, data.extraction)


def swapped(data: Synthetic) -> Synthetic:
    """The same pair with base and target swapped."""
    extraction = data.extraction
    author = extraction.rows.author.copy()
    author[extraction.rows.author == BASE] = TARGET
    author[extraction.rows.author == TARGET] = BASE
    other: dict[Side, Side] = {"base": "target", "target": "base"}
    mirrored = replace(
        extraction,
        rows=replace(extraction.rows, author=author),
        units=replace(
            extraction.units,
            answers={side: extraction.units.answers[other[side]] for side in SIDES},
            finished={side: extraction.units.finished[other[side]] for side in SIDES},
        ),
        gradient_shards={
            (other[side], site, layer): shards  # type: ignore[index]
            for (side, site, layer), shards in extraction.gradient_shards.items()
        },
        answers={(u, other[a], other[r]): tokens for (u, a, r), tokens in extraction.answers.items()},
    )
    activations = {side: data.activations[other[side]] for side in SIDES}
    return replace(data, extraction=mirrored, activations=activations)
