"""Runs the public command for the planted measurements: one store, one cache, each run made once.

`ledger.json` in the work folder keeps the result of each finished run, so that a measurement that was stopped continues
where it left off.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.planted.judge import ORGANISMS
from fi_store.store import Store, run_query

SETTINGS = ORGANISMS / "settings.yaml"
BUNDLED = "bundled:smollm2"


class CommandError(RuntimeError):
    """A `fi-store` command failed; the message contains what it printed."""


@dataclass(frozen=True)
class Finished:
    """A finished run: its id, seconds, rows of `top_findings`, and the row of `pair_gate`."""

    run_id: str
    seconds: float
    findings: list[dict[str, Any]]
    gate: dict[str, Any]


def load_settings(part: str, *, quick: bool) -> dict[str, Any]:
    """The settings of a part; its `options` are those of `fi-store run`."""
    every = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    chosen: dict[str, Any] = {**every[part], "options": {**every["common"], **every[part]["options"]}}
    if quick:
        small = {name: value for name, value in every["quick"].items() if name in chosen}
        chosen |= {**small, "options": {**chosen["options"], **every["quick"]["options"]}}
    return chosen


@dataclass(frozen=True)
class Runs:
    """The runs of one work folder."""

    work: Path

    @property
    def store_path(self) -> Path:
        """The store that all runs share."""
        return self.work / "fi-store.duckdb"

    @property
    def cache_dir(self) -> Path:
        """Where converted models are kept."""
        return self.work / "cache"

    def open(self) -> Store:
        """The store, read-only."""
        return Store.open(self.store_path, read_only=True)

    def compare(self, base: str | Path, target: str | Path, options: dict[str, Any]) -> Finished:
        """The run of a pair: made by `fi-store run`, or read from the ledger if it was made before."""
        key = run_key(base, target, options)
        return Finished(**self.once(key, lambda: vars(self._make(base, target, options))))

    def once(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The ledger's entry for a key; made and saved if there is none."""
        known = self._ledger()
        if key not in known:
            made = json.loads(json.dumps(make(), default=str))
            self.work.mkdir(parents=True, exist_ok=True)
            known = self._ledger() | {key: made}  # making may have written other entries
            draft = self.work / "ledger.draft"
            draft.write_text(json.dumps(known), encoding="utf-8")
            draft.replace(self.work / "ledger.json")
        entry: dict[str, Any] = known[key]
        return entry

    def query(self, name: str, run_id: str) -> list[dict[str, Any]]:
        """The rows of a saved query."""
        with self.open() as store:
            rows: list[dict[str, Any]] = run_query(store, name, run=run_id).to_pylist()
        return rows

    def rows(self, sql: str, run_id: str, **parameters: object) -> list[dict[str, Any]]:
        """The rows of an SQL query with $run."""
        with self.open() as store:
            return store.rows(sql, run=run_id, **parameters)

    def _make(self, base: str | Path, target: str | Path, options: dict[str, Any]) -> Finished:
        started = time.perf_counter()
        command(
            *("run", "--base-model", base, "--target-model", target),
            *("--output-dir", self.work, "--cache-dir", self.cache_dir, *as_words(options)),
        )
        seconds = time.perf_counter() - started
        with self.open() as store:
            run_id = store.run("latest").id
        return Finished(
            run_id=run_id,
            seconds=seconds,
            findings=self.query("top_findings", run_id),
            gate=self.query("pair_gate", run_id)[0],
        )

    def _ledger(self) -> dict[str, Any]:
        path = self.work / "ledger.json"
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return known


def run_key(base: str | Path, target: str | Path, options: dict[str, Any]) -> str:
    """Hash of all inputs of a run: the content of the models' folders, and the options."""
    inputs = [model_content(base), model_content(target), options]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:24]


def model_content(model: str | Path) -> str:
    """A reference itself, or a hash of the files in a folder."""
    folder = Path(model)
    if not folder.is_dir():
        return str(model)
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def as_words(options: dict[str, Any]) -> list[str]:
    """Options by name as words of a command line."""
    words: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [f"--{flag}", text]
    return words


def command(*words: object) -> str:
    """Runs `fi-store` in its own process and returns what it printed.

    Raises:
        CommandError: it failed.
    """
    given = [sys.executable, "-m", "fi_store", *map(str, words)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(given, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise CommandError(f"{' '.join(given[2:])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
