"""What an analysis keeps on disk while it lasts: arrays, and the columns of sparse matrices, in files without names."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

K = TypeVar("K")
V = TypeVar("V", bound=np.generic)

ENTRY = np.dtype([("row", np.int32), ("value", np.float32)])
"""A nonzero of a column."""


class StoredColumns:
    """An (N, m) sparse float32 matrix on disk, written some rows at a time, of which columns are read.

    It is gone when nothing refers to it any more.
    """

    def __init__(self, m: int, folder: Path | None) -> None:
        self._file = _unnamed_file(self, folder)
        self._starts: list[npt.NDArray[np.int64]] = []  # by block: (m + 1,) where its columns begin
        self._size = 0  # entries
        self.shape = (0, m)

    def append(self, block: sp.csr_array) -> None:
        """Writes the next rows (b, m)."""
        columns = sp.csc_array(block)
        columns.sort_indices()
        entries = np.empty(columns.nnz, dtype=ENTRY)
        entries["row"], entries["value"] = columns.indices + self.shape[0], columns.data
        self._file.seek(self._size * ENTRY.itemsize)
        self._file.write(entries.tobytes())
        self._starts.append(columns.indptr.astype(np.int64) + self._size)
        self._size += columns.nnz
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
        parts = []
        for starts in self._starts:
            first, end = int(starts[number]), int(starts[number + 1])
            if end > first:
                self._file.seek(first * ENTRY.itemsize)
                parts.append(self._file.read((end - first) * ENTRY.itemsize))
        return np.frombuffer(b"".join(parts), dtype=ENTRY)


class StoredArrays(Mapping[K, npt.NDArray[V]]):
    """Arrays on disk by name. Each is read anew whenever it is asked for, and gone when nothing refers to them."""

    def __init__(self, folder: Path | None) -> None:
        self._file = _unnamed_file(self, folder)
        self._places: dict[K, int] = {}

    def add(self, key: K, array: npt.NDArray[V]) -> None:
        """Writes an array."""
        self._places[key] = self._file.seek(0, 2)
        np.save(self._file, array, allow_pickle=False)

    def __getitem__(self, key: K) -> npt.NDArray[V]:
        self._file.seek(self._places[key])
        found: npt.NDArray[V] = np.load(self._file, allow_pickle=False)
        return found

    def __iter__(self) -> Iterator[K]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _unnamed_file(owner: object, folder: Path | None) -> IO[bytes]:
    """A file that is closed, and so gone, with its owner."""
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (its owner closes it)
    weakref.finalize(owner, file.close)
    return file
