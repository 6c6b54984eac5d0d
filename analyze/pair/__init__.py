"""Both models as wholes: gate 0, grades and accuracy, layer similarity, discrimination; knows no features."""

from __future__ import annotations

from analyze.pair.discrimination import write_discrimination
from analyze.pair.gate import basis_warning, pair_gate, smallest_detectable
from analyze.pair.grades import write_grades
from analyze.pair.outside import read_crosscoder_file
from analyze.pair.similarity import write_similarity

__all__ = [
    "basis_warning",
    "pair_gate",
    "read_crosscoder_file",
    "smallest_detectable",
    "write_discrimination",
    "write_grades",
    "write_similarity",
]
