"""Writes arms and requests as an analysis would, and reads texts by hand: whole, unpadded, with a plain hook."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from extract.answers import stored_answers
from extract.chunks import sequences_of
from extract.job import Job, prepare, stored_rendering
from extract.models import Reader
from extract.probes import Prober
from extract.reading import reader_of
from extract.texts import Answer, ReadSequence
from fi_store.config import RunConfig
from fi_store.progress import Progress
from fi_store.prompts import suite_from_store
from fi_store.store import Store, arm_path
from fi_store.store.tables import Arm, ProbeRequest
from fi_store.vocabulary import SIDES, Side
from tests.helpers.small_runs import ingested, loaded, small_config, small_suite


def add_arm(
    store: Store,
    run_id: str,
    arm_id: str,
    layer: int,
    rows: Tensor,
    coefficients: Tensor,
    *,
    site: str = "resid_post",
    classes: Sequence[str] = ("start",),
    directions: Tensor | None = None,
    latents: Tensor | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes an arm's file and row; returns the file."""
    path = store.folder / arm_path(run_id, arm_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"rows": rows, "coefficients": coefficients, "directions": directions, "latents": latents}
    found = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
    save_file(found, path, dict(metadata or {}))
    with store.session() as session:
        session.add(
            Arm(
                id=arm_id,
                run_id=run_id,
                kind="group",
                site=site,
                layer=layer,
                position_classes=list(classes),
                n_rows=len(rows),
                n_directions=0 if directions is None else len(directions),
                path=arm_path(run_id, arm_id),
            )
        )
    return path


def ask(
    store: Store,
    run_id: str,
    request_id: str,
    side: Side,
    arm_id: str | None,
    prompt_ids: Sequence[str],
    *,
    kind: str = "read",
    words: bool = False,
) -> None:
    with store.session() as session:
        session.add(
            ProbeRequest(
                id=request_id,
                run_id=run_id,
                kind=kind,
                side=side,
                arm_id=arm_id,
                prompt_ids=list(prompt_ids),
                words=words,
                state="asked",
            )
        )


def rows_of(store: Store, run_id: str, classes: Sequence[str]) -> Tensor:
    """The rows of these position classes, control texts left out."""
    rows = store.rows(
        "SELECT \"row\" FROM token_divergence WHERE run_id = $run AND author <> 'control'"
        " AND list_contains($classes, position_class) ORDER BY 1",
        run=run_id,
        classes=list(classes),
    )
    return torch.tensor([row["row"] for row in rows])


