"""The tables that describe inputs and runs: models, prompts, runs, sequences, shards.

What was measured per token stands in `schema_facts`, what was concluded in `schema_results`. No foreign-key
constraints (DuckDB checks them too eagerly inside one transaction); `fi-store doctor` looks for orphans instead.
Ids are made by the client: content hashes, and UUIDv7 for runs.
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
    """Declarative base; the annotation map fixes one column type for each Python type.

    `float` is DOUBLE; vectors are `FLOAT[]` (not fixed-size), so that the same rows live in Parquet and DuckLake.
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
    """A language model as it was read: the fingerprint covers weights, tokenizer and chat template."""

    __tablename__ = "model"
    id: Mapped[str] = mapped_column(primary_key=True)
    reference: Mapped[str]
    kind: Mapped[str]  # hub, folder, adapter, gguf, bundled
    revision: Mapped[str | None]
    base_model_id: Mapped[str | None]  # the model that an adapter sits on
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
    """One or more prompt files as they were used together; the id is the hash of its prompts in order."""

    __tablename__ = "prompt_set"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    n_prompts: Mapped[int]
    created_at: Mapped[dt.datetime]


class PromptSetMember(Base):
    """Which prompt stands where in a set."""

    __tablename__ = "prompt_set_member"
    prompt_set_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    prompt_id: Mapped[str]


class Prompt(Base):
    """A prompt with its control text; the id is a hash of the content, so the same prompt is stored once."""

    __tablename__ = "prompt"
    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]  # the id written in the file
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
    failure_answer: Mapped[str | None]  # the wrong answer that the shortcut gives


class Run(Base):
    """One execution for a pair. Extraction facts are keyed by `extraction_run_id` (the run's own id, or with
    `--skip-activations` the id of the run that extracted); results are keyed by `id`."""

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
    extraction_key: Mapped[str]  # hash of what determines the activations: pair, prompts, precision, seed
    versions: Mapped[dict[str, Any]]
    device: Mapped[str]
    dtype: Mapped[str]
    dtype_reason: Mapped[str]
    canonical_first: Mapped[str]  # 'base' or 'target': which fingerprint is smaller
    chat_template: Mapped[str]  # where the rendering came from: base, target, none
    seed: Mapped[int]
    archived: Mapped[bool] = mapped_column(server_default=sa.text("false"))
    created_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]


class RunEvent(Base):
    """What happened in a run: state changes, stage timings (seconds), warnings, choices with their reasons."""

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
    """A prompt's place in the run's statistics: its cluster and the half that the cluster fell into."""

    __tablename__ = "run_unit"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(primary_key=True)
    unit: Mapped[int]  # 0..n-1 in the order of the prompt set
    cluster: Mapped[int]
    category: Mapped[str]
    half: Mapped[str]  # D: discovery, C: confirmation


class Sequence(Base):
    """One text that both models read: a prompt with the answer of its author, or a control text."""

    __tablename__ = "sequence"
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    chunk: Mapped[int]
    prompt_id: Mapped[str]
    author: Mapped[str]  # base, target, control
    n_tokens_base: Mapped[int]
    n_tokens_target: Mapped[int]
    n_kept: Mapped[int]  # rows that went to shards


class Generation(Base):
    """A model's own greedy answer to a prompt."""

    __tablename__ = "generation"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(primary_key=True)
    author: Mapped[str] = mapped_column(primary_key=True)  # base, target
    chunk: Mapped[int]
    text: Mapped[str]
    n_tokens: Mapped[int]
    finished: Mapped[bool]  # ended by itself rather than at the token limit


class ShamTarget(Base):
    """A target without content: the weight difference with rows and columns permuted and sign-flipped, scaled
    until it moves activations as far as the real target does (METHOD: equal-norm sham)."""

    __tablename__ = "sham_target"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seed: Mapped[int]
    scale: Mapped[float]  # c
    relative_difference_pair: Mapped[float]
    relative_difference_sham: Mapped[float]


class ActivationShard(Base):
    """A safetensors file with the token-level activations of one reader, site, layer and chunk.

    Tensor `activations`: (n_rows, d_model), the run's dtype; row i is `token_divergence.row = first_row + i`. A sham
    reads no control texts: its rows are counted without theirs.
    """

    __tablename__ = "activation_shard"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    reader: Mapped[str] = mapped_column(primary_key=True)  # base, target, sham_0, sham_1, ...
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
