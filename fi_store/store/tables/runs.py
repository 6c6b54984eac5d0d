"""The tables that describe inputs and runs: models, prompts, runs, sequences, shards.

Token-level measurements are in `facts`, conclusions in `grades` and `results`. There are no foreign-key constraints,
because DuckDB checks them too eagerly within a transaction; `fi-store doctor` looks for orphans instead. The client
makes the ids: content hashes, and UUIDv7 for runs.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Declarative base. The annotation map fixes one column type for each Python type.

    `float` is DOUBLE. Vectors are `FLOAT[]` without a fixed size, so the same rows also work in Parquet and DuckLake.
    """

    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: sa.String,
        float: sa.Double,
        dict[str, Any]: sa.JSON,
        list[float]: sa.ARRAY(sa.REAL),
        list[int]: sa.ARRAY(sa.Integer),
        list[str]: sa.ARRAY(sa.String),
        dt.datetime: sa.DateTime(timezone=True),
    }


class Model(Base):
    """A language model as it was loaded. Its fingerprint covers weights, tokenizer and chat template."""

    __tablename__ = "model"
    id: Mapped[str] = mapped_column(primary_key=True)
    reference: Mapped[str]
    kind: Mapped[str]  # hub, folder, adapter, gguf, bundled
    revision: Mapped[str | None]
    base_model_id: Mapped[str | None]  # the model that an adapter was made for
    architecture: Mapped[str]
    n_layers: Mapped[int]
    d_model: Mapped[int]
    vocab_size: Mapped[int]
    n_parameters: Mapped[int] = mapped_column(sa.BigInteger)
    weights_hash: Mapped[str]
    tokenizer_hash: Mapped[str]
    template_hash: Mapped[str | None]
    created_at: Mapped[dt.datetime]


class PromptSet(Base):
    """One or more prompt files used together. The id is a hash of the prompts in order."""

    __tablename__ = "prompt_set"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    n_prompts: Mapped[int]
    created_at: Mapped[dt.datetime]


class PromptSetMember(Base):
    """The prompts of a set, in order."""

    __tablename__ = "prompt_set_member"
    prompt_set_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    prompt_id: Mapped[str]


class Prompt(Base):
    """A prompt with its control text. The id is a hash of the content, so the same prompt is stored only once."""

    __tablename__ = "prompt"
    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]  # the id in the prompt file
    category: Mapped[str]
    family: Mapped[str]
    skill: Mapped[str | None]
    difficulty: Mapped[int | None]
    language: Mapped[str]
    text: Mapped[str]
    control: Mapped[str | None]
    answer: Mapped[str | None]
    grader: Mapped[dict[str, Any] | None]
    failure_mode: Mapped[str | None]
    failure_answer: Mapped[str | None]  # the wrong answer that a shortcut leads to


class Run(Base):
    """One execution for a pair. Extraction facts are keyed by `extraction_run_id` (the run's own id, or with
    `--skip-activations` the id of the run that did the extraction). Results are keyed by `id`."""

    __tablename__ = "run"
    id: Mapped[str] = mapped_column(primary_key=True)
    extraction_run_id: Mapped[str]
    base_model_id: Mapped[str]
    target_model_id: Mapped[str]
    base_reference: Mapped[str]
    target_reference: Mapped[str]
    prompt_set_id: Mapped[str]
    state: Mapped[str]  # extracting, extracted, analyzing, analyzed, complete, failed, interrupted
    config: Mapped[dict[str, Any]]
    extraction_key: Mapped[
        str
    ]  # hash of what determines the activations: pair, prompts and `EXTRACTION_FIELDS`
    versions: Mapped[dict[str, Any]]
    device: Mapped[str]
    dtype: Mapped[str]
    dtype_reason: Mapped[str]
    canonical_first: Mapped[str]  # base or target: the model with the smaller fingerprint
    chat_template: Mapped[str]  # a key of CHAT_TEMPLATES
    seed: Mapped[int]
    archived: Mapped[bool] = mapped_column(server_default=sa.text("false"))
    created_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]


class RunEvent(Base):
    """The log of a run: state changes, stage timings (seconds), warnings, choices with their reasons."""

    __tablename__ = "run_event"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[dt.datetime]
    stage: Mapped[str]  # extract, analyze, probe, render
    kind: Mapped[str]  # state, timing, warning, choice, estimate
    message: Mapped[str]
    value: Mapped[float | None]
    detail: Mapped[dict[str, Any] | None]


class RunUnit(Base):
    """A unit of the run's statistics: a prompt with its cluster and the half to which that cluster was assigned."""

    __tablename__ = "run_unit"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(primary_key=True)
    unit: Mapped[int]  # index 0..n-1 in the order of the prompt set
    cluster: Mapped[int]
    category: Mapped[str]
    half: Mapped[str]  # D: discovery, C: confirmation


class Sequence(Base):
    """One text that both models read: a prompt with its author's answer, or a control text."""

    __tablename__ = "sequence"
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    chunk: Mapped[int]
    prompt_id: Mapped[str]
    author: Mapped[str]  # base, target, control
    n_tokens_base: Mapped[int]
    n_tokens_target: Mapped[int]
    n_kept: Mapped[int]  # rows written to shards


class Generation(Base):
    """A model's own greedy answer to a prompt."""

    __tablename__ = "generation"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(primary_key=True)
    author: Mapped[str] = mapped_column(primary_key=True)  # base, target
    chunk: Mapped[int]
    text: Mapped[str]
    n_tokens: Mapped[int]
    finished: Mapped[bool]  # false: cut off at the token limit
    ids: Mapped[list[int] | None]  # the tokens that the author wrote
    # characters of thinking before the answer; NULL if the thought was never closed, so that there is no answer
    answer_start: Mapped[int | None]
    drifts: Mapped[bool | None]  # the other model reads other tokens than its author wrote


class ActivationShard(Base):
    """A safetensors file with the activations, or gradients, of one reader, site, layer and chunk, token by token.

    Tensor `activations` or `gradients`: (n_rows, d_model). Its row i is `token_divergence.row = first_row + i`.
    Activations are in the run's dtype. Gradients are in the same one, but float32 instead of float16: nats of A_reader
    (METHOD section 1) per unit of activation, zero in control texts.
    """

    __tablename__ = "activation_shard"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)  # activation, gradient
    reader: Mapped[str] = mapped_column(primary_key=True)  # base, target
    site: Mapped[str] = mapped_column(primary_key=True)
    layer: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    chunk: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str]  # relative to the folder of the store
    first_row: Mapped[int]
    n_rows: Mapped[int]
    d_model: Mapped[int]
    dtype: Mapped[str]
    n_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    state: Mapped[str]  # present, removed
