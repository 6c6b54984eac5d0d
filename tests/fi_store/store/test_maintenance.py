"""Maintenance knows the files and rows of the causal test: nothing is missing, unknown or without its parent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fi_store.doctor import examine
from fi_store.store import Store, apply_gc, find_missing_files, find_orphans, plan_gc
from fi_store.store.files import arm_path
from fi_store.store.tables import Arm, ArmEffect, BehaviorShare, Intervention, PatchedAnswer, ProbeRequest

WHOLE = arm_path("run", "whole")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the patch of a whole layer, its file, and two readings of prompts: with it and without."""
    with Store.open(tmp_path / "s.duckdb", create=True) as store:
        with store.session() as session:
            session.add(arm("whole", None))
            session.add_all([request("clean", None), request("patched", "whole")])
        (tmp_path / WHOLE).parent.mkdir(parents=True)
        (tmp_path / WHOLE).write_bytes(b"1234")
        yield store


def arm(name: str, group: str | None) -> Arm:
    return Arm(
        id=name, run_id="run", kind="whole" if group is None else "group", group_id=group, site="resid_post", layer=1,
        position_classes=["start"], n_rows=1, n_directions=0, path=arm_path("run", name),
    )  # fmt: skip


def request(name: str, of_arm: str | None) -> ProbeRequest:
    return ProbeRequest(
        id=name, run_id="run", kind="read", side="target", arm_id=of_arm, prompt_ids=["p"], words=False, state="asked",
        reason=None,
    )  # fmt: skip


def test_patches_and_requests_without_a_parent_are_in_order(store: Store) -> None:
    """A whole layer's patch belongs to no group, and a clean reading has no patch."""
    assert find_orphans(store) == []
    assert find_missing_files(store) == []
    assert plan_gc(store) == []


def test_rows_of_the_causal_test_that_lost_their_parent_are_found(store: Store) -> None:
    shares: dict[str, Any] = {"share": 0.1, "share_low": 0.0, "share_high": 0.2, "n_units": 9}
    with store.session() as session:
        session.add_all(
            [
                arm("lost", "no group"),
                request("lost", "no arm"),
                Intervention(
                    request_id="no request", prompt_id="p", author="base", run_id="run", side="base", logprob=-1.0,
                    n_tokens=1, token_logprobs=[-1.0], pushed_ids=[], pushed_nats=[], pulled_ids=[], pulled_nats=[],
                ),
                PatchedAnswer(
                    request_id="no request", prompt_id="p", run_id="run", side="base", text="", n_tokens=0,
                    finished=True,
                ),
                ArmEffect(run_id="run", arm_id="no arm", side="base", closed=0.1, **shares),
                BehaviorShare(run_id="run", group_id="no group", behavior=0, side="base", **shares),
            ]
        )  # fmt: skip
    assert {(found.table, found.parent, found.n_rows) for found in find_orphans(store)} == {
        ("arm", "feature_group", 1),
        ("probe_request", "arm", 1),
        ("intervention", "probe_request", 1),
        ("patched_answer", "probe_request", 1),
        ("arm_effect", "arm", 1),
        ("behavior_share", "feature_group", 1),
    }


def test_doctor_lists_a_patch_without_its_file(store: Store) -> None:
    (store.folder / WHOLE).unlink()
    assert find_missing_files(store) == [f"{WHOLE} (missing)"]
    path = store.path
    store.close()
    assert f"file of the store: {WHOLE} (missing)" in [
        observation.what for observation in examine(path) if observation.level == "problem"
    ]


def test_gc_removes_patches_that_are_not_in_the_store(store: Store) -> None:
    left = store.folder / arm_path("run", "of an earlier analysis")
    left.write_bytes(b"12")
    beside = store.folder / "features" / "run" / "features.parquet"
    beside.write_bytes(b"1")
    (found,) = plan_gc(store)
    assert (found.paths, found.n_bytes, found.reason) == ((left,), 2, "not in the store")
    assert apply_gc(store, [found]) == 2
    assert not left.exists()
    assert (store.folder / WHOLE).exists()
    assert beside.exists()
