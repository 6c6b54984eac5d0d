"""A run's extraction before it starts: decides its settings, writes the run to the store, or checks an earlier run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from extract.limits import PromptTokens, check_limits, check_shared_ids, prompt_tokens
from extract.models import Ways
from extract.reading import VocabularyMap, answering, map_vocabularies, require_sites
from extract.selfcheck import PairCheck, check_pair
from extract.texts import (
    Rendering,
    Tokenizers,
    Wishes,
    canonical_first,
    choose_rendering,
    make_tokenizers,
)
from fi_store import ids
from fi_store.config import EXTRACTION_FIELDS, RunConfig
from fi_store.errors import UsageError
from fi_store.prompts import PromptRecord, PromptSuite, Unit, assign_units, lone_categories
from fi_store.safe_text import one_line
from fi_store.store import Store, add_missing, now
from fi_store.store.tables import Prompt, PromptSet, PromptSetMember, Run, RunUnit
from fi_store.versions import recorded_versions
from fi_store.vocabulary import SIDES, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair

EXTRACTION_FORM = 5
"""Increased when an extraction of the same models, prompts and options would write something different."""
CHUNK_PROMPTS = 32
"""Prompts that are answered, read and committed together. A killed run loses at most these."""


@dataclass(frozen=True)
class Attribution:
    """Whether an extraction computes gradients and attributions, and why. `failed`: it should, but a model cannot."""

    on: bool
    reason: str
    failed: bool = False


@dataclass(frozen=True)
class Job:
    """Everything that is decided once, before the first chunk of an extraction."""

    config: RunConfig
    suite: PromptSuite
    chunks: tuple[tuple[PromptRecord, ...], ...]  # the prompts in file order, `CHUNK_PROMPTS` at a time
    units: list[Unit]
    pair: LoadedPair
    first: Side
    n_layers: int  # of the deeper model
    written_layers: frozenset[int]  # layers whose activations go to disk
    dtype: str  # the type in which both models compute, by torch's name
    answering: dict[Side, str | None]  # a hash of what determines a model's answers besides its fingerprint
    rendering: Rendering
    tokenizers: Tokenizers
    texts: list[PromptTokens]  # all prompts and control texts, rendered
    vocabulary: VocabularyMap
    check: PairCheck
    warnings: list[str]
    attribution: Attribution = Attribution(False, "Attribution: not asked for.")


def prepare(
    pair: LoadedPair,
    config: RunConfig,
    suite: PromptSuite,
    rendering: Rendering | None = None,
    check: PairCheck | None = None,
) -> Job:
    """Decides rendering, tokenization, vocabulary, units and how the models are read.

    A resumed run passes its own `rendering` and `check`.

    Raises:
        UsageError: there are no prompts or equal ones, or the models have no such layer or need another dictionary.
        ExtractionError: a model cannot read a prompt or has no such site, does not predict the same twice, or the
            vocabularies have nothing in common.
    """
    _refuse_unusable(suite)
    units = assign_units(suite, config.seed)
    warnings = lone_categories(units)
    n_layers = pair.depths.n_layers
    written_layers = frozenset(config.written_layers(n_layers))  # refuses a layer that no model has
    config.dictionary_kind((pair.base.d_model, pair.target.d_model))  # refuses one that needs equal widths
    texts = [text for prompt in suite.prompts for text in (prompt.text, prompt.control) if text]
    if rendering is None:
        rendering, changed = choose_rendering(pair, texts, config.chat_template, Wishes.of(config))
        warnings += changed
    tokenizers = make_tokenizers(pair, rendering, texts)
    rendered = prompt_tokens(suite, rendering, tokenizers)
    check_limits(pair, rendered, config.max_new_tokens)
    if tokenizers.alike:
        check_shared_ids(pair)
    for reader in (pair.base, pair.target):
        require_sites(reader, config.sites)
    warnings += tokenizers.warnings(suite.prompts)
    warnings += _remarks(pair, config, tokenizers)
    if check is None:
        check = check_pair(pair)
        warnings += check.warnings
    base, target = (
        replace(reader, turn_ends=codec.ends, shown=codec.shown, ways=ways)
        for reader, codec, ways in zip(
            (pair.base, pair.target), tokenizers.codecs.values(), check.ways.values(), strict=True
        )
    )
    pair = replace(pair, base=base, target=target)
    vocabulary = map_vocabularies(base.tokenizer, target.tokenizer, base.vocab_size, target.vocab_size)
    if vocabulary.coverage is not None:
        warnings.append(vocabulary.coverage)
    starts = range(0, len(suite.prompts), CHUNK_PROMPTS)
    return Job(
        config=config,
        suite=suite,
        chunks=tuple(suite.prompts[start : start + CHUNK_PROMPTS] for start in starts),
        units=units,
        pair=pair,
        first=canonical_first(pair),
        n_layers=n_layers,
        written_layers=written_layers,
        dtype=str(pair.dtype).removeprefix("torch."),
        answering={
            "base": answering(base, config.trust_remote_code),
            "target": answering(target, config.trust_remote_code),
        },
        rendering=rendering,
        tokenizers=tokenizers,
        texts=rendered,
        vocabulary=vocabulary,
        check=check,
        warnings=warnings,
    )


def _remarks(pair: LoadedPair, config: RunConfig, tokenizers: Tokenizers) -> list[str]:
    """What is said about special tokens in the system prompt, and about models that are unlike."""
    found, base, target = [], pair.base, pair.target
    texts = config.system_prompt or ""
    acting = {token for codec in tokenizers.codecs.values() for token in codec.controls_in(texts)}
    if acting:
        found.append(f"In the system prompt, {', '.join(sorted(acting))} acts as a special token.")
    if not tokenizers.shared:
        found.append(
            "The models read different tokens. Only positions where both have a token boundary are compared."
        )
    if base.n_layers != target.n_layers:
        deeper = max((base, target), key=lambda reader: reader.n_layers)
        found.append(
            f"The models have {base.n_layers} and {target.n_layers} layers. A layer is compared with the one at the "
            f"same relative depth, and numbered as in {deeper.reference.text}."
        )
    return found


def _refuse_unusable(suite: PromptSuite) -> None:
    if not suite.prompts:
        raise UsageError("There is no prompt to read.", hint="fi-store prompts")
    keys: dict[str, str] = {}  # by prompt id
    for prompt in suite.prompts:
        if prompt.id in keys:
            raise UsageError(
                f"The prompts {keys[prompt.id]} and {prompt.key} are the same.", hint="fi-store prompts"
            )
        keys[prompt.id] = prompt.key


def extraction_key(pair: LoadedPair, config: RunConfig, suite: PromptSuite) -> str:
    """A hash of everything that determines the activations."""
    return key_of(pair.base.identity.id, pair.target.identity.id, config, suite)


def key_of(base_id: str, target_id: str, config: RunConfig, suite: PromptSuite) -> str:
    """The same hash for two models given by their ids."""
    settings = config.model_dump(mode="json")
    fields = {name: settings[name] for name in EXTRACTION_FIELDS}
    return ids.content_id("extraction", EXTRACTION_FORM, base_id, target_id, suite.id, fields)


def begin(store: Store, job: Job) -> str:
    """Writes a new run with its models, prompts, units, and choices with their reasons. Returns its id."""
    run_id = ids.run_id()
    pair, suite = job.pair, job.suite
    models = [pair.base.base_identity, pair.target.base_identity, pair.base.identity, pair.target.identity]
    prompt_set = PromptSet(
        id=suite.id,
        name=suite.name,
        version=suite.version,
        n_prompts=len(suite.prompts),
        created_at=now(),
    )
    entities: list[Any] = [*{model.id: model for model in models if model is not None}.values(), prompt_set]
    for position, prompt in enumerate(suite.prompts):
        entities.append(Prompt(id=prompt.id, **asdict(prompt)))
        entities.append(PromptSetMember(prompt_set_id=suite.id, position=position, prompt_id=prompt.id))
    run, units = _run(run_id, job), unit_rows(run_id, job.units)
    with store.session() as session:
        add_missing(session, entities)
        session.add(run)
        session.add_all(units)
    store.event(run_id, "extract", "state", "extracting")
    store.event(run_id, "extract", "choice", f"Precision {job.dtype}: {pair.dtype_reason}")
    store.event(
        run_id,
        "extract",
        "choice",
        job.rendering.reason,
        detail={
            "rendering": job.rendering.stored(),
            **{f"{side}_answering": job.answering[side] for side in SIDES},
        },
    )
    store.event(
        run_id,
        "extract",
        "choice",
        job.check.reason,
        detail={"ways": {side: asdict(ways) for side, ways in job.check.ways.items()}},
    )
    store.event(
        run_id,
        "extract",
        "warning" if job.attribution.failed else "choice",
        job.attribution.reason,
        detail={"attribution": job.attribution.on},
    )
    for message in (*pair.warnings, *job.warnings):
        store.event(run_id, "extract", "warning", message)
    return run_id


def unit_rows(run_id: str, units: Sequence[Unit]) -> list[RunUnit]:
    """The rows that a run stores about its units."""
    return [
        RunUnit(
            run_id=run_id,
            prompt_id=unit.prompt.id,
            unit=unit.unit,
            cluster=unit.cluster,
            category=unit.prompt.category,
            half=unit.half,
        )
        for unit in units
    ]


def _run(run_id: str, job: Job) -> Run:
    pair, config = job.pair, job.config
    return Run(
        id=run_id,
        extraction_run_id=run_id,
        base_model_id=pair.base.identity.id,
        target_model_id=pair.target.identity.id,
        base_reference=config.base_model,
        target_reference=config.target_model,
        prompt_set_id=job.suite.id,
        state="extracting",
        config=config.model_dump(mode="json"),
        extraction_key=extraction_key(pair, config, job.suite),
        versions=recorded_versions(),
        device=str(pair.device),
        dtype=job.dtype,
        dtype_reason=pair.dtype_reason,
        canonical_first=job.first,
        chat_template=job.rendering.choice,
        seed=config.seed,
        archived=False,
        created_at=now(),
        finished_at=None,
    )


def precision_of(dtype: str, quantization: str) -> tuple[str, str | None]:
    """The types of a model's products and weights, comparable although the same precision may have two names."""
    return dtype, quantization if quantization in ("int8", "nf4") else None


