"""Everything on disk: the DuckDB database, its tables, saved queries and guarded SQL, and where files are.

Does not know what the rows mean or how they are drawn.
"""

from __future__ import annotations

from fi_store.store.engine import head_revision, upgrade_schema
from fi_store.store.files import (
    arm_path,
    dictionary_path,
    features_path,
    naming_path,
    reports_path,
    shard_path,
    visualizations_path,
)
from fi_store.store.maintenance import (
    apply_gc,
    apply_keep,
    back_up,
    find_missing_files,
    find_orphans,
    plan_gc,
    read_every_column,
)
from fi_store.store.query import get_query, list_queries, run_query
from fi_store.store.sqlguard import guarded_sql
from fi_store.store.store import Store, add_missing, append_event, now, write_facts

__all__ = [
    "Store",
    "add_missing",
    "append_event",
    "apply_gc",
    "apply_keep",
    "arm_path",
    "back_up",
    "dictionary_path",
    "features_path",
    "find_missing_files",
    "find_orphans",
    "get_query",
    "guarded_sql",
    "head_revision",
    "list_queries",
    "naming_path",
    "now",
    "plan_gc",
    "read_every_column",
    "reports_path",
    "run_query",
    "shard_path",
    "upgrade_schema",
    "visualizations_path",
    "write_facts",
]
