"""What answering requests gave so far, and the transactions that write it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import sqlalchemy as sa

from extract.chunks import write_tokens
from extract.job import Job
from extract.probes.patch import PatchedReading, Request
from extract.texts import Answer, answer_start
from fi_store.progress import Progress
from fi_store.store import Store, append_event, write_facts
from fi_store.store.tables import Intervention, PatchedAnswer, ProbeRequest
from fi_store.vocabulary import Side

NOTHING = {"request_id": ""}
"""A key that no row has: nothing is replaced, because a prompt that has rows is not read again."""


class Results:
    """Rows that are not written yet, and what remains to be done for each request.

    A request is answered when all its prompts have rows. A killed run leaves it open, with the rows of some prompts.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        extraction_run_id: str,
        job: Job,
        requests: Sequence[Request],
        *,
        known: bool,
    ) -> None:
        self.store, self.run_id, self.extraction_run_id, self.job = store, run_id, extraction_run_id, job
        self.failed: dict[str, str] = {}
        done: dict[str, set[str]] = {}
        for row in store.rows(
            "SELECT request_id, prompt_id FROM intervention WHERE run_id = $run"
            " UNION SELECT request_id, prompt_id FROM patched_answer WHERE run_id = $run",
            run=run_id,
        ):
            done.setdefault(row["request_id"], set()).add(row["prompt_id"])
        self.remaining = {each.id: set(each.prompt_ids) - done.get(each.id, set()) for each in requests}
        self._open = [each.id for each in requests]
        self._readings: list[tuple[Side, PatchedReading]] = []
        self._answers: list[tuple[Request, str, Answer]] = []
        self._warnings: list[str] = []
        self._known = known  # whether the run's log says already that its models are run again

    def add_reading(self, side: Side, reading: PatchedReading) -> None:
        self._readings.append((side, reading))

    def add_answers(self, request: Request, prompt_ids: Sequence[str], answers: Sequence[Answer]) -> None:
        self._answers += [(request, *pair) for pair in zip(prompt_ids, answers, strict=True)]

    def done(self, request: Request, prompt_ids: Iterable[str]) -> None:
        """Notes that these prompts have all their rows for a request."""
        self.remaining[request.id] -= set(prompt_ids)

    def fail(self, request: Request, reason: str) -> None:
        """Notes that a request cannot be answered."""
        self.failed[request.id] = reason
        self._warnings.append(f"The request {request.id} failed. {reason}")

    def commit(self, progress: Progress) -> None:
        """Writes what came since the last commit in one transaction, and closes what is finished."""
        answered = [each for each in self._open if each not in self.failed and not self.remaining[each]]
        failed = [each for each in self._open if each in self.failed]
        with self.store.session() as session:
            write_facts(session, Intervention, self._interventions(), replace=NOTHING)
            write_facts(session, PatchedAnswer, self._patched_answers(), replace=NOTHING)
            mentioned = {
                token
                for _, reading in self._readings
                for token in (*reading.pushed.pushed_ids, *reading.pushed.pulled_ids)
            }
            write_tokens(session, self.extraction_run_id, mentioned, self.job.tokenizers.base)
            close = sa.update(ProbeRequest).where(ProbeRequest.run_id == self.run_id)
            session.execute(close.where(ProbeRequest.id.in_(answered)).values(state="answered"))
            for request_id in failed:
                for table in (Intervention, PatchedAnswer):
                    session.execute(sa.delete(table).where(table.request_id == request_id))
                reason = self.failed[request_id]
                session.execute(
                    close.where(ProbeRequest.id == request_id).values(state="failed", reason=reason)
                )
            if (
                not self._known
            ):  # makes the warnings of earlier attempts out of date; the run's own state stays
                append_event(session, self.run_id, "probe", "state", "probed")
                self._known = True
            for message in self._warnings:
                append_event(session, self.run_id, "probe", "warning", message)
            self._open = [each for each in self._open if each not in {*answered, *failed}]
        for message in self._warnings:
            progress.note(message, warning=True)
        self._readings, self._answers, self._warnings = [], [], []

    def _interventions(self) -> pa.Table:
        rows = [(side, reading) for side, reading in self._readings if reading.request_id not in self.failed]
        reals, integers = pa.list_(pa.float32()), pa.list_(pa.int32())
        readings = [reading for _, reading in rows]
        return pa.table(
            {
                "request_id": pa.array([each.request_id for each in readings], pa.string()),
                "prompt_id": pa.array([each.prompt_id for each in readings], pa.string()),
                "author": pa.array([each.author for each in readings], pa.string()),
                "run_id": pa.repeat(self.run_id, len(rows)),
                "side": pa.array([side for side, _ in rows], pa.string()),
                "logprob": pa.array([float(each.token_logprobs.sum()) for each in readings], pa.float64()),
                "n_tokens": pa.array([len(each.token_logprobs) for each in readings], pa.int32()),
                "token_logprobs": pa.array([each.token_logprobs.tolist() for each in readings], reals),
                "pushed_ids": pa.array([each.pushed.pushed_ids for each in readings], integers),
                "pushed_nats": pa.array([each.pushed.pushed_nats for each in readings], reals),
                "pulled_ids": pa.array([each.pushed.pulled_ids for each in readings], integers),
                "pulled_nats": pa.array([each.pushed.pulled_nats for each in readings], reals),
            }
        )

    def _patched_answers(self) -> pa.Table:
        rows = [row for row in self._answers if row[0].id not in self.failed]
        return pa.table(
            {
                "request_id": pa.array([request.id for request, _, _ in rows], pa.string()),
                "prompt_id": pa.array([prompt_id for _, prompt_id, _ in rows], pa.string()),
                "run_id": pa.repeat(self.run_id, len(rows)),
                "side": pa.array([request.side for request, _, _ in rows], pa.string()),
                "text": pa.array([answer.text for _, _, answer in rows], pa.string()),
                "n_tokens": pa.array([answer.n_tokens for _, _, answer in rows], pa.int32()),
                "finished": pa.array([answer.finished for _, _, answer in rows], pa.bool_()),
                "answer_start": pa.array(
                    [
                        answer_start(answer.text, self.job.rendering.formats[request.side])
                        for request, _, answer in rows
                    ],
                    pa.int32(),
                ),
            }
        )