def stored_rendering(store: Store, run_id: str) -> Rendering:
    """How the run's prompts were rendered when it began. (Today its template might write another date.)"""
    (row,) = store.rows(
        "SELECT CAST(detail->'rendering' AS VARCHAR) AS rendering FROM run_event"
        " WHERE run_id = $run AND kind = 'choice' AND (detail->'rendering') IS NOT NULL",  # -> binds weakly in DuckDB
        run=run_id,
    )
    return Rendering.restored(json.loads(row["rendering"]))


def stored_check(store: Store, run_id: str) -> PairCheck:
    """How the models were read when the run began."""
    (row,) = store.rows(
        "SELECT message, CAST(detail->'ways' AS VARCHAR) AS ways FROM run_event"
        " WHERE run_id = $run AND kind = 'choice' AND (detail->'ways') IS NOT NULL",
        run=run_id,
    )
    ways = json.loads(row["ways"])
    return PairCheck({side: Ways(**ways[side]) for side in SIDES}, row["message"])


def stored_attribution(store: Store, run_id: str) -> Attribution:
    """What was decided about attribution when the run began."""
    (row,) = store.rows(
        "SELECT message, kind, detail->>'attribution' = 'true' AS chosen FROM run_event"
        " WHERE run_id = $run AND (detail->>'attribution') IS NOT NULL",
        run=run_id,
    )
    return Attribution(row["chosen"], row["message"], failed=row["kind"] == "warning")


