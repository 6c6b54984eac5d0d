"""Asks for patched readings and answers through the store, and reads what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sqlalchemy as sa

from analyze.causal.arms import Patch, arm_row
from analyze.causal.gap import TokenLogprobs
from analyze.extraction import Extraction, IntArray
from fi_store.errors import FiStoreError
from fi_store.ids import content_id
from fi_store.store import Store
from fi_store.store.tables import Arm, Intervention, PatchedAnswer, ProbeRequest
from fi_store.vocabulary import Side

Pushes = dict[int, float]
"""Token id -> nats by which a patch changes it, summed over the positions of some answers."""


@dataclass(frozen=True)
class Request:
    """One model's reading of (or answers to) some prompts, with a patch or without."""

    kind: str  # read, generate
    side: Side
    patch: Patch | None
    units: tuple[int, ...]
    words: bool = False


@dataclass(frozen=True)
class Reading:
    """What a request of kind `read` gave."""

    logprobs: TokenLogprobs
    pushes: dict[
        tuple[int, Side], Pushes
    ]  # (unit, author) -> the tokens that the patch pushes up (> 0) and down


class Probes:
    """The way to the models: requests in, readings and answers out. `ask` lets the models answer what is open."""

    def __init__(self, store: Store, run_id: str, extraction: Extraction, ask: Callable[[], None]) -> None:
        self.store = store
        self.run_id = run_id
        self.extraction = extraction
        self.asked: set[str] = set()
        self.problem: str | None = None  # why the models could not answer; then nothing more is asked
        self._ask = ask

    def id_of(self, request: Request) -> str:
        arm = request.patch.id if request.patch is not None else None
        return content_id("probe", self.run_id, request.kind, request.side, arm, request.units, request.words)

    def ask(self, requests: Sequence[Request]) -> None:
        """Writes the arms and requests that the store does not have yet, and has all open ones answered."""
        units, run_id = self.extraction.units, self.run_id
        rows = {self.id_of(request): request for request in requests}
        patches = {request.patch.id: request.patch for request in requests if request.patch is not None}
        for patch in patches.values():
            patch.write(self.store, run_id)
        with self.store.session() as session:
            arms = set(session.scalars(sa.select(Arm.id).where(Arm.run_id == run_id)))
            known = set(session.scalars(sa.select(ProbeRequest.id).where(ProbeRequest.run_id == run_id)))
            session.add_all(Arm(**arm_row(patches[id], run_id)) for id in patches.keys() - arms)
            for id in rows.keys() - known:
                request = rows[id]
                session.add(
                    ProbeRequest(
                        id=id,
                        run_id=run_id,
                        kind=request.kind,
                        side=request.side,
                        arm_id=request.patch.id if request.patch is not None else None,
                        prompt_ids=[units.prompt_ids[unit] for unit in request.units],
                        words=request.words,
                        state="asked",
                        reason=None,
                    )
                )
        self.asked |= rows.keys()
        if requests and self.problem is None:
            try:
                self._ask()
            except FiStoreError as error:
                self.problem = f"The models could not be run again, so no cause was tested: {error}"

    def readings(self, requests: Iterable[Request]) -> dict[Request, Reading]:
        """The readings that did not fail."""
        found = {}
        for request in requests:
            rows = self.store.rows(
                "select prompt_id, author, token_logprobs, pushed_ids, pushed_nats, pulled_ids, pulled_nats"
                " from intervention where request_id = (select id from probe_request where id = $id and"
                " state = 'answered')",
                id=self.id_of(request),
            )
            if not rows:
                continue
            logprobs, pushes = {}, {}
            for row in rows:
                key = self._number[row["prompt_id"]], row["author"]
                logprobs[key] = np.asarray(row["token_logprobs"], dtype=np.float64)
                ids = [*row["pushed_ids"], *row["pulled_ids"]]
                nats = [*row["pushed_nats"], *row["pulled_nats"]]
                pushes[key] = dict(zip(ids, nats, strict=True))
            found[request] = Reading(logprobs, pushes)
        return found

    def answers(self, request: Request) -> dict[int, tuple[str, bool, int]]:
        """unit -> a generated answer, whether it is finished, and the characters of thinking before it.

        Empty if the request failed.
        """
        rows = self.store.rows(
            "select prompt_id, coalesce(substr(text, answer_start + 1), '') as text, finished,"
            " coalesce(answer_start, length(text)) as start from patched_answer"
            " where request_id = (select id from probe_request where id = $id and state = 'answered')",
            id=self.id_of(request),
        )
        return {self._number[row["prompt_id"]]: (row["text"], row["finished"], row["start"]) for row in rows}

    def forget_others(self) -> None:
        """Removes what earlier analyses of the run asked for and this one did not."""
        asked = sorted(self.asked)
        with self.store.session() as session:
            for table, column in (
                (Intervention, Intervention.request_id),
                (PatchedAnswer, PatchedAnswer.request_id),
                (ProbeRequest, ProbeRequest.id),
            ):
                session.execute(sa.delete(table).where(table.run_id == self.run_id, column.not_in(asked)))
            used = sa.select(ProbeRequest.arm_id).where(
                ProbeRequest.run_id == self.run_id, ProbeRequest.arm_id.is_not(None)
            )
            unused = session.scalars(
                sa.select(Arm).where(Arm.run_id == self.run_id, Arm.id.not_in(used))
            ).all()
            for arm in unused:
                (self.store.folder / arm.path).unlink(missing_ok=True)
                session.delete(arm)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {prompt_id: unit for unit, prompt_id in enumerate(self.extraction.units.prompt_ids)}


def as_units(chosen: IntArray) -> tuple[int, ...]:
    """Unit numbers as a request holds them."""
    return tuple(int(unit) for unit in chosen)
