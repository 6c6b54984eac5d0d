"""All that an analysis reads, loaded once from the store: prompts, kept token positions, and the shards on disk.

A *row* is one kept token position. The shards of both models hold the same rows in the same order. A *unit* is a prompt
with its answers (the rows of its control text carry the same unit); a *cluster* joins the units of one template family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from analyze.scratch import Scratch
from analyze.shards import Shard, StoredRows
from fi_store.errors import AnalysisError
from fi_store.store import Store
from fi_store.store.tables import Run
from fi_store.vocabulary import AUTHORS, POSITION_CLASSES, SHARD_KINDS, SIDES, ShardKind, Side

CLASSES = tuple(POSITION_CLASSES)
"""The position classes in the order of their indices."""
BASE, TARGET, CONTROL = range(3)
PROMPT, START, THINKING, RESPONSE = range(4)

SiteLayer = tuple[str, int]
"""Where in a model activations are read."""
IntArray = npt.NDArray[np.int64]
SmallInts = npt.NDArray[np.signedinteger]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Units:
    """The prompts of a run, indexed 0..n-1."""

    prompt_ids: list[str]
    clusters: IntArray  # (n,)
    categories: npt.NDArray[np.str_]  # (n,)
    discovery: BoolArray  # (n,) True in half D
    questions: list[str]  # the prompts' texts
    controls: list[str]  # the control text; '' where there is none
    answers: dict[str, list[str]]  # base, target -> the model's own answers; '' for an empty one
    answer_starts: dict[str, IntArray]  # base, target -> (n,) characters of thinking before each answer
    finished: dict[str, BoolArray]  # base, target -> (n,) the answer ended before the limit

    @property
    def n(self) -> int:
        return len(self.prompt_ids)

    @cached_property
    def thin_categories(self) -> list[str]:
        """The categories with a single prompt, where there are several categories: nothing compares them."""
        names, counts = np.unique(self.categories, return_counts=True)
        return [str(name) for name in names[counts == 1]] if len(names) > 1 else []


@dataclass(frozen=True)
class Rows:
    """The N rows of a run, in the order of the shards. All but `discovery` are integers, as small as they may be."""

    unit: SmallInts  # (N,)
    author: SmallInts  # (N,) index into `AUTHORS`
    position_class: SmallInts  # (N,) index into `CLASSES`
    position: SmallInts  # (N,) index of the token within its sequence
    sequence: SmallInts  # (N,) index of the sequence, sorted by id
    token: SmallInts  # (N,) token id at the position
    next_token: SmallInts  # (N,) token id that follows in the text, -1 at the end
    discovery: BoolArray  # (N,) the unit's half is D

    @property
    def n(self) -> int:
        return len(self.unit)

    @cached_property
    def own(self) -> BoolArray:
        """(N,) rows of prompts and answers, without control texts."""
        return np.asarray(self.author != CONTROL)

    def unit_weights(self, n_units: int) -> FloatArray:
        """(N,) weights that average the rows of a position class to units: half for the base's answer and half for the
        target's; 0 for control texts.

        So a longer answer never counts more. If one answer is empty, the unit takes the other answer's mean alone.
        Prompt and start rows exist once per unit and are averaged as they are (METHOD section 1).
        """
        rows = np.flatnonzero(self.own)
        unit, author, position_class = self.unit[rows], self.author[rows], self.position_class[rows]
        counts = np.zeros((n_units, 2, len(CLASSES)), dtype=np.int64)
        np.add.at(counts, (unit, author, position_class), 1)
        authors_present = (counts > 0).sum(axis=1)
        weights = np.zeros(self.n)
        weights[rows] = 1 / (counts[unit, author, position_class] * authors_present[unit, position_class])
        return weights


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of one answer as one model reads it: log p in nats, and the character before which each ends."""

    logprobs: FloatArray  # (k,)
    ends: IntArray  # (k,)


