"""Answers the analysis's requests to run the models again. It does not know what the answers are used for."""

from __future__ import annotations

from extract.probes.answer import Probed, Prober

__all__ = ["Probed", "Prober"]
