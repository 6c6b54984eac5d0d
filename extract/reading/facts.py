"""Turns readings into rows of the store: divergences, summaries, token texts, log-probabilities, gaps, attribution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from extract.reading.attribution import AttributionReading, PairReading
from extract.reading.divergence import VocabularyMap
from extract.texts import ReadSequence

SPACE_MARK = "▁"
"""How sentencepiece vocabularies write a leading space."""


def divergence_table(
    run_id: str,
    chunk: int,
    first_row: int,
    sequences: Sequence[ReadSequence],
    reading: PairReading,
    vocabulary: VocabularyMap,
) -> pa.Table:
    """The rows of `token_divergence` for a chunk, in the same order as the shards' rows."""
    divergence = reading.divergence
    counts = [len(sequence.classes) for sequence in sequences]
    total = sum(counts)
    return pa.table(
        {
            "run_id": pa.repeat(run_id, total),
            "chunk": pa.repeat(pa.scalar(chunk, pa.int32()), total),
            "sequence_id": _repeated([sequence.id for sequence in sequences], counts),
            "prompt_id": _repeated([sequence.prompt_id for sequence in sequences], counts),
            "author": _repeated([sequence.author for sequence in sequences], counts),
            "row": pa.array(np.arange(first_row, first_row + total), pa.int32()),
            "position": pa.array([at for sequence in sequences for at in sequence.base.kept], pa.int32()),
            "position_class": pa.array([name for sequence in sequences for name in sequence.classes]),
            "token_id": pa.array(
                [sequence.base.ids[at] for sequence in sequences for at in sequence.base.kept], pa.int32()
            ),
            "next_token_id": pa.array(
                [token for sequence in sequences for token in sequence.base.next_ids], pa.int32()
            ),
            "logprob_base": _nullable(divergence.logprob_base),
            "logprob_target": _nullable(divergence.logprob_target),
            "kl_target_base": pa.array(divergence.kl_target_base.numpy(), pa.float64()),
            "kl_base_target": pa.array(divergence.kl_base_target.numpy(), pa.float64()),
            "agree": pa.array(divergence.agree.numpy()),
            "promoted_ids": _lists(divergence.promoted_ids, pa.int32()),
            "promoted_kl": _lists(divergence.promoted_kl, pa.float32()),
            "suppressed_ids": _lists(divergence.suppressed_ids, pa.int32()),
            "suppressed_kl": _lists(divergence.suppressed_kl, pa.float32()),
            **(
                {
                    "rest_base": pa.array(divergence.rest_base.double().numpy()),
                    "rest_target": pa.array(divergence.rest_target.double().numpy()),
                }
                if vocabulary.has_rest
                else {}
            ),
        }
    )


def mentioned_tokens(table: pa.Table) -> set[int]:
    """The token ids that a divergence table mentions."""
    found: set[int] = set()
    for name in ("token_id", "next_token_id"):
        found.update(table[name].drop_null().unique().to_pylist())
    for name in ("promoted_ids", "suppressed_ids"):
        found.update(table[name].combine_chunks().flatten().unique().to_pylist())
    return found


def token_table(run_id: str, tokenizer: Any, ids: Iterable[int]) -> pa.Table:
    """The rows of `run_token`. Each id is decoded on its own, and a leading space becomes a real space."""
    ordered = sorted(ids)
    pieces = tokenizer.convert_ids_to_tokens(ordered)
    texts = tokenizer.batch_decode([[token] for token in ordered], clean_up_tokenization_spaces=False)
    return pa.table(
        {
            "run_id": pa.repeat(run_id, len(ordered)),
            "token_id": pa.array(ordered, pa.int32()),
            "text": pa.array(
                [_visible(piece, text) for piece, text in zip(pieces, texts, strict=True)], pa.string()
            ),
        }
    )


def _visible(piece: str | None, text: str) -> str:
    """The text with the leading space that decoding a single sentencepiece token drops."""
    if piece is not None and piece.startswith(SPACE_MARK) and not text.startswith(" "):
        return " " + text
    return text