@dataclass(frozen=True)
class Extraction:
    """One extraction as the analysis sees it. It holds no connection and no activations: what is indexed of
    `activations` and `gradients` is read from the shards."""

    units: Units
    rows: Rows
    token_text: dict[int, str]
    # (side, site, layer) -> shards in the order of the rows
    shards: Mapping[tuple[str, str, int], tuple[Shard, ...]]
    # the same for gradients; empty without attribution
    gradient_shards: Mapping[tuple[str, str, int], tuple[Shard, ...]] = field(default_factory=dict)
    # (unit, author, side that read) -> the tokens of that answer; empty for an extraction of version 1
    answers: Mapping[tuple[int, Side, Side], AnswerTokens] = field(default_factory=dict)
    scratch: Scratch = field(default_factory=Scratch, compare=False)  # for what need not be in memory

    def activations(self, side: str, site: str, layer: int) -> StoredRows:
        """(N, d) activations of all rows, in the run's dtype.

        Raises:
            AnalysisError: shards were removed, or are not those of all rows.
        """
        return self._stored(self.shards.get((side, site, layer), ()), "activation", side, site, layer)

    def has_gradients(self, site: str, layer: int) -> bool:
        """Whether the extraction wrote both models' gradients of a layer."""
        return all((side, site, layer) in self.gradient_shards for side in SIDES)

    def gradients(self, side: str, site: str, layer: int) -> StoredRows:
        """(N, d) gradients of A_side (nats, METHOD section 1) by the activations of the same rows, 0 in control texts.

        Raises:
            AnalysisError: as for `activations`, or the run has no attribution.
        """
        return self._stored(self.gradient_shards.get((side, site, layer), ()), "gradient", side, site, layer)

    def _stored(
        self, shards: tuple[Shard, ...], kind: ShardKind, side: str, site: str, layer: int
    ) -> StoredRows:
        """The rows of these shards, one after the other."""
        what, source = SHARD_KINDS[kind], f"layer {layer} ({site}, {side})"
        if not shards:
            raise AnalysisError(
                f"The extraction wrote no {what} of {source}.",
                hint="fi-store run without --skip-activations, or with --keep-activations all once",
            )
        if not all(shard.present for shard in shards):
            raise AnalysisError(
                f"The {what} of {source} were removed from disk.",
                hint="fi-store run with --keep-activations all, then analyze again",
            )
        stored = StoredRows(shards, what, source)
        if len(stored) != self.rows.n:
            raise AnalysisError(
                f"There are {len(stored)} rows of {source} instead of {self.rows.n}.",
                hint="fi-store run: read the models again",
            )
        return stored


def load_extraction(store: Store, run: Run) -> Extraction:
    """Loads a run's units, and the rows, token texts and list of shards of the extraction that it uses.

    Raises:
        AnalysisError: a half has too few prompts, there are no rows, or they are not numbered 0..N-1.
    """
    source = run.extraction_run_id
    units = _load_units(store, run.id, source)
    for half, chosen in (("discovery", units.discovery), ("confirmation", ~units.discovery)):
        families = len(set(units.clusters[chosen].tolist()))
        if families < 2:
            raise AnalysisError(
                f"The {half} half has too few families of prompts: {families} instead of 2 or more.",
                hint="use more prompts",
            )
    rows = _load_rows(store, source, units)
    text = token_texts(store, source)
    shards = _load_shards(store, source, "activation")
    gradients = _load_shards(store, source, "gradient")
    answers = _load_answers(store, source, units)
    return Extraction(units, rows, text, shards, gradients, answers, Scratch(store.folder))


def token_texts(store: Store, source: str) -> dict[int, str]:
    """Token id -> text, for every token that the facts of an extraction mention."""
    tokens = store.arrow("select token_id, text from run_token where run_id = $run", run=source)
    return dict(zip(tokens["token_id"].to_pylist(), tokens["text"].to_pylist(), strict=True))


def _load_answers(store: Store, source: str, units: Units) -> dict[tuple[int, Side, Side], AnswerTokens]:
    number = {prompt_id: unit for unit, prompt_id in enumerate(units.prompt_ids)}
    return {
        (number[row["prompt_id"]], row["author"], row["reader"]): AnswerTokens(
            np.asarray(row["token_logprobs"], dtype=np.float64), np.asarray(row["token_ends"], dtype=np.int64)
        )
        for row in store.rows(
            "select prompt_id, author, reader, token_logprobs, token_ends from answer_logprob where run_id = $run",
            run=source,
        )
    }


