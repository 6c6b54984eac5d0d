"""What an analysis keeps on disk while it lasts: arrays, and columns of sparse matrices, in a file without a name."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

V = TypeVar("V", bound=np.generic)

ENTRY = np.dtype([("row", np.int32), ("value", np.float32)])
"""A nonzero of a column."""


class Scratch:
    """A file that only grows, and is gone when nothing refers to it any more. `folder`: None for the system's."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it is closed with its owner)
        weakref.finalize(self, self._file.close)

    def append(self, array: npt.NDArray[Any]) -> int:
        """Writes an array; returns the byte at which it begins."""
        start = self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(array).data if array.size else b"")
        return start

    def read(self, start: int, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """(count,) numbers from a byte on."""
        self._file.seek(start)
        return np.frombuffer(self._file.read(count * dtype.itemsize), dtype=dtype)


class StoredArray(Generic[V]):
    """An (n, k) array on disk; what is indexed, by a slice or by ascending row numbers, is read."""

    def __init__(self, array: npt.NDArray[V], scratch: Scratch) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self._scratch, self._start = scratch, scratch.append(array)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[V]:
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            return self._range(first, max(first, end))
        if not len(rows):
            return self._range(0, 0)
        first = int(rows[0])
        return self._range(first, int(rows[-1]) + 1)[rows - first]

    def _range(self, first: int, end: int) -> npt.NDArray[V]:
        width = self.shape[1]
        start = self._start + first * width * self.dtype.itemsize
        found: npt.NDArray[V] = self._scratch.read(start, (end - first) * width, self.dtype)
        return found.reshape(end - first, width)


class StoredColumns:
    """An (N, m) sparse float32 matrix on disk, written some rows at a time, of which columns are read."""

    def __init__(self, m: int, scratch: Scratch) -> None:
        self.shape = (0, m)
        self._scratch = scratch
        self._blocks: list[
            tuple[int, npt.NDArray[np.int32]]
        ] = []  # byte, (m + 1,) entries before each column

    def append(self, block: sp.csr_array) -> None:
        """Writes the next rows (b, m)."""
        columns = sp.csc_array(block)
        columns.sort_indices()
        entries = np.empty(columns.nnz, dtype=ENTRY)
        entries["row"], entries["value"] = columns.indices + self.shape[0], columns.data
        self._blocks.append((self._scratch.append(entries), columns.indptr.astype(np.int32)))
        self.shape = (self.shape[0] + block.shape[0], self.shape[1])

    def __getitem__(self, key: tuple[slice, slice | npt.NDArray[np.int64]]) -> sp.csc_array:
        """(N, c) of all rows; the second part of the key names the columns."""
        columns = np.arange(self.shape[1])[key[1]]
        parts = [self._column(int(column)) for column in columns]
        entries = np.concatenate([*parts, np.empty(0, dtype=ENTRY)])
        ends = np.cumsum([0, *map(len, parts)])
        return sp.csc_array((entries["value"], entries["row"], ends), shape=(self.shape[0], len(columns)))

    def _column(self, number: int) -> npt.NDArray[Any]:
        """The entries of a column, in the order of the rows."""
        parts = [np.empty(0, dtype=ENTRY)]
        for byte, starts in self._blocks:
            first, end = int(starts[number]), int(starts[number + 1])
            if end > first:
                parts.append(self._scratch.read(byte + first * ENTRY.itemsize, end - first, ENTRY))
        return np.concatenate(parts)
