"""What an analysis keeps on disk is what was put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from analyze.scratch import Scratch, StoredArray, StoredColumns


@given(
    blocks=st.lists(st.integers(0, 6), max_size=4),
    columns=st.lists(st.integers(0, 4), max_size=7),
    seed=st.integers(0, 99),
)
def test_columns_are_those_of_the_stacked_blocks(blocks: list[int], columns: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    stored, parts = StoredColumns(5, Scratch()), [np.zeros((0, 5), dtype=np.float32)]
    for rows in blocks:
        parts.append((random.random((rows, 5)) * (random.random((rows, 5)) < 0.4)).astype(np.float32))
        stored.append(sp.csr_array(parts[-1]))
    whole = np.concatenate(parts)
    assert stored.shape == whole.shape
    np.testing.assert_array_equal(stored[:, :].toarray(), whole)
    chosen = np.asarray(columns, dtype=np.int64)
    np.testing.assert_array_equal(stored[:, chosen].toarray(), whole[:, chosen])


def test_arrays_are_read_back_in_parts_and_leave_no_file(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    arrays = [np.arange(12.0).reshape(6, 2), np.zeros((0, 3), dtype=np.float32), np.ones((2, 3)).T[:, ::-1]]
    stored = [StoredArray(array, scratch) for array in arrays]
    for array, found in zip(arrays, stored, strict=True):
        assert (found.shape, found.dtype, len(found)) == (array.shape, array.dtype, len(array))
        for part in (slice(None), slice(1, 3), slice(2, 1), np.arange(len(array))[::2], np.arange(0)):
            np.testing.assert_array_equal(found[part], array[part])
    assert list(tmp_path.iterdir()) == []
