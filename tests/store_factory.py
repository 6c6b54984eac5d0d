"""Fills a store with synthetic rows of every table, so that queries, charts and reports need no model.

Two runs on the same base (or as many as asked for), 40 prompts in 12 categories, six analysed layers of
thirty. Everything is drawn from a fixed seed. With `hostile=True` prompts, answers, tokens and names hold
text that attacks whoever prints it: markup, Markdown, terminal codes, direction overrides, formulas.
"""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from fi_store import schema as s
from fi_store import schema_facts as facts
from fi_store import schema_results as r
from fi_store.config import RunConfig
from fi_store.ids import content_id
from fi_store.store import Store, add_missing, write_facts

Kind = Literal["different", "same"]

CATEGORIES = (
    "step_by_step_reasoning",
    "chain_of_thought",
    "formal_logic",
    "causal_reasoning",
    "probabilistic_reasoning",
    "counterfactual_reasoning",
    "analogical_reasoning",
    "abductive_reasoning",
    "adversarial_reasoning",
    "constraint_satisfaction",
    "code_understanding",
    "general_control",
)
LAYERS = (4, 9, 14, 17, 23, 28)
N_LAYERS = 30
N_LATENTS = 64
N_PROMPTS = 40
WORDS = (
    " Step",
    " First",
    ":",
    " therefore",
    " the",
    " is",
    "\n",
    " 1",
    ".",
    " because",
    " and",
    " so",
    " 24",
    " result",
)
HOSTILE = (
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[click](javascript:alert(1)) | broken | cell\n# not a heading",
    "\x1b[31mred\x1b[0m \x07bell",
    "\u202egnp.exe\u202c mirrored",
    '=HYPERLINK("http://evil.example","x")',
    "`code` ``` fence ~~~ https://evil.example www.evil.example {{ 7*7 }} \u2028 line",
)
STARTED = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)


@dataclass(frozen=True)
class FilledStore:
    """Where the rows are; `runs` in the order in which they were made."""

    path: Path
    runs: tuple[str, ...]


@dataclass(frozen=True)
class _Planted:
    change: str
    name: str
    named: bool
    categories: tuple[str, ...]
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]
    triggers: tuple[str, ...]
    layers: tuple[int, ...]
    position_class: str
    theta: float
    log2: float


PLANTED = (
    _Planted(
        "strengthened",
        "numbered steps at the start of a worked problem",
        True,
        ("step_by_step_reasoning", "constraint_satisfaction"),
        ("Step", "1", "First", ":"),
        ("The", "It"),
        ("assistant", "\n"),
        (17, 23, 28),
        "start",
        1.12,
        2.3,
    ),
    _Planted(
        "added",
        "a closing line that begins with 'Therefore'",
        True,
        ("formal_logic", "causal_reasoning"),
        ("Therefore", "thus", "hence"),
        (".", "and"),
        (".", "\n"),
        (23, 28),
        "response",
        0.44,
        3.4,
    ),
    _Planted(
        "weakened",
        "hedging words before an estimate",
        True,
        ("probabilistic_reasoning",),
        ("is", "exactly"),
        ("probably", "might", "perhaps"),
        ("about",),
        (17,),
        "response",
        -0.31,
        -1.2,
    ),
    _Planted(
        "strengthened",
        "digits after an equals sign",
        True,
        ("step_by_step_reasoning", "chain_of_thought"),
        ("24", "=", "12"),
        ("so",),
        ("=",),
        (14, 17),
        "response",
        0.27,
        1.1,
    ),
    _Planted(
        "removed",
        "polite opening such as 'Sure' or 'Certainly'",
        True,
        ("general_control",),
        ("The",),
        ("Sure", "Certainly", "!"),
        ("assistant",),
        (9, 14),
        "start",
        -0.66,
        -3.1,
    ),
    _Planted(
        "redirected",
        "list items, turned from bullets to numbers",
        True,
        ("constraint_satisfaction",),
        ("1", "2", "."),
        ("-", "*"),
        ("\n",),
        (23,),
        "response",
        0.22,
        0.1,
    ),
    _Planted(
        "strengthened",
        "unnamed: strongest on 'because'",
        False,
        ("causal_reasoning",),
        ("because", "since"),
        ("and",),
        ("why",),
        (28,),
        "response",
        0.19,
        0.8,
    ),
    _Planted(
        "undetermined",
        "unnamed: strongest on 'if' in prompts",
        False,
        ("counterfactual_reasoning",),
        ("would", "were"),
        ("is",),
        ("if",),
        (4,),
        "prompt",
        0.08,
        0.3,
    ),
)


