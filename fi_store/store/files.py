"""Where the files of a store lie, relative to the folder that holds it: one folder a kind, one below it a run."""

from __future__ import annotations

ACTIVATIONS = "activations"
"""The folder of all runs' shards, and the name of the one tensor in a shard."""


def shard_path(run_id: str, reader: str, site: str, layer: int, chunk: int) -> str:
    """The activations of one reader (base, target, sham_0, ...), site, layer and chunk of prompts."""
    return f"{ACTIVATIONS}/{run_id}/{reader}/{site}.{layer:02d}.{chunk:04d}.safetensors"


def dictionary_path(run_id: str, site: str, layer: int) -> str:
    """The folder of the dictionary of a site and layer."""
    return f"{features_path(run_id)}/dictionaries/{site}.{layer:02d}"


def features_path(run_id: str) -> str:
    """The folder of what a run says about features."""
    return f"features/{run_id}"


def visualizations_path(run_id: str) -> str:
    """The folder of a run's charts."""
    return f"visualizations/{run_id}"


def reports_path(run_id: str) -> str:
    """The folder of a run's reports."""
    return f"reports/{run_id}"
