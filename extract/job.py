"""Opens a run in the store: a new one with everything that determines it, or an interrupted one to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from extract.reading import VocabularyMap, answering, map_vocabularies
from extract.texts import Rendering, Tokenizers, canonical_first, choose_rendering, make_tokenizers
from fi_store import ids
from fi_store.config import EXTRACTION_FIELDS, RunConfig
from fi_store.errors import UsageError
from fi_store.prompts import PromptRecord, PromptSuite, Unit, assign_units
from fi_store.store import Store, add_missing, now
from fi_store.store.tables import Prompt, PromptSet, PromptSetMember, Run, RunUnit
from fi_store.versions import recorded_versions
from fi_store.vocabulary import SIDES, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair

EXTRACTION_FORM = 2
"""Counted up when what is written of the same models, prompts and options changes."""
CHUNK_PROMPTS = 32
"""Prompts that are answered, read and committed together: what a killed run can lose."""


@dataclass(frozen=True)
class Job:
    """What a run's extraction needs to know, decided once before its first chunk."""

    config: RunConfig
    suite: PromptSuite
    pair: LoadedPair
    first: Side
    rendering: Rendering
    tokenizers: Tokenizers
    vocabulary: VocabularyMap
    units: list[Unit]
    warnings: list[str]

    @property
    def n_layers(self) -> int:
        """Layers that both models have."""
        return min(self.pair.base.n_layers, self.pair.target.n_layers)

    @property
    def dtype(self) -> str:
        """What both models compute in, as torch calls it."""
        return str(self.pair.dtype).removeprefix("torch.")

    def answering(self, side: Side) -> str | None:
        """See `extract.reading.generate.answering`."""
        reader = self.pair.base if side == "base" else self.pair.target
        return answering(reader, self.config.trust_remote_code)

    @property
    def chunks(self) -> list[tuple[PromptRecord, ...]]:
        """The prompts in file order, in portions of `CHUNK_PROMPTS`."""
        prompts = self.suite.prompts
        return [prompts[at : at + CHUNK_PROMPTS] for at in range(0, len(prompts), CHUNK_PROMPTS)]


def prepare(
    pair: LoadedPair, config: RunConfig, suite: PromptSuite, rendering: Rendering | None = None
) -> Job:
    """Decides rendering, tokenization, vocabulary and units; a resumed run brings its own `rendering`."""
    _refuse_unusable(suite)
    depth = min(pair.base.n_layers, pair.target.n_layers)
    config.analyzed_layers(depth)  # refuses a layer that is not there before the models run
    texts = [text for prompt in suite.prompts for text in (prompt.text, prompt.control) if text]
    warnings: list[str] = []
    if rendering is None:
        rendering, warnings = choose_rendering(pair, texts)
    tokenizers = make_tokenizers(pair, rendering, texts)
    if not tokenizers.shared:
        warnings.append("The tokenizers differ; positions are those where both have a token boundary.")
    base, target = pair.base, pair.target
    return Job(
        config=config,
        suite=suite,
        pair=pair,
        first=canonical_first(pair),
        rendering=rendering,
        tokenizers=tokenizers,
        vocabulary=map_vocabularies(base.tokenizer, target.tokenizer, base.vocab_size, target.vocab_size),
        units=assign_units(suite, config.seed),
        warnings=warnings,
    )


def _refuse_unusable(suite: PromptSuite) -> None:
    if not suite.prompts:
        raise UsageError("There is no prompt to read.", hint="fi-store prompts")
    seen: dict[str, str] = {}
    for prompt in suite.prompts:
        if prompt.id in seen:
            raise UsageError(
                f"The prompts {seen[prompt.id]} and {prompt.key} are the same.", hint="fi-store prompts"
            )
        seen[prompt.id] = prompt.key


def extraction_key(pair: LoadedPair, config: RunConfig, suite: PromptSuite) -> str:
    """Hash of what determines the activations."""
    return key_of(pair.base.identity.id, pair.target.identity.id, config, suite)


