"""Maintains a store and its files: removes activations, finds missing files and orphans, verifies, makes backups.

Knows only files and tables. Nothing here needs a model or deletes a result.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import sqlalchemy as sa

from fi_store.commands import command_line
from fi_store.errors import NotFoundError, StoreError, UsageError
from fi_store.store.engine import explain
from fi_store.store.files import ACTIVATIONS, features_path
from fi_store.store.store import Store
from fi_store.store.tables import ActivationShard, Base

_PARENTS = (
    ("run", "base_model_id", "model", "id"),
    ("run", "target_model_id", "model", "id"),
    ("run", "extraction_run_id", "run", "id"),
    ("run", "prompt_set_id", "prompt_set", "id"),
    ("prompt_set_member", "prompt_set_id", "prompt_set", "id"),
    ("prompt_set_member", "prompt_id", "prompt", "id"),
    ("sequence", "prompt_id", "prompt", "id"),
    ("generation", "prompt_id", "prompt", "id"),
    ("feature", "dictionary_id", "dictionary", "id"),
    ("feature_group_member", "group_id", "feature_group", "id"),
    ("feature_group_member", "feature_id", "feature", "id"),
    ("finding", "group_id", "feature_group", "id"),
    ("finding_example", "group_id", "feature_group", "id"),
    ("arm", "group_id", "feature_group", "id"),
    ("probe_request", "arm_id", "arm", "id"),
    ("intervention", "request_id", "probe_request", "id"),
    ("patched_answer", "request_id", "probe_request", "id"),
    ("arm_effect", "arm_id", "arm", "id"),
    ("behavior_share", "group_id", "feature_group", "id"),
)
"""Child column -> parent column, where the child is not null. The database has no foreign keys, so `find_orphans`
checks these."""


@dataclass(frozen=True)
class Removable:
    """Files that can be removed, and why."""

    reason: str
    run_id: str | None
    paths: tuple[Path, ...]
    n_bytes: int


@dataclass(frozen=True)
class Orphans:
    """Rows whose parent is missing."""

    table: str
    column: str
    parent: str
    n_rows: int


def apply_keep(store: Store, run_id: str, keep: str) -> int:
    """Removes the activations that `--keep-activations` does not keep; returns the number of bytes removed.

    `analyzed` keeps a layer if any run on this extraction has a dictionary for it.
    """
    if keep == "all":
        return 0
    condition = "s.run_id = r.extraction_run_id AND s.state = 'present'"
    if keep == "analyzed":
        condition += (
            " AND NOT EXISTS (SELECT 1 FROM dictionary AS d JOIN run AS other ON other.id = d.run_id"
            " WHERE other.extraction_run_id = s.run_id AND d.site = s.site AND d.layer = s.layer)"
        )
    rows = store.rows(
        f"SELECT s.* FROM activation_shard AS s, run AS r WHERE r.id = $run AND {condition}", run=run_id
    )
    paths = [str(row["path"]) for row in rows]
    _remove_shards(store, paths)
    return sum(int(row["n_bytes"]) for row in rows)


def plan_gc(store: Store, run_id: str | None = None) -> list[Removable]:
    """What `fi-store gc` would remove: one run's activations, or by default those of archived runs and unknown files.

    An archived run stays untouched while a run that is not archived uses its extraction (`extraction_run_id`).
    """
    rows = store.rows(
        "SELECT s.run_id, s.path, s.n_bytes FROM activation_shard AS s JOIN run AS r ON r.id = s.run_id"
        " WHERE s.state = 'present' AND (s.run_id = $run OR ($run IS NULL AND r.archived AND NOT EXISTS"
        " (SELECT 1 FROM run AS other WHERE other.extraction_run_id = r.id AND NOT other.archived)))"
        " ORDER BY s.path",
        run=run_id,
    )
    found = []
    for owner in sorted({str(row["run_id"]) for row in rows}):
        mine = [row for row in rows if row["run_id"] == owner]
        reason = "named with --run" if run_id else "activations of an archived run"
        paths = tuple(store.folder / row["path"] for row in mine)
        found.append(Removable(reason, owner, paths, sum(int(row["n_bytes"]) for row in mine)))
    if run_id is None:
        stray = _stray_files(store)
        if stray:
            found.append(
                Removable("not in the store", None, tuple(stray), sum(path.stat().st_size for path in stray))
            )
    return found


def apply_gc(store: Store, plan: Iterable[Removable]) -> int:
    """Removes what the plan lists; returns the number of bytes removed."""
    total = 0
    for item in plan:
        _remove_shards(store, [path.relative_to(store.folder).as_posix() for path in item.paths])
        total += item.n_bytes
    return total


def _stray_files(store: Store) -> list[Path]:
    """Files of activations and patches that are not in the store, such as those that a killed run left behind."""
    known = {
        row["path"]
        for row in store.rows(
            "SELECT path FROM activation_shard WHERE state = 'present' UNION ALL SELECT path FROM arm"
        )
    }
    found = (*(store.folder / ACTIVATIONS).rglob("*"), *store.folder.glob(f"{features_path('*')}/arms/*"))
    return sorted(
        path
        for path in found
        if path.is_file() and not path.is_symlink() and path.relative_to(store.folder).as_posix() not in known
    )


def _remove_shards(store: Store, paths: list[str]) -> None:
    """Deletes files, then marks them removed. In this order, since doctor finds a 'present' row without a file."""
    root = store.folder.resolve()
    for name in paths:
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise StoreError(
                f"The store {store.path} lists {name}, which is outside its folder.",
                hint=store.command("doctor"),
            )
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == root or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()
    with store.session() as session:
        for start in range(0, len(paths), 500):
            part = paths[start : start + 500]
            session.execute(
                sa.update(ActivationShard).where(ActivationShard.path.in_(part)).values(state="removed")
            )


def find_orphans(store: Store) -> list[Orphans]:
    """Counts the rows whose parent is missing, for each kind of parent."""
    found = []
    for table, column, parent, key in _PARENTS:
        rows = store.rows(
            f'SELECT count(*) AS n FROM "{table}" AS c ANTI JOIN "{parent}" AS p ON c."{column}" = p."{key}"'
            f' WHERE c."{column}" IS NOT NULL'
        )
        if rows[0]["n"]:
            found.append(Orphans(table, column, parent, int(rows[0]["n"])))
    return found


def find_missing_files(store: Store) -> list[str]:
    """Shards, dictionaries, patches and reports that the store lists but that are missing on disk or too short."""
    missing = []
    for row in store.rows("SELECT path, n_bytes FROM activation_shard WHERE state = 'present'"):
        path = store.folder / row["path"]
        if not path.is_file():
            missing.append(f"{row['path']} (missing)")
        elif path.stat().st_size < row["n_bytes"]:
            missing.append(f"{row['path']} (shorter than when it was written)")
    for table in ("dictionary", "arm", "report"):
        for row in store.rows(f'SELECT path FROM "{table}"'):
            if not (store.folder / row["path"]).exists():
                missing.append(f"{row['path']} (missing)")
    return missing


def read_every_column(store: Store) -> dict[str, int]:
    """Reads every value of every table, which reveals any damaged block; returns the number of rows by table.

    Raises:
        StoreError: a column cannot be read; the message names it.
    """
    counts: dict[str, int] = {}
    for table in Base.metadata.sorted_tables:
        counts[table.name] = int(store.rows(f'SELECT count(*) AS n FROM "{table.name}"')[0]["n"])
        for column in table.columns:
            try:
                store.rows(f'SELECT bit_xor(hash("{column.name}")) AS x FROM "{table.name}"')
            except StoreError as error:
                raise StoreError(
                    f"{store.path}: {table.name}.{column.name} cannot be read ({error}).",
                    hint="restore a backup (the last one made with fi-store backup)",
                ) from error
    return counts


def back_up(path: Path, target: Path) -> int:
    """Copies the store into a new file that appears only when it is complete; returns its size in bytes.

    Raises:
        NotFoundError: there is no store at `path`.
        UsageError: the target ends in .duckdb, which is reserved for stores in use, or is the store itself.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no store at {path}.", hint="name it with --store FILE")
    if target.suffix == ".duckdb" or target.resolve() == path.resolve():
        raise UsageError(
            f"A backup must not end in .duckdb: {target}.",
            hint=command_line("backup", target.with_suffix(".bak"), store=path),
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"}) as connection:
            connection.execute(f"ATTACH {_quoted(path.absolute())} AS source (READ_ONLY)")
            connection.execute(f"ATTACH {_quoted(unfinished.absolute())} AS copy")
            connection.execute("COPY FROM DATABASE source TO copy")
            connection.execute("DETACH copy")
        unfinished.replace(target)
    except (duckdb.Error, OSError) as error:
        raise explain(str(error), path) from error
    finally:
        unfinished.unlink(missing_ok=True)
        unfinished.with_name(unfinished.name + ".wal").unlink(missing_ok=True)
    return target.stat().st_size


def _quoted(path: Path) -> str:
    """A path as an SQL string."""
    return "'" + str(path).replace("'", "''") + "'"
