"""extract.probes.answer."""

from __future__ import annotations

from extract.probes.answer import answer_probes

__all__ = [
    "answer_probes",
]