def readings(store: Store, request_id: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(prompt, author) -> the row of `intervention`."""
    rows = store.rows("SELECT * FROM intervention WHERE request_id = $id", id=request_id)
    return {(row["prompt_id"], row["author"]): row for row in rows}


def states(store: Store, run_id: str) -> dict[str, str]:
    rows = store.rows("SELECT id, state FROM probe_request WHERE run_id = $run", run=run_id)
    return {row["id"]: row["state"] for row in rows}


ANSWERS = [
    ("There are 12 sheep.", "Step 1: count. Then add the rest, and it is 7."),
    ("Perhaps.", "It is cold"),
    ("The same answer.", "The same answer."),
    ("", "The train leaves at 10:45."),
    ("First we count the sheep that were there", "The wind is cold, the sky is grey"),
    ("The answer is seven.", "The answer is four."),
]
"""The base's and the target's answers to six prompts. Every second one is finished."""


def ingested_answers(
    folder: Path, base: Path, target: Path, patch: pytest.MonkeyPatch, **options: object
) -> tuple[Store, str]:
    """An extraction of six prompts with these answers, since those of random models are hardly text."""
    sides = itertools.cycle(range(2))

    def answered(_reader: Any, prompts: Any, *_: Any) -> list[Answer]:
        side = next(sides)
        return [
            Answer(ANSWERS[number][side], len(ANSWERS[number][side]), number % 2 == 1)
            for number in range(len(prompts))
        ]

    patch.setattr("extract.answers.generate_answers", answered)
    return ingested(folder, small_config(base, target, **options), small_suite(len(ANSWERS)))


class ByHand:
    """A run's models and texts, read one text at a time without any shortcut."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.store, self.run_id = store, run_id
        run = store.run(run_id)
        config, suite = RunConfig(**run.config), suite_from_store(store, run.prompt_set_id)
        pair = loaded(Path(config.base_model), Path(config.target_model))
        self.job: Job = prepare(pair, config, suite, stored_rendering(store, run_id))

    @cached_property
    def prober(self) -> Prober:
        """A prober of the run, kept because it loads the models."""
        return Prober(self.store, self.run_id, Progress())

    @cached_property
    def prompt_ids(self) -> list[str]:
        return [prompt.id for prompt in self.job.suite.prompts]

    @cached_property
    def sequences(self) -> dict[tuple[str, str], ReadSequence]:
        """(prompt, author) -> the text."""
        answers = stored_answers(self.store, self.run_id)
        found = sequences_of(self.run_id, self.job, self.job.suite.prompts, answers)
        return {(sequence.prompt_id, sequence.author): sequence for sequence in found}

    def positions(self, prompt_id: str, author: str, side: Side) -> dict[int, int]:
        """row of the extraction -> position in one model's tokens, of all rows that the text goes through."""
        found: dict[int, int] = {}
        for writer in (self.job.first, author):
            sequence = self.sequences[prompt_id, writer]
            rows = self.store.rows(
                'SELECT "row" FROM token_divergence WHERE sequence_id = $id ORDER BY 1', id=sequence.id
            )
            kept = zip(rows, sequence.sides[side].kept, sequence.classes, strict=True)
            found |= {
                row["row"]: at for row, at, name in kept if writer == author or name in ("prompt", "start")
            }
        return found

    @contextmanager
    def hooked(self, side: Side, site: str, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        module: Any = self.reader(side).layers[layer]
        module = {"resid_post": module, "attn_out": module.self_attn, "mlp_out": module.mlp}[site]

        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            changed = change(output[0] if isinstance(output, tuple) else output)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        handle = module.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def reader(self, side: Side) -> Reader:
        return reader_of(self.job.pair, side)

    @torch.inference_mode()
    def logits(self, side: Side, ids: Sequence[int]) -> Tensor:
        """(n, V) of one whole text."""
        with self.reader(side).active() as model:
            output: Any = model(input_ids=torch.tensor([list(ids)]), use_cache=False)
        return output.logits[0]  # type: ignore[no-any-return]

    def log_softmax(self, side: Side, logits: Tensor) -> Tensor:
        """(n, V) log-probabilities of the tokenizer's tokens."""
        tokens = self.job.vocabulary.base if side == "base" else self.job.vocabulary.target
        padded = torch.full((logits.shape[1],), -torch.inf)
        padded[torch.cat([tokens.shared, tokens.rest])] = 0
        return (logits + padded).log_softmax(1)

    def activations(self, side: Side, site: str, layer: int, ids: Sequence[int]) -> Tensor:
        """(n, d_model) of one whole text."""
        found: list[Tensor] = []

        def keep(hidden: Tensor) -> Tensor:
            found.append(hidden[0])
            return hidden

        with self.hooked(side, site, layer, keep):
            self.logits(side, ids)
        return found[0]

    def patched(
        self, side: Side, site: str, layer: int, rows: Tensor, vectors: Tensor, prompt_id: str, author: str
    ) -> Tensor:
        """log p (n,) of the tokens of an answer, without the end mark, under a patch. Equal answers are the first's."""
        if len({tuple(self.sequences[prompt_id, writer].base.ids) for writer in SIDES}) == 1:
            author = self.job.first
        text = self.sequences[prompt_id, author].sides[side]
        at_row = self.positions(prompt_id, author, side)
        sign = -1 if side == "target" else 1

        def change(hidden: Tensor) -> Tensor:
            changed = hidden.clone()
            for row, vector in zip(rows.tolist(), vectors, strict=True):
                if row in at_row:
                    changed[0, at_row[row]] += sign * vector
            return changed

        with self.hooked(side, site, layer, change):
            logits = self.logits(side, text.ids)
        logp = self.log_softmax(side, logits)
        following = range(text.n_prompt, len(text.ids))
        return torch.tensor([float(logp[at - 1, text.ids[at]]) for at in following])


def shard(store: Store, run_id: str, side: str, site: str, layer: int) -> Tensor:
    """(n_rows, d_model): the stored activations of one model, of a run with one chunk."""
    (row,) = store.rows(
        "SELECT path FROM activation_shard WHERE run_id = $run AND reader = $side AND site = $site AND layer = $layer"
        " AND kind = 'activation'",
        run=run_id,
        side=side,
        site=site,
        layer=layer,
    )
    return load_file(store.folder / row["path"])["activations"]