def key_of(base_id: str, target_id: str, config: RunConfig, suite: PromptSuite) -> str:
    """The same for two models that are known by their ids."""
    settings = config.model_dump(mode="json")
    fields = {name: settings[name] for name in EXTRACTION_FIELDS}
    return ids.content_id("extraction", EXTRACTION_FORM, base_id, target_id, suite.id, fields)


def begin(store: Store, job: Job) -> str:
    """Writes the run with its models, prompts and units, and its choices with their reasons; returns its id."""
    run_id = ids.run_id()
    pair, suite = job.pair, job.suite
    with store.session() as session:
        models = [
            pair.base.base_identity,
            pair.target.base_identity,
            pair.base.identity,
            pair.target.identity,
        ]
        entities: list[Any] = list({model.id: model for model in models if model is not None}.values())
        created = now()
        entities.append(
            PromptSet(
                id=suite.id,
                name=suite.name,
                version=suite.version,
                n_prompts=len(suite.prompts),
                created_at=created,
            )
        )
        for position, prompt in enumerate(suite.prompts):
            entities.append(Prompt(id=prompt.id, **asdict(prompt)))
            entities.append(PromptSetMember(prompt_set_id=suite.id, position=position, prompt_id=prompt.id))
        add_missing(session, entities)
        session.add(_run(run_id, job))
        session.add_all(unit_rows(run_id, job.units))
    store.event(run_id, "extract", "state", "extracting")
    store.event(run_id, "extract", "choice", f"Precision {job.dtype}: {pair.dtype_reason}")
    store.event(
        run_id,
        "extract",
        "choice",
        f"Prompts are rendered by: {job.rendering.source}.",
        detail={**asdict(job.rendering), **{f"{side}_answering": job.answering(side) for side in SIDES}},
    )
    for message in (*pair.warnings, *job.warnings):
        store.event(run_id, "extract", "warning", message)
    return run_id


def unit_rows(run_id: str, units: Sequence[Unit]) -> list[RunUnit]:
    """What a run stores about its units."""
    return [
        RunUnit(
            run_id=run_id,
            prompt_id=one.prompt.id,
            unit=one.unit,
            cluster=one.cluster,
            category=one.prompt.category,
            half=one.half,
        )
        for one in units
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
        chat_template=job.rendering.source,
        seed=config.seed,
        archived=False,
        created_at=now(),
        finished_at=None,
    )


def precision_of(dtype: str, quantization: str) -> tuple[str, str | None]:
    """What a model's weights and products were: two names of the same precision are equal."""
    return dtype, quantization if quantization in ("int8", "nf4") else None


def stored_rendering(store: Store, run_id: str) -> Rendering:
    """How the run's prompts were rendered when it began (a template may write another date today)."""
    (row,) = store.rows(
        "SELECT detail->>'source' AS source, detail->>'prefix' AS prefix, detail->>'suffix' AS suffix FROM run_event "
        "WHERE run_id = $run AND kind = 'choice' AND (detail->>'prefix') IS NOT NULL",  # -> binds weakly in DuckDB
        run=run_id,
    )
    return Rendering(row["source"], row["prefix"], row["suffix"])


def check_same(
    previous: Run,
    pair: LoadedPair,
    config: RunConfig,
    suite: PromptSuite,
    *,
    wish: str = "go on",
    hint: str = "repeat it with its own options, or start a new run without --resume",
) -> None:
    """Refuses to go on with a run under other circumstances.

    Raises:
        UsageError: names what is different.
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
    different = [f"{name} ({old} then, {new} now)" for name, old, new in compared if old != new]
    if not different:  # what determines an extraction has changed since
        raise UsageError(
            f"The run {previous.id} cannot {wish}: another version of fi-store made it.",
            hint="start a new run with the same options",
        )
    raise UsageError(f"The run {previous.id} cannot {wish}: different {', '.join(different)}.", hint=hint)
