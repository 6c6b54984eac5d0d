"""Extracts one chunk of prompts: answers, sequences, activations, divergences, committed in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from extract.answers import Answers
from extract.job import Job
from extract.reading import (
    PairReading,
    attribution_table,
    divergence_table,
    full_disk_explained,
    gap_table,
    logprob_table,
    mentioned_tokens,
    read_pair,
    summary_table,
    token_table,
    write_shards,
)
from extract.texts import Answer, ReadSequence, answer_start, build_sequences
from fi_store.progress import Stopwatch
from fi_store.prompts import PromptRecord
from fi_store.store import Store, write_facts
from fi_store.store.tables import (
    ActivationShard,
    ActivationSummary,
    AnswerGap,
    AnswerLogprob,
    Attribution,
    Generation,
    RunToken,
    Sequence,
    TokenDivergence,
)
from fi_store.vocabulary import SIDES, Side

TOKEN_CHARACTERS = 4
"""Characters per token, roughly."""


def committed_chunks(store: Store, run_id: str) -> set[int]:
    """The chunks whose transaction is complete."""
    rows = store.rows("SELECT DISTINCT chunk FROM sequence WHERE run_id = $run", run=run_id)
    return {int(row["chunk"]) for row in rows}


def extract_chunk(
    store: Store, run_id: str, job: Job, number: int, answers: Answers, watch: Stopwatch
) -> None:
    """Lets both models read one chunk with its answers, and commits all its rows."""
    sequences = sequences_of(run_id, job, job.chunks[number], answers)
    rows: list[Generation | Sequence] = [
        *_generations(run_id, number, job, answers),
        *(_sequence(run_id, number, sequence) for sequence in sequences),
    ]
    ended = {key: answer.finished for key, answer in answers.items()}
    reading = read_sequences(job, sequences, ended, watch)
    attributed = reading.attribution
    first_row = next_row(store, run_id, number)
    with watch.stage("write"):
        shards: list[ActivationShard] = []
        for side in SIDES:
            where = store.folder, run_id, side, number, first_row
            shards += write_shards(*where, reading.activations[side])
            shards += write_shards(*where, attributed.gradients[side], "gradient")
        divergence = divergence_table(run_id, number, first_row, sequences, reading, job.vocabulary)
        summaries = summary_table(run_id, number, reading)
        mentioned = mentioned_tokens(divergence)
        with full_disk_explained(store.folder, run_id), store.session() as session:
            session.add_all([*rows, *shards])
            this_chunk = {"run_id": run_id, "chunk": number}
            write_facts(session, TokenDivergence, divergence, replace=this_chunk)
            write_facts(session, ActivationSummary, summaries, replace=this_chunk)
            for table, make in (
                (AnswerLogprob, logprob_table),
                (AnswerGap, gap_table),
                (Attribution, attribution_table),
            ):
                write_facts(session, table, make(run_id, number, attributed), replace=this_chunk)
            write_tokens(session, run_id, mentioned, job.tokenizers.base)


def read_sequences(
    job: Job, sequences: list[ReadSequence], ended: dict[tuple[str, Side], bool], watch: Stopwatch
) -> PairReading:
    """What both models make of some texts, with backward passes if attribution is on.

    `ended` says which answers (by prompt and author) their authors ended themselves.
    """
    return read_pair(
        job.pair,
        sequences,
        ended,
        job.vocabulary,
        job.config.sites,
        watch,
        gradients=job.attribution.on,
        written_layers=job.written_layers,
    )


def sequences_of(
    run_id: str, job: Job, prompts: tuple[PromptRecord, ...], answers: Answers
) -> list[ReadSequence]:
    """The sequences of some prompts with their answers, in canonical order."""
    return build_sequences(run_id, prompts, answers, job.rendering, job.tokenizers, job.first)


def sample_sequences(job: Job, prompts: tuple[PromptRecord, ...]) -> list[ReadSequence]:
    """Texts to try the models on before there are answers: parts of prompts take their place.

    They are no longer than a model may answer. The two answers differ, because equal ones would be read only once.
    """
    answers: Answers = {
        (prompt.id, side): Answer(answer[: len(answer) // part], 0, True)
        for prompt in prompts
        for answer in (prompt.text[: TOKEN_CHARACTERS * job.config.max_new_tokens],)
        for side, part in zip(SIDES, (1, 2), strict=True)
    }
    return sequences_of("sample", job, prompts, answers)


def next_row(store: Store, run_id: str, number: int) -> int:
    """The number of a chunk's first row. Chunks are committed in order, so all earlier ones are in the store."""
    (row,) = store.rows(
        "SELECT coalesce(sum(n_kept), 0) AS n FROM sequence WHERE run_id = $run AND chunk < $chunk",
        run=run_id,
        chunk=number,
    )
    return int(row["n"])


def write_tokens(session: Session, run_id: str, mentioned: set[int], tokenizer: Any) -> None:
    """Adds the texts of mentioned tokens that the store does not have yet."""
    known = {token for (token,) in session.query(RunToken.token_id).where(RunToken.run_id == run_id)}
    new = mentioned - known
    if new:
        nothing = {"run_id": run_id, "token_id": -1}
        write_facts(session, RunToken, token_table(run_id, tokenizer, new), replace=nothing)


def _generations(run_id: str, number: int, job: Job, answers: Answers) -> Iterator[Generation]:
    rendered = {prompt.id: job.rendering.render(prompt.text) for prompt in job.chunks[number]}
    for (prompt_id, author), answer in answers.items():
        yield Generation(
            run_id=run_id,
            prompt_id=prompt_id,
            author=author,
            chunk=number,
            text=answer.text,
            n_tokens=answer.n_tokens,
            finished=answer.finished,
            ids=None if answer.ids is None else list(answer.ids),
            answer_start=answer_start(answer.text, job.rendering.formats[author]),
            drifts=job.tokenizers.drifts(author, rendered[prompt_id], answer),
        )


def _sequence(run_id: str, number: int, sequence: ReadSequence) -> Sequence:
    return Sequence(
        id=sequence.id,
        run_id=run_id,
        chunk=number,
        prompt_id=sequence.prompt_id,
        author=sequence.author,
        n_tokens_base=len(sequence.base.ids),
        n_tokens_target=len(sequence.target.ids),
        n_kept=len(sequence.classes),
    )
