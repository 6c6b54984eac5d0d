"""Asks a local model or an endpoint to propose names for findings; replies are checked and kept."""

from __future__ import annotations

from extract.naming.namer import Namer

__all__ = ["Namer"]
