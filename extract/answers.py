"""Both models' answers to a chunk of prompts, generated or copied from an earlier run if they would be the same.

Answers are greedy, so everything that determines them can be compared: the model's fingerprint and configuration, the
prompts and their batches, the rendering, the length, the precision, the device, the threads and the installed
versions. When several models are compared with one base, the base therefore answers only once.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from extract.job import Job, precision_of, stored_answering, stored_rendering
from extract.reading import generate_answers
from extract.texts import Answer
from fi_store.store import Store
from fi_store.store.tables import Generation, Run
from fi_store.versions import recorded_versions
from fi_store.vocabulary import SIDES, Side

Answers = dict[tuple[str, Side], Answer]


class AnswerSource(NamedTuple):
    """The earlier run whose answers are copied, and the side that the model was there."""

    run_id: str
    author: str


AnswerSources = dict[Side, AnswerSource]


def earlier_sources(store: Store, run_id: str, job: Job) -> AnswerSources:
    """For each model, the newest finished extraction in which it answered the same prompts in the same way."""
    extracted = store.rows("SELECT run_id FROM run_event WHERE kind = 'state' AND message = 'extracted'")
    finished = {str(row["run_id"]) for row in extracted} - {run_id}
    models = {"base": job.pair.base.identity.id, "target": job.pair.target.identity.id}
    with store.session() as session:
        runs = list(
            session.scalars(
                sa.select(Run)
                .where(Run.id.in_(finished), Run.extraction_run_id == Run.id)
                .where(Run.prompt_set_id == job.suite.id, Run.device == str(job.pair.device))
                .where(Run.base_model_id.in_(models.values()) | Run.target_model_id.in_(models.values()))
                .order_by(Run.id)
            )
        )
    versions = recorded_versions()
    sources: AnswerSources = {}
    for run in runs:  # newer runs overwrite older ones
        if run.versions != versions or not _answers_alike(run, job):
            continue
        hashes = {side: stored_answering(store, run.id, side) for side in SIDES}
        if not any(hashes.values()):
            continue
        formats = stored_rendering(store, run.id).formats
        authors: tuple[tuple[Side, str], ...] = (("target", run.target_model_id), ("base", run.base_model_id))
        for author, model in authors:
            sources.update(
                {
                    side: AnswerSource(run.id, author)
                    for side in SIDES
                    if models[side] == model
                    and hashes[author] is not None
                    and hashes[author] == job.answering[side]
                    and formats[author].read == job.rendering.formats[side].read
                }
            )
    return sources


def answers_to(store: Store, job: Job, number: int, sources: AnswerSources) -> Answers:
    """Both models' answers to a chunk, by prompt and author."""
    prompts = job.chunks[number]
    answers: Answers = {}
    for side in SIDES:
        if side in sources:
            answers.update(_copied(store, number, side, sources[side]))
            continue
        reader = job.pair.base if side == "base" else job.pair.target
        ids = [job.tokenizers.encode(side, job.rendering.render(prompt.text), "").ids for prompt in prompts]
        generated = generate_answers(reader, ids, job.config.max_new_tokens, job.pair.device)
        answers.update({(prompt.id, side): answer for prompt, answer in zip(prompts, generated, strict=True)})
    return answers


def _answers_alike(run: Run, job: Job) -> bool:
    """Whether a model that is in both runs, with the same format, gives the same answers in both."""
    return run.config["max_new_tokens"] == job.config.max_new_tokens and precision_of(
        run.dtype, run.config["quantization"]
    ) == precision_of(job.dtype, job.pair.quantization)


def remarks_on_answers(store: Store, run_id: str, job: Job) -> list[str]:
    """What is said about a run's answers: thoughts that were not closed, texts that the other model splits
    anew, and probability that only one model can give."""
    rows = store.rows(
        "SELECT author, count(*) AS n, count(*) FILTER (answer_start IS NULL AND NOT finished) AS open,"
        " count(*) FILTER (answer_start IS NULL AND finished) AS ended,"
        " count(*) FILTER (drifts) AS drifting FROM generation WHERE run_id = $run GROUP BY author ORDER BY author",
        run=run_id,
    )
    found = []
    for row in rows:
        author, n, other = row["author"], row["n"], {"base": "target", "target": "base"}[row["author"]]
        if row["open"]:
            found.append(
                f"{row['open']} of {n} answers of the {author} were still thinking after "
                f"{job.config.max_new_tokens} tokens and count as unread: raise --max-new-tokens."
            )
        if row["ended"]:
            found.append(
                f"{row['ended']} of {n} answers of the {author} end without closing the thought in which they began "
                "and count as unread: choose another --chat-template."
            )
        if row["drifting"]:
            found.append(
                f"{row['drifting']} of {n} answers of the {author} ({row['drifting'] / n:.0%}) are split into other "
                f"tokens when their text is tokenized again, which is how the {other} reads them."
            )
    (rest,) = store.rows(
        "SELECT avg(rest_base) AS base, avg(rest_target) AS target FROM token_divergence WHERE run_id = $run",
        run=run_id,
    )
    if rest["base"] is not None:
        found.append(
            f"On average the base puts {rest['base']:.1%} of its probability, and the target {rest['target']:.1%}, on "
            "tokens that the other does not have."
        )
    return found


def stored_answers(store: Store, run_id: str, *conditions: sa.ColumnElement[bool]) -> Answers:
    """A run's answers by prompt and author."""
    with store.session() as session:
        rows = session.scalars(sa.select(Generation).where(Generation.run_id == run_id, *conditions))
        return {
            (row.prompt_id, "base" if row.author == "base" else "target"): Answer(
                row.text, row.n_tokens, row.finished, None if row.ids is None else tuple(row.ids)
            )
            for row in rows
        }


def _copied(store: Store, number: int, side: Side, source: AnswerSource) -> Answers:
    """The answers of one model to a chunk, from an earlier run."""
    found = stored_answers(
        store, source.run_id, Generation.chunk == number, Generation.author == source.author
    )
    return {(prompt_id, side): answer for (prompt_id, _), answer in found.items()}
