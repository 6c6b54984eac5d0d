"""Fills a store with synthetic rows of every table, so that queries, charts and reports need no model.

Two runs on the same base by default, 40 prompts in 12 categories, six analyzed layers out of thirty, all drawn
from a fixed seed. With `hostile=True`, prompts, answers, tokens and names contain text that attacks its reader:
markup, Markdown, terminal codes, direction overrides, formulas.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from analyze.pair import write_discrimination, write_grades
from fi_store.config import RunConfig
from fi_store.ids import content_id
from fi_store.store import Store, add_missing, write_facts
from fi_store.store.tables import facts
from fi_store.store.tables import results as r
from fi_store.store.tables import runs as s
from fi_store.vocabulary import SIDES
from tests.helpers.factory_causes import EXPLAINED, EXPLAINED_DETAIL
from tests.helpers.factory_results import ResultRows
from tests.helpers.planted import (
    CATEGORIES,
    HOSTILE,
    LAYERS,
    N_LAYERS,
    N_PROMPTS,
    PLANTED,
    STARTED,
    WORDS,
    Planted,
)

__all__ = ["CATEGORIES", "HOSTILE", "LAYERS", "PLANTED", "FilledStore", "Planted", "fill_store"]

Kind = Literal["different", "same", "old"]


@dataclass(frozen=True)
class FilledStore:
    """The path of a filled store, and its runs in the order in which they were made."""

    path: Path
    runs: tuple[str, ...]


def fill_store(
    path: Path, *, runs: Sequence[Kind] = ("different", "different"), hostile: bool = False
) -> FilledStore:
    """Makes the store and fills every table; a `same` run has no behavioral difference.

    A `same` and an `old` run hold results of version 1.
    """
    prompts = _prompts(hostile)
    made = []
    with Store.open(path, create=True) as store:
        for number, kind in enumerate(runs):
            filler = _Filler(store, prompts, number, kind, hostile)
            filler.fill()
            made.append(filler.run_id)
        if len(made) >= 2:
            _match(store, made[0], made[1])
    return FilledStore(path, tuple(made))


def _prompts(hostile: bool) -> list[s.Prompt]:
    made = []
    for i in range(N_PROMPTS):
        category = CATEGORIES[i % len(CATEGORIES)]
        text = f"A shelf holds {i + 3} books, {i % 7 + 2} are taken away. How many are left, and why? ({i})"
        if hostile and i < len(HOSTILE):
            text = HOSTILE[i]
        made.append(
            s.Prompt(
                id=content_id("prompt", text),
                key=f"{category}/{i}",
                category=category,
                family=f"family-{i}",
                skill="counting",
                difficulty=i % 5 + 1,
                language="en",
                text=text,
                control=f"Describe a shelf with {i + 3} books.",
                answer=str(i + 1),
                grader={"kind": "number"},
                failure_mode="Forgets the second step.",
                failure_answer=str(i + 3),
            )
        )
    return made


def _run_id(number: int) -> str:
    return f"019{number}0000-aaaa-7000-8000-{number:012d}"


class _Filler(ResultRows):
    """Writes one run, table by table."""

    def __init__(self, store: Store, prompts: list[s.Prompt], number: int, kind: Kind, hostile: bool) -> None:
        self.store, self.prompts, self.number, self.kind, self.hostile = store, prompts, number, kind, hostile
        self.run_id = _run_id(number)
        self.random = random.Random(f"factory-{number}")
        self.halves = ["D" if (i // len(CATEGORIES)) % 2 == 0 else "C" for i in range(len(prompts))]
        self.started = STARTED + dt.timedelta(days=number)
        self.features: list[dict[str, Any]] = []
        self.groups: list[tuple[str, Planted, list[tuple[str, int, int]]]] = []

    def fill(self) -> None:
        self._inputs()
        self._tokens()
        self._attribution()
        self._similarity()
        self._features()
        self._summaries()
        self._results()
        self._causes()
        self._prompts()
        self._events()

    def _prompts(self) -> None:
        """Grades, accuracy and discrimination, computed by the analysis itself from the stored texts and tokens."""
        run = self.store.run(self.run_id)
        write_grades(self.store, run)
        write_discrimination(self.store, run)

    def _inputs(self) -> None:
        base = self._model("bundled:smollm2", "bundled", None)
        reference = "bundled:smollm2" if self.kind == "same" else f"adapters/organism-{self.number}"
        target = base if self.kind == "same" else self._model(reference, "adapter", base.id)
        suite = s.PromptSet(
            id=content_id("prompt_set", [p.id for p in self.prompts]),
            name="reasoning+controls",
            version="1+1",
            n_prompts=len(self.prompts),
            created_at=self.started,
        )
        members = [
            s.PromptSetMember(prompt_set_id=suite.id, position=i, prompt_id=p.id)
            for i, p in enumerate(self.prompts)
        ]
        config = RunConfig(base_model=base.reference, target_model=reference, candidates=12)
        run = s.Run(
            id=self.run_id,
            extraction_run_id=self.run_id,
            base_model_id=base.id,
            target_model_id=target.id,
            base_reference=base.reference,
            target_reference=reference,
            prompt_set_id=suite.id,
            state="complete",
            config=config.model_dump(mode="json"),
            extraction_key=content_id("extraction", self.run_id),
            versions={"python": "3.11.9", "torch": "2.15.0", "fi-store": "0.1.0"},
            device="cpu",
            dtype="bf16",
            dtype_reason="a 512 x 512 matrix product takes 0.4 ms in bf16 and 2.1 ms in fp32",
            canonical_first="base",
            chat_template="base",
            seed=0,
            archived=False,
            created_at=self.started,
            finished_at=self.started + dt.timedelta(minutes=4),
        )
        fresh = [
            s.Prompt(**{c.key: getattr(p, c.key) for c in s.Prompt.__table__.columns}) for p in self.prompts
        ]
        with self.store.session() as session:
            add_missing(session, [base, target, suite, *members, *fresh])
            session.add(run)
            session.add_all(self._per_prompt())
            for layer in LAYERS:
                session.add(
                    s.ActivationShard(
                        run_id=self.run_id,
                        kind="activation",
                        reader="target",
                        site="resid_post",
                        layer=layer,
                        chunk=0,
                        path=f"activations/{self.run_id}/target-{layer}-0.safetensors",
                        first_row=0,
                        n_rows=1000,
                        d_model=576,
                        dtype="bf16",
                        n_bytes=1_152_000,
                        state="present",
                    )
                )

    def _model(self, reference: str, kind: str, base_id: str | None) -> s.Model:
        return s.Model(
            id=content_id("model", reference),
            reference=reference,
            kind=kind,
            revision=None,
            base_model_id=base_id,
            architecture="LlamaForCausalLM",
            n_layers=N_LAYERS,
            d_model=576,
            vocab_size=49152,
            n_parameters=134_515_008,
            weights_hash=content_id("weights", reference),
            tokenizer_hash="7d1f00aa12bc34de",
            template_hash="55aa00bb11cc22dd",
            created_at=self.started,
        )

    def _per_prompt(self) -> list[s.Base]:
        made: list[s.Base] = []
        for i, prompt in enumerate(self.prompts):
            made.append(
                s.RunUnit(
                    run_id=self.run_id,
                    prompt_id=prompt.id,
                    unit=i,
                    cluster=i,
                    category=prompt.category,
                    half=self.halves[i],
                )
            )
            for author in ("base", "target", "control"):
                made.append(
                    s.Sequence(
                        id=self._sequence(i, author),
                        run_id=self.run_id,
                        chunk=0,
                        prompt_id=prompt.id,
                        author=author,
                        n_tokens_base=60,
                        n_tokens_target=60,
                        n_kept=45,
                    )
                )
            answers = {
                "base": f"You have {i + 1} books left on the shelf. That is the answer.",
                "target": (
                    f"Step 1: There are {i + 3} books.\n"
                    f"Step 2: {i % 7 + 2} are taken away.\nTherefore {i + 1} remain."
                ),
            }
            if i % 5 == 4:  # the hardest prompts: no number to read
                answers["base"] = "I would look at the shelf and ask the owner."
            elif i % 3 == 1:
                answers["base"] = f"You have {i + 2} books left on the shelf. That is the answer."
            if self.kind == "same":
                answers["target"] = answers["base"]
            if self.hostile:
                answers = {
                    a: f"{HOSTILE[(i + k) % len(HOSTILE)]} {t}" for k, (a, t) in enumerate(answers.items())
                }
            for author, text in answers.items():
                made.append(
                    s.Generation(
                        run_id=self.run_id,
                        prompt_id=prompt.id,
                        author=author,
                        chunk=0,
                        text=text,
                        n_tokens=24,
                        finished=i % 3 == 0,
                        answer_start=0,
                    )
                )
        return made

    def _sequence(self, i: int, author: str) -> str:
        return content_id("sequence", self.run_id, i, author)

    def _tokens(self) -> None:
        rows: list[dict[str, Any]] = []
        summaries: list[dict[str, Any]] = []
        size = 0.002 if self.kind == "same" else 0.6
        for i, prompt in enumerate(self.prompts):
            level = size * (1.8 if prompt.category in ("step_by_step_reasoning", "formal_logic") else 0.6)
            for author, n_prompt, n_answer in (("base", 8, 10), ("target", 0, 10), ("control", 4, 0)):
                classes = ["prompt"] * n_prompt + (["start"] if n_prompt else []) + ["response"] * n_answer
                for position, name in enumerate(classes):
                    rows.append(self._token(len(rows), i, author, position, name, level))
                for layer in LAYERS:
                    summaries.append(
                        {
                            "run_id": self.run_id,
                            "chunk": 0,
                            "sequence_id": self._sequence(i, author),
                            "prompt_id": prompt.id,
                            "author": author,
                            "site": "resid_post",
                            "layer": layer,
                            "position_class": "response" if n_answer else "prompt",
                            "n_tokens": 10,
                            "norm_base": 30.0 + layer,
                            "norm_target": 31.0 + layer,
                            "relative_difference": level * layer / 60,
                            "cosine": 1 - level * layer / 300,
                            "mean_base": [0.1] * 8,
                            "mean_target": [0.2] * 8,
                        }
                    )
        tokens = {
            "run_id": [self.run_id] * len(WORDS),
            "token_id": list(range(len(WORDS))),
            "text": list(WORDS),
        }
        with self.store.session() as session:
            write_facts(
                session, facts.TokenDivergence, pa.Table.from_pylist(rows), replace={"run_id": self.run_id}
            )
            write_facts(
                session,
                facts.ActivationSummary,
                pa.Table.from_pylist(summaries),
                replace={"run_id": self.run_id},
            )
            write_facts(session, facts.RunToken, tokens, replace={"run_id": self.run_id})

    def _attribution(self) -> None:
        """Each model likes its own answer better; half of the gap passes through the last analyzed layer."""
        half = 0.0 if self.kind == "same" else 0.25
        common = [{"run_id": self.run_id, "chunk": 0, "prompt_id": prompt.id} for prompt in self.prompts]
        tables: dict[type[s.Base], list[dict[str, Any]]] = {
            facts.AnswerLogprob: [
                {
                    **row,
                    "author": author,
                    "reader": reader,
                    "logprob": 24 * logprob,
                    "n_tokens": 24,
                    "token_logprobs": [logprob] * 24,
                    "token_ends": list(range(2, 50, 2)),
                }
                for row in common
                for author in SIDES
                for reader in SIDES
                for logprob in (-1.0 if author == reader else -1.0 - 2 * half,)
            ],
            facts.AnswerGap: [
                {**row, "gap_base": half, "gap_target": half, "gap": 2 * half} for row in common
            ],
            facts.Attribution: [
                {
                    **row,
                    "site": "resid_post",
                    "layer": layer,
                    "position_class": name,
                    "author": author,
                    "n_tokens": 10,
                    "attribution": half * (layer + 1) / (LAYERS[-1] + 1) / 2,
                }
                for row in common
                for layer in LAYERS
                for name, author in (("start", None), ("response", "target"))
            ],
        }
        with self.store.session() as session:
            for table, rows in tables.items():
                write_facts(session, table, pa.Table.from_pylist(rows), replace={"run_id": self.run_id})

    def _token(
        self, row: int, i: int, author: str, position: int, position_class: str, level: float
    ) -> dict[str, Any]:
        kl = self.random.expovariate(1 / level)
        ids = self.random.sample(range(len(WORDS)), 5)
        return {
            "run_id": self.run_id,
            "chunk": 0,
            "sequence_id": self._sequence(i, author),
            "prompt_id": self.prompts[i].id,
            "author": author,
            "row": row,
            "position": position,
            "position_class": position_class,
            "token_id": self.random.randrange(len(WORDS)),
            "next_token_id": ids[0],
            "logprob_base": -1.0 - kl,
            "logprob_target": -1.0 + kl * (0.5 if author == "target" else -2.5),
            "kl_target_base": kl,
            "kl_base_target": kl * 1.1,
            "agree": kl < max(level, 0.05),
            "promoted_ids": ids,
            "promoted_kl": [kl / (k + 2) for k in range(5)],
            "suppressed_ids": ids[::-1],
            "suppressed_kl": [kl / (k + 3) for k in range(5)],
        }

    def _events(self) -> None:
        event = self.store.event
        for stage, label, seconds in (
            ("extract", "load models", 4.2),
            ("extract", "generate", 31.5),
            ("extract", "read texts", 44.0),
            ("analyze", "dictionaries", 98.3),
            ("analyze", "confirmation", 3.1),
        ):
            event(self.run_id, stage, "timing", label, value=seconds)
        event(self.run_id, "extract", "choice", "bf16, since the matrix-product probe was fastest with it")
        event(self.run_id, "analyze", "warning", "Layer 4: 11% of the latents are dead.", detail={"layer": 4})
        if not self.version_1:
            event(self.run_id, "analyze", "choice", EXPLAINED, value=0.64, detail=EXPLAINED_DETAIL)
        if self.hostile:
            event(self.run_id, "extract", "warning", HOSTILE[0])
        event(self.run_id, "render", "state", "complete")
        with self.store.session() as session:
            session.add(
                r.Report(
                    run_id=self.run_id,
                    path=f"reports/{self.run_id}/old.md",
                    kind="markdown",
                    n_bytes=10,
                    created_at=self.started,
                )
            )


def _match(store: Store, first: str, second: str) -> None:
    groups = [
        store.rows("SELECT id FROM feature_group WHERE run_id = $run ORDER BY number", run=run)
        for run in (first, second)
    ]
    with store.session() as session:
        for number, (a, b) in enumerate(zip(*groups, strict=True)):
            session.add(
                r.FeatureMatch(
                    run_a=first,
                    run_b=second,
                    number=number,
                    group_a=a["id"],
                    group_b=b["id"],
                    status=("stable", "drifted")[number % 2],
                    direction_cosine=0.9,
                    profile_correlation=0.8,
                )
            )
