"""What an analysis keeps on disk is what was put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from analyze.scratch import StoredArrays, StoredColumns


@given(
    blocks=st.lists(st.integers(0, 6), max_size=4),
    columns=st.lists(st.integers(0, 4), max_size=7),
    seed=st.integers(0, 99),
)
def test_columns_are_those_of_the_stacked_blocks(blocks: list[int], columns: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    stored, parts = StoredColumns(5, None), [np.zeros((0, 5), dtype=np.float32)]
    for rows in blocks:
        parts.append((random.random((rows, 5)) * (random.random((rows, 5)) < 0.4)).astype(np.float32))
        stored.append(sp.csr_array(parts[-1]))
    whole = np.concatenate(parts)
    assert stored.shape == whole.shape
    np.testing.assert_array_equal(stored[:, :].toarray(), whole)
    chosen = np.asarray(columns, dtype=np.int64)
    np.testing.assert_array_equal(stored[:, chosen].toarray(), whole[:, chosen])


def test_arrays_are_read_back_and_leave_no_file(tmp_path: Path) -> None:
    stored: StoredArrays[str, np.generic] = StoredArrays(tmp_path)
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 3), dtype=np.float32)}
    for name, array in arrays.items():
        stored.add(name, array)
    for name in ("b", "a", "b"):
        np.testing.assert_array_equal(stored[name], arrays[name])
        assert stored[name].dtype == arrays[name].dtype
    assert list(stored) == ["a", "b"]
    assert list(tmp_path.iterdir()) == []
