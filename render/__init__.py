"""Turns a run's stored results into charts and reports; loads no model and draws no conclusions of its own."""