def stored_answering(store: Store, run_id: str, side: str) -> str | None:
    """The stored hash of what determined one model's answers in an extraction, besides its fingerprint."""
    rows = store.rows(
        f"SELECT detail->>'{side}_answering' AS hash FROM run_event WHERE run_id = $run AND kind = 'choice'"
        " AND (detail->'rendering') IS NOT NULL",
        run=run_id,
    )
    return rows[0]["hash"] if rows else None


def check_configured(store: Store, extraction_run_id: str, job: Job) -> None:
    """Refuses to run a model again whose weights are those of an extraction, but not its configuration.

    Raises:
        UsageError: config.json, or what ends an answer, is different.
    """
    for side, now_ in job.answering.items():
        then = stored_answering(store, extraction_run_id, side)
        if then is not None and now_ is not None and then != now_:
            reader = job.pair.base if side == "base" else job.pair.target
            raise UsageError(
                f"The configuration of {reader.reference.text} is not what it was when {extraction_run_id} began.",
                hint="restore it, or start a new run: fi-store run",
            )


def check_same(
    previous: Run,
    pair: LoadedPair,
    config: RunConfig,
    suite: PromptSuite,
    *,
    action: str = "continue",
    hint: str = "repeat it with its own options, or start a new run without --resume",
) -> None:
    """Refuses to continue a run with other models, prompts or options.

    Raises:
        UsageError: something is different. The message says what.
    """
    if previous.extraction_key == extraction_key(pair, config, suite) and previous.seed == config.seed:
        return
    settings = config.model_dump(mode="json")
    compared: Sequence[tuple[str, Any, Any]] = [
        ("base model", previous.base_model_id, pair.base.identity.id),
        ("target model", previous.target_model_id, pair.target.identity.id),
        ("prompt set", previous.prompt_set_id, suite.id),
        *((name, previous.config.get(name), settings[name]) for name in ("seed", *EXTRACTION_FIELDS)),
    ]
    different = [
        f"{name} ({one_line(str(old), 60)} then, {one_line(str(new), 60)} now)"
        for name, old, new in compared
        if old != new
    ]
    if not different:  # a new version has changed what determines an extraction
        raise UsageError(
            f"The run {previous.id} cannot {action}: it was made with another version of fi-store.",
            hint="start a new run with the same options",
        )
    raise UsageError(f"The run {previous.id} cannot {action}: different {', '.join(different)}.", hint=hint)
