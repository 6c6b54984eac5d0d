"""Batches of texts, and the forward passes that read them. What texts have in common is read only once.

If all texts open with the same tokens, the opening has a pass of its own. If different answers follow the same prompt,
prompts are read before answers. Each pass continues from the keys and values of the pass before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from extract.reading.prefix import shared_length

LENGTH_STEP = 8
"""Passes are padded to multiples of this length, because kernels are rebuilt for every new shape."""
BATCH_TOKENS = 2048
"""The limit on a batch's padded tokens, counted as if its texts were read whole."""


@dataclass(frozen=True)
class Level:
    """What one forward pass reads: right-padded parts of texts, each continuing a row of the pass before it.

    parent: (n,) int64, those rows. ids, positions: (n, T) int64. mask: (n, P + T) int64, which includes the P tokens of
    earlier passes. rows, columns: (k,) int64, the kept positions in this pass. indices: (k,) int64, their indices among
    all kept positions of the batch, ascending. last: no pass continues this one. send_positions: they do not follow
    from the mask.
    """

    parent: Tensor
    ids: Tensor
    positions: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor
    indices: Tensor
    last: bool = True
    send_positions: bool = False


class _Part(NamedTuple):
    """A text's tokens from `start` to `end`, as a row of a pass. Several texts may share the row."""

    row: int
    parent: int
    start: int
    end: int


@dataclass(frozen=True)
class Batch:
    """Texts as token ids, the kept positions of each, and the lengths of their prompts (`stems`)."""

    ids: Sequence[Sequence[int]]
    kept: Sequence[Sequence[int]]
    stems: Sequence[int]
    device: torch.device | str

    @property
    def n_kept(self) -> int:
        """The number of kept positions in all texts."""
        return sum(map(len, self.kept))

    def levels(self, *, share: bool, branch: bool, together: bool = True) -> list[Level]:
        """The passes of the batch, in order. Without `share` and `branch` it is one pass over whole texts.

        share: the model lets texts share the keys and values of a common opening without kept positions.
        branch: equal texts are one row, and so are equal prompts of different answers.
        together: if not, every text has a pass of its own, without padding.

        Raises:
            ValueError: a kept position is outside its text.
        """
        texts = [tuple(text) for text in self.ids]
        if together:
            levels = self._levels(texts, share=share, branch=branch)
        else:
            parts = ({number: _Part(0, 0, 0, len(text))} for number, text in enumerate(texts))
            levels = [self._level(texts, part, None, padded=False) for part in parts]
        if sum(len(level.indices) for level in levels) != self.n_kept:
            raise ValueError("a kept position is outside its text")
        return levels

    def _levels(self, texts: Sequence[tuple[int, ...]], *, share: bool, branch: bool) -> list[Level]:
        """The passes over texts that are read together."""
        ends = self._ends(texts, share=share, branch=branch)
        levels: list[Level] = []
        n_levels = max(map(len, ends))
        parts: dict[int, _Part] = {}
        for depth in range(n_levels):
            known: dict[object, int] = {}
            following: dict[int, _Part] = {}
            for number, end in enumerate(ends):
                if depth < len(end):
                    before = parts.get(number, _Part(0, 0, 0, 0))
                    merged = branch or depth + 1 < len(end)
                    content = before.end, texts[number][: end[depth]] if merged else number
                    row = known.setdefault(content, len(known))
                    following[number] = _Part(row, before.row, before.end, end[depth])
            parts = following
            previous, last = levels[-1] if levels else None, depth + 1 == n_levels
            # A single row needs no padding if another pass follows.
            level = self._level(texts, parts, previous, padded=last or len(known) > 1)
            levels.append(replace(level, last=last, send_positions=branch and n_levels > 1))
        return levels

    def _ends(self, texts: Sequence[tuple[int, ...]], *, share: bool, branch: bool) -> list[list[int]]:
        """Where the parts of each text end, one part for each pass."""
        ends = [[len(text)] for text in texts]
        if branch:
            prompts = {text[:stem] for text, stem in zip(texts, self.stems, strict=True)}
            if len(prompts) < len(set(texts)):
                ends = [sorted({stem, len(text)}) for text, stem in zip(texts, self.stems, strict=True)]
        if share:
            # The opening leaves at least one token of each text's next part, and the text's first kept position.
            limits = (min([end[0] - 1, *kept[:1]]) for end, kept in zip(ends, self.kept, strict=True))
            opening = shared_length(texts, min(limits))
            ends = [[opening, *end] for end in ends] if opening else ends
        return ends

    def _level(
        self, texts: Sequence[tuple[int, ...]], parts: dict[int, _Part], before: Level | None, *, padded: bool
    ) -> Level:
        by_row = {part.row: number for number, part in parts.items()}
        longest = max(part.end - part.start for part in parts.values())
        width = padded_length(longest) if padded else longest
        ids = torch.zeros(len(by_row), width, dtype=torch.long)
        mask = torch.zeros(len(by_row), width, dtype=torch.long)
        positions = torch.zeros(len(by_row), width, dtype=torch.long)
        for row, number in by_row.items():
            part = parts[number]
            length = part.end - part.start
            ids[row, :length] = torch.tensor(texts[number][part.start : part.end])
            mask[row, :length] = 1
            # Padding repeats the last position, because higher ones may be more than the model has.
            positions[row] = torch.arange(part.start, part.start + width).clamp(max=part.end - 1)
        parent = torch.tensor([parts[by_row[row]].parent for row in range(len(by_row))])
        if before is not None:
            mask = torch.cat([before.mask.cpu()[parent], mask], 1)
        kept = torch.tensor(self._kept_in(parts), dtype=torch.long).reshape(-1, 3).T
        tensors = (parent, ids, positions, mask, *kept)
        return Level(*(tensor.to(self.device) for tensor in tensors))

    def _kept_in(self, parts: dict[int, _Part]) -> list[tuple[int, int, int]]:
        """(row, column, index) of the kept positions in these parts."""
        found = []
        index = 0
        for number, positions in enumerate(self.kept):
            part = parts.get(number)
            for position in positions:
                if part is not None and part.start <= position < part.end:
                    found.append((part.row, position - part.start, index))
                index += 1
        return found


def plan_batches(lengths: Sequence[int], texts: Sequence[int], tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """Groups prompts of similar length into batches of at most `tokens` padded tokens; returns the prompts' numbers.

    Each prompt has `texts` texts of at most `lengths` tokens, counted as if each were read whole.
    """
    groups: list[list[int]] = []
    count = 0
    for number in sorted(range(len(lengths)), key=lambda item: (lengths[item], item)):
        # The prompts are sorted by length, so the newest member is the longest of its group.
        if groups and (count + texts[number]) * padded_length(lengths[number]) <= tokens:
            groups[-1].append(number)
            count += texts[number]
        else:
            groups.append([number])
            count = texts[number]
    return groups


def padded_length(length: int) -> int:
    """The length that `length` tokens are padded to."""
    return max(LENGTH_STEP, -(-length // LENGTH_STEP) * LENGTH_STEP)