def _load_shards(store: Store, source: str, kind: ShardKind) -> dict[tuple[str, str, int], tuple[Shard, ...]]:
    found: dict[tuple[str, str, int], tuple[Shard, ...]] = {}
    for row in store.rows(
        "select reader, site, layer, path, n_rows, state from activation_shard where run_id = $run"
        " and kind = $kind order by reader, site, layer, first_row",
        run=source,
        kind=kind,
    ):
        key = row["reader"], row["site"], row["layer"]
        shard = Shard(store.folder / row["path"], row["n_rows"], row["state"] == "present")
        found[key] = (*found.get(key, ()), shard)
    return found


def _load_units(store: Store, run_id: str, source: str) -> Units:
    table = store.arrow(
        "select u.prompt_id, u.cluster, u.category, u.half, p.text, coalesce(p.control, '') as control,"
        " coalesce(substr(b.text, b.answer_start + 1), '') as base,"
        " coalesce(substr(t.text, t.answer_start + 1), '') as target,"
        " coalesce(b.answer_start, length(b.text), 0) as base_start,"
        " coalesce(t.answer_start, length(t.text), 0) as target_start,"
        " coalesce(b.finished, true) as base_finished, coalesce(t.finished, true) as target_finished"
        " from run_unit u join prompt p on p.id = u.prompt_id"
        " left join generation b on b.run_id = $source and b.prompt_id = u.prompt_id and b.author = 'base'"
        " left join generation t on t.run_id = $source and t.prompt_id = u.prompt_id and t.author = 'target'"
        " where u.run_id = $run order by u.unit",
        run=run_id,
        source=source,
    )
    if table.num_rows == 0:
        raise AnalysisError(f"Run {run_id} has no prompts.", hint="fi-store ingest")
    return Units(
        prompt_ids=table["prompt_id"].to_pylist(),
        clusters=np.asarray(table["cluster"].to_numpy(), dtype=np.int64),
        categories=np.asarray(table["category"].to_pylist(), dtype=np.str_),
        discovery=np.asarray([half == "D" for half in table["half"].to_pylist()]),
        questions=table["text"].to_pylist(),
        controls=table["control"].to_pylist(),
        answers={side: table[side].to_pylist() for side in SIDES},
        answer_starts={side: np.asarray(table[f"{side}_start"].to_numpy(), dtype=np.int64) for side in SIDES},
        finished={side: np.asarray(table[f"{side}_finished"].to_pylist(), dtype=bool) for side in SIDES},
    )


def _load_rows(store: Store, source: str, units: Units) -> Rows:
    table = store.arrow(
        "select d.row, u.unit, (list_position($authors, d.author) - 1)::tinyint as author,"
        " (list_position($classes, d.position_class) - 1)::tinyint as position_class, d.position, s.sequence,"
        " d.token_id, coalesce(d.next_token_id, -1) as next_token_id"
        " from token_divergence d join run_unit u on u.run_id = d.run_id and u.prompt_id = d.prompt_id"
        " join (select id, (row_number() over (order by id) - 1)::integer as sequence from sequence"
        "  where run_id = $run) s on s.id = d.sequence_id"
        " where d.run_id = $run order by d.row",
        run=source,
        authors=list(AUTHORS),
        classes=list(CLASSES),
    )
    n = table.num_rows
    if n == 0:
        raise AnalysisError(
            f"Run {source} holds no extracted positions.", hint=store.command("ingest", "--resume", source)
        )
    if not np.array_equal(table["row"].to_numpy(), np.arange(n)):
        raise AnalysisError(
            f"The rows of run {source} are incomplete.", hint=store.command("ingest", "--resume", source)
        )
    names = ("unit", "author", "position_class", "position", "sequence")
    unit, author, position_class, position, sequence = (table[name].to_numpy() for name in names)
    return Rows(
        unit=unit,
        author=author,
        position_class=position_class,
        position=position,
        sequence=sequence,
        token=table["token_id"].to_numpy(),
        next_token=table["next_token_id"].to_numpy(),
        discovery=units.discovery[unit],
    )