def summary_table(run_id: str, chunk: int, reading: PairReading) -> pa.Table:
    """The rows of `activation_summary`: one per sequence, site, layer and position class."""
    groups = reading.summaries
    keys, count = groups.keys, len(groups.members)
    width = len(keys) * count
    means_base, means_target = (torch.cat(parts) for parts in zip(*map(groups.means, keys), strict=True))
    norm_base, norm_target, relative, cosine = torch.cat([groups.scalars(key) for key in keys], dim=1)
    members = groups.members * len(keys)
    answers = [sequence.author != "control" for sequence, _ in members]
    return pa.table(
        {
            "run_id": pa.repeat(run_id, width),
            "chunk": pa.repeat(pa.scalar(chunk, pa.int32()), width),
            "sequence_id": pa.array([sequence.id for sequence, _ in members]),
            "prompt_id": pa.array([sequence.prompt_id for sequence, _ in members]),
            "author": pa.array([sequence.author for sequence, _ in members]),
            "site": _repeated([site for site, _ in keys], [count] * len(keys)),
            "layer": pa.array(np.repeat([layer for _, layer in keys], count), pa.int32()),
            "position_class": pa.array([name for _, name in members]),
            "n_tokens": pa.array(np.tile(groups.sizes.numpy(), len(keys)), pa.int32()),
            "norm_base": pa.array(norm_base.double().numpy()),
            "norm_target": pa.array(norm_target.double().numpy()),
            "relative_difference": _nullable(relative),
            "cosine": _nullable(cosine),
            "mean_base": _vectors(means_base, answers),
            "mean_target": _vectors(means_target, answers),
        }
    )


def logprob_table(run_id: str, chunk: int, reading: AttributionReading) -> pa.Table:
    """The rows of `answer_logprob`: one per prompt, author and reader."""
    rows = reading.logprobs
    return pa.table(
        {
            "run_id": pa.repeat(run_id, len(rows)),
            "chunk": pa.repeat(pa.scalar(chunk, pa.int32()), len(rows)),
            "prompt_id": pa.array([row.prompt_id for row in rows], pa.string()),
            "author": pa.array([row.author for row in rows], pa.string()),
            "reader": pa.array([row.reader for row in rows], pa.string()),
            "logprob": pa.array([row.logprob for row in rows], pa.float64()),
            "n_tokens": pa.array([len(row.token_logprobs) for row in rows], pa.int32()),
            "token_logprobs": pa.array([row.token_logprobs for row in rows], pa.list_(pa.float32())),
            "token_ends": pa.array([row.token_ends for row in rows], pa.list_(pa.int32())),
        }
    )


def gap_table(run_id: str, chunk: int, reading: AttributionReading) -> pa.Table:
    """The rows of `answer_gap`: one per prompt."""
    gaps = reading.gaps
    return pa.table(
        {
            "run_id": pa.repeat(run_id, len(gaps)),
            "chunk": pa.repeat(pa.scalar(chunk, pa.int32()), len(gaps)),
            "prompt_id": pa.array([gap.prompt_id for gap in gaps], pa.string()),
            "gap_base": pa.array([gap.base for gap in gaps], pa.float64()),
            "gap_target": pa.array([gap.target for gap in gaps], pa.float64()),
            "gap": pa.array([gap.base + gap.target for gap in gaps], pa.float64()),
        }
    )


def attribution_table(run_id: str, chunk: int, reading: AttributionReading) -> pa.Table:
    """The rows of `attribution`: one per site, layer, prompt, position class and author; none across widths."""
    groups, keys = list(reading.groups), sorted(reading.attribution)
    width = len(keys) * len(groups)
    values = [reading.attribution[key] for key in keys]
    return pa.table(
        {
            "run_id": pa.repeat(run_id, width),
            "chunk": pa.repeat(pa.scalar(chunk, pa.int32()), width),
            "prompt_id": pa.array([group.prompt_id for group in groups] * len(keys), pa.string()),
            "site": _repeated([site for site, _ in keys], [len(groups)] * len(keys)),
            "layer": pa.array(np.repeat([layer for _, layer in keys], len(groups)), pa.int32()),
            "position_class": pa.array([group.position_class for group in groups] * len(keys), pa.string()),
            "author": pa.array([group.author for group in groups] * len(keys), pa.string()),
            "n_tokens": pa.array(list(reading.groups.values()) * len(keys), pa.int32()),
            "attribution": pa.array(torch.cat(values).numpy() if values else [], pa.float64()),
        }
    )


def _vectors(means: Tensor, present: list[bool]) -> pa.Array:
    """Lists of floats. They are empty where `present` is false."""
    lengths = np.where(present, means.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = means[torch.tensor(present)].reshape(-1).numpy()
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, pa.float32()))


def _lists(values: Tensor, kind: Any) -> pa.Array:
    """(n, k) -> n lists of length k."""
    offsets = np.arange(0, values.numel() + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1).numpy()).cast(kind))


def _nullable(values: Tensor) -> pa.Array:
    """NaN becomes NULL."""
    return pa.array(values.double().numpy(), pa.float64(), from_pandas=True)


def _repeated(values: list[str], counts: list[int]) -> pa.Array:
    """Each value as often as its count says."""
    return pa.array(np.repeat(np.array(values, dtype=object), counts), pa.string())
