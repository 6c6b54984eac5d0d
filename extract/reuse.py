"""Takes up an earlier extraction of the same pair, prompts and options instead of running the models again.

A run's halves are its own, so another seed may divide the same readings anew; its shams are those that were read.
The models are known by their fingerprints (files are read, nothing is loaded), so a folder whose weights have
changed since is another model.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from extract.job import key_of, unit_rows
from extract.models import (
    Loading,
    Source,
    adapter_identity,
    find_source,
    has_tokenizer,
    load_config,
    load_tokenizer,
    parse_reference,
    whole_identity,
)
from fi_store import ids
from fi_store.config import EXTRACTION_FIELDS, RunConfig
from fi_store.errors import ModelError, NotFoundError
from fi_store.progress import Progress
from fi_store.prompts import PromptSuite, assign_units
from fi_store.store import Store, now
from fi_store.store.tables import Model, Run
from fi_store.versions import recorded_versions


def reuse_extraction(store: Store, config: RunConfig, suite: PromptSuite, *, progress: Progress) -> str:
    """A new run on the newest fitting extraction of the store; returns its id, its state is `extracted`.

    Raises:
        NotFoundError: none fits (and what the newest one of this pair differs in), or its activations were removed.
    """
    with progress.task("Looking for an extraction"):
        pairs = possible_pairs(config, progress)
        keys = [key_of(base, target, config, suite) for base, target in pairs]
        earlier = _newest(store, Run.extraction_key.in_(keys))
    if earlier is None:
        raise NotFoundError(_what_differs(store, config, suite, pairs), hint="leave --skip-activations out")
    _check_activations(store, earlier, config)
    run = Run(
        **{column.key: getattr(earlier, column.key) for column in Run.__table__.columns},
    )
    run.id = ids.run_id()
    run.extraction_run_id = earlier.id
    run.base_reference, run.target_reference = config.base_model, config.target_model
    run.config, run.seed = config.model_dump(mode="json"), config.seed
    run.versions = recorded_versions()
    run.state, run.created_at, run.finished_at = "extracting", now(), None
    with store.session() as session:
        session.add(run)
        session.add_all(unit_rows(run.id, assign_units(suite, config.seed)))
    store.event(run.id, "extract", "choice", f"The activations are those of run {earlier.id}.")
    store.set_state(run.id, "extracted", "extract")
    progress.note(f"Using the activations of run {earlier.id}.")
    return run.id


def possible_pairs(config: RunConfig, progress: Progress) -> list[tuple[str, str]]:
    """The ids that base and target may have in a store.

    An adapter's id covers the model that it was read on: the other side's, or the one that it names.
    """
    loading = Loading(config.cache_dir, config.trust_remote_code, progress.note)
    texts = config.base_model, config.target_model
    sources = [find_source(parse_reference(text), loading) for text in texts]
    whole = [None if source.adapter else _whole(source, loading) for source in sources]
    sides: list[list[str]] = []
    for side, source in enumerate(sources):
        plain = whole[side]
        if plain is not None:
            sides.append([plain[0].id])
            continue
        bases = [whole[1 - side], _named_base(source, loading)]
        sides.append([_adapted(source, loading, *base).id for base in bases if base is not None])
    return [(base, target) for base in sides[0] for target in sides[1]]


def _whole(source: Source, loading: Loading) -> tuple[Model, Source]:
    tokenizer = load_tokenizer(source, loading)
    return whole_identity(source, load_config(source, loading), tokenizer), source


def _named_base(source: Source, loading: Loading) -> tuple[Model, Source] | None:
    """The model that an adapter names; None where it names none, or one that is not here."""
    name = source.adapter.base_name if source.adapter else None
    if name is None:
        return None
    try:
        return _whole(find_source(parse_reference(name), loading), loading)
    except ModelError:
        return None  # a folder of the machine that trained it; the other side's model is then the one


def _adapted(source: Source, loading: Loading, base: Model, base_source: Source) -> Model:
    own = has_tokenizer(source)
    return adapter_identity(source, base, load_tokenizer(source if own else base_source, loading), own)


def _newest(store: Store, condition: sa.ColumnElement[bool]) -> Run | None:
    """The newest run that extracted by itself, and to the end."""
    with store.session() as session:
        found = list(
            session.scalars(
                sa.select(Run).where(condition, Run.extraction_run_id == Run.id).order_by(Run.id.desc())
            )
        )
    done = {
        str(row["run_id"])
        for row in store.rows(
            "SELECT DISTINCT run_id FROM run_event WHERE kind = 'state' AND message = 'extracted'"
        )
    }
    return next((run for run in found if run.id in done), None)


def _what_differs(
    store: Store, config: RunConfig, suite: PromptSuite, pairs: Iterable[tuple[str, str]]
) -> str:
    same_pair = sa.or_(
        *(sa.and_(Run.base_model_id == base, Run.target_model_id == target) for base, target in pairs)
    )
    closest = _newest(store, same_pair)
    if closest is None:
        return f"The store {store.path} holds no extraction of {config.base_model} and {config.target_model}."
    settings = config.model_dump(mode="json")
    different = [
        f"{name} {closest.config[name]}"
        for name in EXTRACTION_FIELDS
        if closest.config[name] != settings[name]
    ]
    if closest.prompt_set_id != suite.id:
        different.append("other prompts")
    made = (
        ", ".join(different) or "another version of fi-store"
    )  # what determines an extraction has changed since
    return f"The newest extraction of this pair, {closest.id}, was made with {made}."


def _check_activations(store: Store, run: Run, config: RunConfig) -> None:
    """Refuses an extraction without the activations of a layer that is asked for (not kept, or removed)."""
    rows = store.rows(
        "SELECT layer FROM activation_shard WHERE run_id = $run GROUP BY layer HAVING bool_and(state = 'present')",
        run=run.id,
    )
    present = {int(row["layer"]) for row in rows}
    depth = store.rows(
        "SELECT min(n_layers) AS n FROM model WHERE id IN ($base, $target)",
        base=run.base_model_id,
        target=run.target_model_id,
    )[0]["n"]
    missing = sorted(set(config.analyzed_layers(depth)) - present)
    if missing:
        raise NotFoundError(
            f"Run {run.id} has no activations of layer {', '.join(map(str, missing))} any more.",
            hint="leave --skip-activations out, and give --keep-activations all",
        )
