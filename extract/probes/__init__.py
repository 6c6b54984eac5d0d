"""Answers the analysis's requests to run the models again under patches. It does not know what the answers mean."""

from __future__ import annotations

from extract.probes.answer import Probed, Prober, answer_probes

__all__ = ["Probed", "Prober", "answer_probes"]
