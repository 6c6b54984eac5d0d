"""The paths of a store's files, relative to its folder: one folder for each kind, and in it one for each run."""

from __future__ import annotations

from fi_store.vocabulary import ShardKind

ACTIVATIONS = "activations"
"""The folder for all runs' shards, those of gradients included."""


def shard_path(run_id: str, kind: ShardKind, reader: str, site: str, layer: int, chunk: int) -> str:
    """The shard of one kind, reader (base, target), site, layer and chunk of prompts."""
    what = "" if kind == "activation" else f"{kind}."
    return f"{ACTIVATIONS}/{run_id}/{reader}/{what}{site}.{layer:02d}.{chunk:04d}.safetensors"


def dictionary_path(run_id: str, site: str, layer: int) -> str:
    """The folder with the dictionary for a site and layer."""
    return f"{features_path(run_id)}/dictionaries/{site}.{layer:02d}"


def arm_path(run_id: str, arm_id: str) -> str:
    """The file of a patch."""
    return f"{features_path(run_id)}/arms/{arm_id}.safetensors"


def features_path(run_id: str) -> str:
    """The folder with a run's dictionaries and feature files."""
    return f"features/{run_id}"


def naming_path(key: str) -> str:
    """The file of what a language model proposed, shared by all runs."""
    return f"naming/{key}.json"


def visualizations_path(run_id: str) -> str:
    """The folder with a run's charts."""
    return f"visualizations/{run_id}"


def reports_path(run_id: str) -> str:
    """The folder with a run's reports."""
    return f"reports/{run_id}"
