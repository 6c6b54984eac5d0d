"""Measurements of fi-store: against what was planted, and against what else there is; not part of the package."""
