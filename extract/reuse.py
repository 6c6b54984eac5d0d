"""Reuses an earlier extraction of the same pair, prompts and options instead of running the models again.

Each run has its own halves, so another seed can divide the same activations differently. Models are compared by
fingerprint, without loading them: a folder whose weights have changed since is another model.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from extract.job import key_of, unit_rows
from extract.models import possible_ids
from fi_store import ids
from fi_store.config import EXTRACTION_FIELDS, RunConfig
from fi_store.errors import NotFoundError
from fi_store.progress import Progress
from fi_store.prompts import PromptSuite, assign_units, lone_categories
from fi_store.safe_text import one_line
from fi_store.store import Store, now
from fi_store.store.tables import Run
from fi_store.versions import recorded_versions


def reuse_extraction(store: Store, config: RunConfig, suite: PromptSuite, *, progress: Progress) -> str:
    """Starts a run on the newest matching extraction in the store and returns its id. Its state is `extracted`.

    Raises:
        NotFoundError: there is no matching extraction, or its activations were removed.
    """
    units = assign_units(suite, config.seed)
    with progress.task("Looking for an extraction"):
        pairs = possible_ids(
            config.base_model,
            config.target_model,
            config.cache_dir,
            trust_remote_code=config.trust_remote_code,
            note=progress.note,
        )
        keys = [key_of(base, target, config, suite) for base, target in pairs]
        earlier = _newest(store, Run.extraction_key.in_(keys))
    if earlier is None:
        raise NotFoundError(_what_differs(store, config, suite, pairs), hint="leave out --skip-activations")
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
        session.add_all(unit_rows(run.id, units))
    store.event(run.id, "extract", "choice", f"The activations come from run {earlier.id}.")
    for message in lone_categories(units):
        store.event(run.id, "extract", "warning", message)
        progress.note(message, warning=True)
    store.set_state(run.id, "extracted", "extract")
    progress.note(f"Using the activations of run {earlier.id}.")
    return run.id


def _newest(store: Store, condition: sa.ColumnElement[bool]) -> Run | None:
    """The newest run with a finished extraction of its own."""
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
    """A sentence about how the newest extraction of the pair differs from the one that is needed."""
    same_pair = sa.or_(
        *(sa.and_(Run.base_model_id == base, Run.target_model_id == target) for base, target in pairs)
    )
    closest = _newest(store, same_pair)
    if closest is None:
        return (
            f"The store {store.path} contains no extraction of {config.base_model} and {config.target_model}."
        )
    settings = config.model_dump(mode="json")
    different = [
        f"{name} {one_line(str(closest.config[name]), 60)}"
        for name in EXTRACTION_FIELDS
        # Runs of earlier versions lack newer fields.
        if closest.config.get(name, settings[name]) != settings[name]
    ]
    if closest.prompt_set_id != suite.id:
        different.append("other prompts")
    # If no option differs, a new version has changed what determines an extraction.
    reason = ", ".join(different) or "another version of fi-store"
    return f"The newest extraction of this pair, {closest.id}, was made with {reason}."


def _check_activations(store: Store, run: Run, config: RunConfig) -> None:
    """Refuses an extraction that lacks the activations of a requested layer (not kept, or removed)."""
    rows = store.rows(
        "SELECT layer FROM activation_shard WHERE run_id = $run GROUP BY layer HAVING bool_and(state = 'present')",
        run=run.id,
    )
    present = {int(row["layer"]) for row in rows}
    depth = store.rows(
        "SELECT max(n_layers) AS n FROM model WHERE id IN ($base, $target)",
        base=run.base_model_id,
        target=run.target_model_id,
    )[0]["n"]
    missing = sorted(set(config.analyzed_layers(depth)) - present)
    if missing:
        raise NotFoundError(
            f"Run {run.id} no longer has activations of layer {', '.join(map(str, missing))}.",
            hint="leave out --skip-activations, and use --keep-activations all",
        )
