"""Answers the open requests of a run: with both models loaded once, in few transactions, resumable between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from extract.answers import stored_answers
from extract.chunks import sequences_of
from extract.job import (
    CHUNK_PROMPTS,
    Job,
    check_configured,
    check_same,
    prepare,
    stored_check,
    stored_rendering,
)
from extract.pipeline import load
from extract.probes.generate import generate_patched
from extract.probes.patch import Request, read_patched
from extract.probes.results import Results
from extract.reading import Scoring, Unit, batch_units, find_units, scorings_of
from fi_store.config import RunConfig
from fi_store.errors import AnalysisError, ExtractionError
from fi_store.progress import Progress
from fi_store.prompts import suite_from_store
from fi_store.store import Store
from fi_store.vocabulary import SIDES, Side

COMMIT_SECONDS = 60
"""A killed run loses the work of about this time."""
PATCHED_TOKENS = 4096
"""The limit on a batch's padded tokens, counted as if its texts were read whole: patched passes read only a part."""


class Probed(NamedTuple):
    """How many requests were answered, and how many failed: their rows say why."""

    answered: int
    failed: int


class Prober:
    """Runs the models of an extracted run again for the analysis. They are loaded at the first request and kept."""

    def __init__(self, store: Store, run_id: str, progress: Progress) -> None:
        self.store, self.run_id, self.progress = store, run_id, progress
        self._known = False  # whether this prober has answered before

    def answer(self) -> Probed:
        """Answers every open request. What was committed before a kill is not computed again.

        A request that cannot be answered fails by itself, with a warning.

        Raises:
            UsageError: a model is not the same as in the run.
            ModelError: a model can no longer be read.
            NotFiniteError: a model produces values that are not finite without any patch.
        """
        requests = self._open_requests()
        if not requests:
            return Probed(0, 0)
        results = Results(
            self.store, self.run_id, self._extraction_run_id, self._job, requests, known=self._known
        )
        self._known = True
        total = sum(map(len, results.remaining.values()))
        with self.progress.task("Running the models under patches", total) as advance:
            work = {
                request.id: set(results.remaining[request.id]) & self._units.keys() for request in requests
            }
            for request in requests:
                if results.remaining[request.id] - self._units.keys():
                    results.fail(request, "It asks for prompts that the run does not have.")
            committed = time.monotonic()
            for _ in self._run(requests, work, results, advance):
                if time.monotonic() - committed >= COMMIT_SECONDS:
                    results.commit(self.progress)
                    committed = time.monotonic()
            results.commit(self.progress)
        return Probed(len(requests) - len(results.failed), len(results.failed))

    def _run(
        self,
        requests: Sequence[Request],
        work: dict[str, set[str]],
        results: Results,
        advance: Callable[[int], None],
    ) -> Iterator[None]:
        """Does the work in parts that may be committed, and pauses after each."""
        for side in SIDES:
            reads = [each for each in requests if (each.kind, each.side) == ("read", side)]
            for together, units in self._shared(reads, work):
                left = [each for each in together if each.id not in results.failed]
                failed: dict[str, str] = {}
                readings = read_patched(self._job, side, units, left, self._scorings, failed) if left else ()
                for reading in readings:
                    results.add_reading(side, reading)
                for request in left:
                    if request.id in failed:
                        results.fail(request, failed[request.id])
                    else:
                        results.done(request, _prompts(units))
                advance(len(together) * len(units))
                yield
        for request in requests:
            if request.kind == "generate":
                yield from self._generate(request, work[request.id], results, advance)

    def _shared(
        self, requests: Sequence[Request], work: dict[str, set[str]]
    ) -> Iterator[tuple[list[Request], list[Unit]]]:
        """Batches of units with the requests that ask for all of them, so that one clean pass serves many."""
        groups: dict[tuple[str, ...], list[Unit]] = {}
        for prompt_id, unit in self._units.items():
            asking = tuple(each.id for each in requests if prompt_id in work[each.id])
            if asking:
                groups.setdefault(asking, []).append(unit)
        by_id = {request.id: request for request in requests}
        for asking, units in groups.items():
            for batch in batch_units(units, PATCHED_TOKENS):
                yield [by_id[each] for each in asking], batch

    def _generate(
        self, request: Request, prompt_ids: set[str], results: Results, advance: Callable[[int], None]
    ) -> Iterator[None]:
        units = [unit for prompt_id, unit in self._units.items() if prompt_id in prompt_ids]
        for start in range(0, len(units), CHUNK_PROMPTS):
            part = units[start : start + CHUNK_PROMPTS]
            if request.id not in results.failed:
                try:
                    answers = generate_patched(self._job, self.store.folder, part, request)
                except (ExtractionError, AnalysisError) as error:
                    results.fail(request, str(error))
                else:
                    results.add_answers(request, _prompts(part), answers)
                    results.done(request, _prompts(part))
            advance(len(part))
            yield

    def _open_requests(self) -> list[Request]:
        rows = self.store.rows(
            "SELECT r.id, r.kind, r.side, r.prompt_ids, r.words, r.arm_id, a.path, a.site, a.layer,"
            " a.position_classes FROM probe_request AS r LEFT JOIN arm AS a ON a.id = r.arm_id AND a.run_id = r.run_id"
            " WHERE r.run_id = $run AND r.state = 'asked' ORDER BY a.site, a.layer, r.arm_id, r.id",
            run=self.run_id,
        )
        if not rows:  # then the models need not be loaded
            return []
        depths = self._job.pair.depths
        return [
            Request(
                id=row["id"],
                kind=row["kind"],
                side=row["side"],
                prompt_ids=tuple(row["prompt_ids"]),
                words=row["words"],
                arm_id=row["arm_id"],
                path=self.store.folder / row["path"] if row["path"] else None,
                site=row["site"] or "",
                layer=depths.own(row["side"], row["layer"] or 0),
                beside=depths.own(SIDES[1 - SIDES.index(row["side"])], row["layer"] or 0),
                position_classes=frozenset(row["position_classes"] or ()),
            )
            for row in rows
        ]

    @cached_property
    def _extraction_run_id(self) -> str:
        return self.store.run(self.run_id).extraction_run_id

    @cached_property
    def _job(self) -> Job:
        """The loaded models, checked to be those of the run, and how they read its prompts."""
        run = self.store.run(self.run_id)
        config, suite = RunConfig(**run.config), suite_from_store(self.store, run.prompt_set_id)
        pair = load(config, self.progress, run)
        check_same(
            run,
            pair,
            config,
            suite,
            action="be probed",
            hint="compare the current models in a new run: fi-store run",
        )
        rendering = stored_rendering(self.store, run.extraction_run_id)
        job = prepare(pair, config, suite, rendering, stored_check(self.store, run.extraction_run_id))
        check_configured(self.store, run.extraction_run_id, job)
        return job

    @cached_property
    def _scorings(self) -> dict[Side, Scoring]:
        return scorings_of(self._job.pair, self._job.vocabulary)

    @cached_property
    def _units(self) -> dict[str, Unit]:
        """Every prompt with both answers, with the numbers of its rows in the extraction, in the order of prompts."""
        run_id, job = self._extraction_run_id, self._job
        answers = stored_answers(self.store, run_id)
        ended = {key: answer.finished for key, answer in answers.items()}
        first_rows = {
            str(row["sequence_id"]): int(row["first"])
            for row in self.store.rows(
                'SELECT sequence_id, min("row") AS first FROM token_divergence WHERE run_id = $run GROUP BY 1',
                run=run_id,
            )
        }
        units = find_units(sequences_of(run_id, job, job.suite.prompts, answers), ended)
        return {
            unit.sequences[0].prompt_id: unit._replace(
                first_rows=(
                    first_rows.get(unit.sequences[0].id, 0),  # 0: it has no row
                    first_rows.get(unit.sequences[1].id, 0),
                )
            )
            for unit in units
        }


def _prompts(units: Iterable[Unit]) -> list[str]:
    return [unit.sequences[0].prompt_id for unit in units]