def fill_store(
    path: Path, *, runs: Sequence[Kind] = ("different", "different"), hostile: bool = False
) -> FilledStore:
    """Makes the store and fills every table; `same` is a pair without a behavioural difference."""
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
            )
        )
    return made


def _run_id(number: int) -> str:
    return f"019{number}0000-aaaa-7000-8000-{number:012d}"


class _Filler:
    """Writes one run, table by table."""

    def __init__(self, store: Store, prompts: list[s.Prompt], number: int, kind: Kind, hostile: bool) -> None:
        self.store, self.prompts, self.number, self.kind, self.hostile = store, prompts, number, kind, hostile
        self.run_id = _run_id(number)
        self.random = random.Random(f"factory-{number}")
        self.halves = ["D" if (i // len(CATEGORIES)) % 2 == 0 else "C" for i in range(len(prompts))]
        self.started = STARTED + dt.timedelta(days=number)
        self.features: list[dict[str, Any]] = []
        self.groups: list[tuple[str, _Planted, list[tuple[str, int, int]]]] = []

    def fill(self) -> None:
        self._inputs()
        self._tokens()
        self._similarity()
        self._features()
        self._summaries()
        self._results()
        self._events()

    def _inputs(self) -> None:
        base = self._model("bundled:smollm2", "bundled", None)
        reference = f"adapters/organism-{self.number}" if self.kind == "different" else "bundled:smollm2"
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
        config = RunConfig(base_model=base.reference, target_model=reference, candidates=12, shams=1)
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
        with self.store.session() as unit:
            add_missing(unit, [base, target, suite, *members, *fresh])
            unit.add(run)
            unit.add_all(self._per_prompt())
            unit.add(
                s.ShamTarget(
                    run_id=self.run_id,
                    number=0,
                    seed=1,
                    scale=0.83,
                    relative_difference_pair=0.121,
                    relative_difference_sham=0.118,
                )
            )
            for layer in LAYERS:
                unit.add(
                    s.ActivationShard(
                        run_id=self.run_id,
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
        with self.store.session() as unit:
            write_facts(
                unit, facts.TokenDivergence, pa.Table.from_pylist(rows), replace={"run_id": self.run_id}
            )
            write_facts(
                unit,
                facts.ActivationSummary,
                pa.Table.from_pylist(summaries),
                replace={"run_id": self.run_id},
            )
            write_facts(unit, facts.RunToken, tokens, replace={"run_id": self.run_id})

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

    def _similarity(self) -> None:
        size = 0.01 if self.kind == "same" else 1.0
        rows: list[r.LayerSimilarity] = []
        for layer in range(N_LAYERS):
            depth = (layer / (N_LAYERS - 1)) ** 2 * size
            values = {
                "cka": 1 - 0.22 * depth,
                "cosine": 1 - 0.16 * depth,
                "relative_difference": 0.02 * size + 0.55 * depth,
            }
            for metric, value in values.items():
                for shift, position_class in enumerate(("prompt", "start", "response")):
                    value_here = value + 0.01 * shift * depth * (1 if metric == "relative_difference" else -1)
                    width = 0.01 + 0.02 * depth
                    rows.append(
                        r.LayerSimilarity(
                            run_id=self.run_id,
                            source="fi-store",
                            metric=metric,
                            site="resid_post",
                            label=str(layer),
                            position_class=position_class,
                            layer_base=layer,
                            layer_target=layer,
                            value=value_here,
                            ci_low=value_here - width,
                            ci_high=value_here + width,
                            n_units=20,
                        )
                    )
            if layer % 3 == 0:
                for metric, value in (("similarity", 0.97 - 0.2 * depth), ("difference", 0.05 + 0.3 * depth)):
                    rows.append(
                        r.LayerSimilarity(
                            run_id=self.run_id,
                            source="crosscoder-file",
                            metric=metric,
                            site="resid_post",
                            label=f"model.layers.{layer}.weight",
                            position_class="all",
                            layer_base=layer,
                            layer_target=layer,
                            value=value,
                            ci_low=None,
                            ci_high=None,
                            n_units=None,
                        )
                    )
        with self.store.session() as unit:
            unit.add_all(rows)

    def _features(self) -> None:
        size = 0.02 if self.kind == "same" else 1.0
        rows: list[s.Base] = []
        for layer in LAYERS:
            dictionary_id = content_id("dictionary", self.run_id, layer)
            rows.append(
                r.Dictionary(
                    id=dictionary_id,
                    run_id=self.run_id,
                    kind="paired_sae",
                    site="resid_post",
                    layer=layer,
                    d_model=576,
                    n_latents=N_LATENTS,
                    k=16,
                    seed=0,
                    steps=500,
                    n_rows=2000,
                    path=f"features/{self.run_id}/{layer}",
                    scale=1.3,
                    threshold=0.4,
                    ev_base_d=0.86,
                    ev_target_d=0.85,
                    ev_base_c=0.81,
                    ev_target_c=0.80 - layer / 1000,
                    l0_base=15.8,
                    l0_target=16.2,
                    dead_share=0.11,
                    dark_matter=0.35 + layer / 200,
                )
            )
            for latent in range(N_LATENTS):
                theta = self.random.gauss(0, 0.03) * size
                ratio = theta * 12 + self.random.gauss(0, 0.2) * size
                change = (
                    "strengthened"
                    if ratio > 0.6
                    else "weakened"
                    if ratio < -0.6
                    else "shared"
                    if abs(ratio) < 0.3
                    else "undetermined"
                )
                row = {
                    "id": content_id("feature", self.run_id, layer, latent),
                    "run_id": self.run_id,
                    "dictionary_id": dictionary_id,
                    "site": "resid_post",
                    "layer": layer,
                    "latent": latent,
                    "alive": latent % 9 != 8,
                    "n_fire_base": 40 + latent,
                    "n_fire_target": 44 + latent,
                    "scale": 1.0 + latent / 50,
                    "decoder_norm_base": 1.0,
                    "decoder_norm_target": 1.0,
                    "position_class": ("prompt", "start", "response")[latent % 3],
                    "change": change,
                    "log2_ratio": ratio,
                    "theta": theta,
                }
                self.features.append(row)
        self._plant(size)
        rows += [r.Feature(**row) for row in self.features]
        with self.store.session() as unit:
            unit.add_all(rows)

    def _plant(self, size: float) -> None:
        for number, planted in enumerate(PLANTED):
            members = []
            for layer in planted.layers:
                row = next(f for f in self.features if f["layer"] == layer and f["latent"] == number)
                row.update(
                    alive=True,
                    change=planted.change,
                    theta=planted.theta * size,
                    log2_ratio=planted.log2 * size,
                    position_class=planted.position_class,
                )
                members.append((row["id"], layer, number))
            self.groups.append((content_id("group", self.run_id, number), planted, members))

    def _summaries(self) -> None:
        rows: list[dict[str, Any]] = []
        planted = {feature: p for _, p, members in self.groups for feature, _, _ in members}
        for f in self.features:
            strongest = planted[f["id"]].categories if f["id"] in planted else ()
            for half in ("D", "C"):
                for category in ("*", *CATEGORIES):
                    n = self.halves.count(half) if category == "*" else 2
                    theta = f["theta"] * (1.6 if category in strongest else 1.0 if category == "*" else 0.7)
                    base = 0.2 + f["latent"] / 200
                    rows.append(
                        {
                            "run_id": self.run_id,
                            "feature_id": f["id"],
                            "layer": f["layer"],
                            "latent": f["latent"],
                            "position_class": f["position_class"],
                            "category": category,
                            "half": half,
                            "n": n,
                            "n_nonzero": n,
                            "mean_base": base,
                            "mean_target": base * 2 ** f["log2_ratio"],
                            "sum_theta": theta * n,
                            "sumsq_theta": theta * theta * n * 1.3,
                            "max_abs_theta": abs(theta) * 2,
                            "q_explore": min(1.0, math.exp(-abs(theta) * 20)) if half == "D" else None,
                        }
                    )
        active = [
            {
                "run_id": self.run_id,
                "feature_id": feature,
                "layer": layer,
                "latent": latent,
                "row": row,
                "value_base": 0.1,
                "value_target": 1.5,
            }
            for _, _, members in self.groups
            for feature, layer, latent in members
            for row in range(0, 60, 5)
        ]
        with self.store.session() as unit:
            write_facts(
                unit, facts.FeatureSummary, pa.Table.from_pylist(rows), replace={"run_id": self.run_id}
            )
            write_facts(
                unit, facts.FeatureActivation, pa.Table.from_pylist(active), replace={"run_id": self.run_id}
            )

    def _results(self) -> None:
        same = self.kind == "same"
        with self.store.session() as unit:
            unit.add(
                r.PairGate(
                    run_id=self.run_id,
                    gap=0.002 if same else 1.21,
                    gap_low=-0.001 if same else 0.94,
                    gap_high=0.004 if same else 1.52,
                    kl_symmetric=0.003 if same else 0.74,
                    kl_low=0.002 if same else 0.58,
                    kl_high=0.005 if same else 0.93,
                    agreement=0.991 if same else 0.62,
                    n_units=self.halves.count("C"),
                    verdict="no_behavioural_difference" if same else "different",
                )
            )
            unit.add(
                r.AnalysisPlan(
                    run_id=self.run_id,
                    plan={
                        "candidates": 12,
                        "selected": len(self.groups),
                        "alpha": 0.05,
                        "seed": 0,
                        "clusters_d": self.halves.count("D"),
                        "clusters_c": self.halves.count("C"),
                        "layers": [["resid_post", layer] for layer in LAYERS],
                        "floors": [[0.01, 0.12, 0.02] for _ in LAYERS],
                        "shams": ["sham_0"],
                        "sign_flips": 9999,
                    },
                    opened_before=0,
                    smallest_detectable=0.66,
                    created_at=self.started,
                )
            )
            for number, (group_id, planted, members) in enumerate(self.groups):
                unit.add_all(self._group(number, group_id, planted, members))
        self._effects(same)

    def _group(
        self, number: int, group_id: str, p: _Planted, members: list[tuple[str, int, int]]
    ) -> list[s.Base]:
        tier = "internal_shift" if self.kind == "same" else "observation"
        size = 0.02 if self.kind == "same" else 1.0
        name = f"{HOSTILE[number % len(HOSTILE)]} {p.name}" if self.hostile else p.name
        promoted = [*p.promoted, *([HOSTILE[number % len(HOSTILE)]] if self.hostile else [])]
        low, high = sorted((p.theta * size * 0.7, p.theta * size * 1.3))
        made: list[s.Base] = [
            r.FeatureGroup(
                id=group_id,
                run_id=self.run_id,
                number=number + 1,
                position_class=p.position_class,
                layers=list(p.layers),
                n_features=len(members),
                attributed=2.0 / (number + 1),
                share=0.3 / (number + 1),
                selected=True,
            ),
            r.FeatureName(
                run_id=self.run_id,
                group_id=group_id,
                number=0,
                phrase=name,
                predicate={"kind": "next_token_in", "tokens": list(p.promoted)},
                method="lexical",
                auc_d=0.81,
                auc_random=0.93,
                auc_random_low=0.86,
                auc_hard=0.74,
                auc_hard_low=0.65,
                scores={"R": {"auc": 0.93, "n": 60}},
                chosen=True,
                named=p.named,
            ),
            r.Finding(
                run_id=self.run_id,
                group_id=group_id,
                rank=number + 1,
                tier=tier,
                causal_status="not tested causally",
                change=p.change,
                named=p.named,
                name=name,
                description=f"Fires in the {p.position_class} and pushes {', '.join(p.promoted)}.",
                sentence=f"On 20 held-out prompts the target shows {name}: {p.change}, "
                f"theta {p.theta * size:+.2f} against a floor of 0.05, p = 0.003 in a family of 12; "
                f"not tested causally.",
                position_class=p.position_class,
                layers=list(p.layers),
                categories=list(p.categories),
                category_p=0.02 if number % 2 == 0 else None,
                promoted_tokens=promoted,
                suppressed_tokens=list(p.suppressed),
                trigger_tokens=list(p.triggers),
                effect=p.theta * size,
                ci_low=low,
                ci_high=high,
                floor=0.05,
                p_value=0.003 + number / 200,
                q_value=0.004 + number / 180,
                n_units=20,
                log2_ratio=p.log2 * size,
                log2_low=p.log2 * size - 0.4,
                log2_high=p.log2 * size + 0.4,
                rate_base=0.06 if p.named else None,
                rate_target=0.81 if p.named else None,
                rate_p=0.0004 if p.named else None,
                share_closed=None,
                share_low=None,
            ),
        ]
        for feature, _, _ in members:
            made.append(
                r.FeatureGroupMember(
                    group_id=group_id,
                    feature_id=feature,
                    run_id=self.run_id,
                    weight=1 / len(members),
                    side="gains" if p.theta > 0 else "loses",
                )
            )
        for k in range(4):
            prompt = self.prompts[(number * 3 + k) % len(self.prompts)]
            token = (
                HOSTILE[(number + k) % len(HOSTILE)]
                if self.hostile and k == 1
                else WORDS[(number + k) % len(WORDS)]
            )
            made.append(
                r.FindingExample(
                    run_id=self.run_id,
                    group_id=group_id,
                    number=k,
                    prompt_id=prompt.id,
                    author=("target", "base")[k % 2],
                    category=prompt.category,
                    before=f"{prompt.text[-40:]} Answer number {k}:\n",
                    token=token,
                    after=" There are seven books on the shelf, and",
                    value_base=0.1 * k,
                    value_target=1.7 - 0.2 * k,
                )
            )
        return made

    def _effects(self, same: bool) -> None:
        rows: list[dict[str, Any]] = []
        for number, (group_id, p, _) in enumerate(self.groups):
            for category in ("*", *CATEGORIES):
                theta = (
                    p.theta
                    * (0.02 if same else 1.0)
                    * (1.0 if category == "*" else 0.4 if category in p.categories else -0.1)
                )
                few = category != "*" and category != "step_by_step_reasoning"
                rows.append(
                    {
                        "run_id": self.run_id,
                        "group_id": group_id,
                        "category": category,
                        "half": "C",
                        "effect": theta,
                        "ci_low": theta - 0.1,
                        "ci_high": theta + 0.1,
                        "floor": 0.05 if category == "*" else None,
                        "statistic": 4.2 - number / 4,
                        "p_value": None if few else 0.001 + number / 300,
                        "p_adjusted": None if few else 0.003 + number / 200,
                        "q_value": None if few else 0.004 + number / 180,
                        "n_units": 20 if category == "*" else 2,
                        "n_nonzero": 18 if category == "*" else 2,
                        "note": "too few clusters for a p value (2 < 8)" if few else None,
                    }
                )
        with self.store.session() as unit:
            write_facts(unit, facts.Effect, pa.Table.from_pylist(rows), replace={"run_id": self.run_id})

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
        if self.hostile:
            event(self.run_id, "extract", "warning", HOSTILE[0])
        event(self.run_id, "render", "state", "complete")
        with self.store.session() as unit:
            unit.add(
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
    with store.session() as unit:
        for number, (a, b) in enumerate(zip(*groups, strict=True)):
            unit.add(
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
