"""Estimates the tokens, seconds, disk and memory that both models need for a run, from a trial on a few prompts."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from extract.attribution import sample_texts
from extract.chunks import sample_sequences
from extract.job import CHUNK_PROMPTS, Job
from extract.models import free_memory
from extract.reading import (
    BATCH_TOKENS,
    BLOCK_ROWS,
    Divergence,
    batch_tokens,
    generate_answers,
    may_branch,
    measured_graph,
    padded_length,
    read_answers,
    read_pair,
    reader_of,
)
from extract.texts import ReadSequence
from fi_store.errors import ExtractionError
from fi_store.method import METHOD
from fi_store.progress import Stopwatch
from fi_store.vocabulary import SIDES
from fi_store.wording import size

if TYPE_CHECKING:
    from extract.models import Reader

TRIAL_PROMPTS = 4
TRIAL_TOKENS = 4
MOST_REST = 0.5
"""The mean probability of tokens that the other model lacks beyond which predictions are not compared."""
DIVERGENCE_BUFFERS = 10
"""Float32 buffers of (block rows, vocabulary) in memory at once while divergences are computed."""
DISK_MARGIN = 1.1
GRAPH_MARGIN = 1.5
"""Padded tokens of a backward pass per token of the budget: prompts and answers are padded apart from each other."""
GROUP_PROMPTS = 16
"""Prompts of the discovery half on which each candidate group is patched once in each model."""
PATCHED_READINGS = 50
"""How often the confirmation half is read with a patch, roughly: changes, controls and whole layers in both models."""
JOINED_GROUPS = 3
"""Groups of an analyzed layer, roughly, that join the features beyond the first groups: one of each position class."""
PATCHED_LAYERS = 0.5
"""Share of a model's layers that a reading with a patch runs, on average: those above the patch."""
KNOWN_ROW_BYTES = 40
"""Bytes that an analysis holds of a kept row: its prompt, class, position, tokens, and its weight in a mean."""
UNIT_LATENT_BYTES = 4 * (2 * 4 + 8)
"""Bytes of a prompt's means and attribution by position class, for one latent, while a layer is measured."""
ENCODED_ROWS, ENCODED_ARRAYS = 4096, 6
"""Rows that an analysis encodes at once, and arrays of one number for each of them and each latent."""
TRAINED_COPIES = 4
"""A dictionary's weights, their gradients and both moments of Adam."""
ATTRIBUTION_BYTES = 64
"""Bytes of a row of `attribution`, roughly."""
LATENT_BYTES = 1700
"""Bytes of what the store keeps of a latent, roughly: its effects, summaries and strongest activations."""
WHOLE_ARMS = 4
"""Arms of an analyzed layer, roughly, that hold a vector of every row of an answer of one half."""
PAGE_BYTES = 7_000_000
"""Bytes of reports and charts, roughly."""


class Trial(NamedTuple):
    """What a trial on a few prompts measured."""

    read_seconds: float  # per token that both models read and compare
    attribute_seconds: float  # per token of both answers, for attribution; 0 without it
    step_seconds: float  # per token that both models generate
    graph_bytes: float  # per padded token of a backward pass


@dataclass(frozen=True)
class Estimate:
    """Counts, seconds and bytes. `memory_bytes` excludes the loaded models. `free_memory` is None if unknown.

    `seconds` and `n_tokens` are those of the extraction, `patch_seconds` those of the causal test after the analysis.
    """

    n_prompts: int
    n_tokens: int
    n_rows: int
    seconds: float
    patch_seconds: float
    disk_bytes: int
    memory_bytes: int
    free_disk: int
    free_memory: int | None

    def sentence(self) -> str:
        """One line for the user."""
        patches = f"about {_duration(self.patch_seconds)} of patches after it, " if self.patch_seconds else ""
        return (
            f"{self.n_prompts} prompts, about {self.n_tokens:,} tokens to read: about {_duration(self.seconds)} "
            f"before the analysis, {patches}{size(self.disk_bytes)} of disk, {size(self.memory_bytes)} of memory "
            "besides the models."
        )

    def detail(self) -> dict[str, Any]:
        return asdict(self)

    def refuse_excess(self, folder: Path) -> None:
        """Raises ExtractionError when the disk or the memory is too small."""
        if self.disk_bytes * DISK_MARGIN > self.free_disk:
            raise ExtractionError(
                f"The run needs about {size(self.disk_bytes)} of disk, and {folder} has {size(self.free_disk)} free.",
                hint="free space (fi-store gc), or use fewer prompts (--limit-per-category)",
            )
        if self.free_memory is not None and self.memory_bytes > self.free_memory:
            raise ExtractionError(
                f"The run needs about {size(self.memory_bytes)} of memory besides the models, and "
                f"{size(self.free_memory)} is free.",
                hint="use a smaller precision (--quantization)",
            )


def estimate_job(job: Job, folder: Path) -> Estimate:
    """Estimates counts from the tokenized prompts, seconds from a short trial, and bytes from the models' shapes."""
    trial = _trial(job)
    (n_prompt, n_control), content, longest = _token_counts(job)
    count, new = len(job.suite.prompts), job.config.max_new_tokens
    with_control = sum(bool(prompt.control) for prompt in job.suite.prompts)
    n_rows = content + 2 * count * new + count + with_control
    both_answers = _both_answers(job, n_prompt, 2 * count * new)
    read_once = both_answers + n_control
    steps = len(job.chunks) * new
    return Estimate(
        n_prompts=count,
        n_tokens=2 * n_prompt + 2 * read_once,
        n_rows=n_rows,
        # Prompts are also read in order to be answered.
        seconds=trial.read_seconds * (read_once + n_prompt)
        + trial.attribute_seconds * both_answers
        + trial.step_seconds * steps,
        patch_seconds=trial.read_seconds / 2 * PATCHED_LAYERS * _patched_tokens(job),
        disk_bytes=_disk_bytes(job, n_rows),
        memory_bytes=_memory_bytes(job, n_rows, longest + new, trial.graph_bytes),
        free_disk=shutil.disk_usage(_existing(folder)).free,
        free_memory=free_memory(job.pair.device),
    )


def _both_answers(job: Job, n_prompt: int, n_answers: int) -> int:
    """Tokens needed to read both answers to some prompts. If the models allow it, a prompt is read once for both."""
    once = all(may_branch(reader) for reader in (job.pair.base, job.pair.target))
    return (1 if once else 2) * n_prompt + n_answers


def _patched_tokens(job: Job) -> float:
    """Tokens read with a patch, both models together: answers only, since prompts are read once for all patches."""
    if not _tests_causes(job):
        return 0
    half = len(job.suite.prompts) / 2
    groups = job.config.candidates + JOINED_GROUPS * _n_analyzed(job)
    readings = len(SIDES) * groups * min(GROUP_PROMPTS, half) + PATCHED_READINGS * half
    return readings * 2 * job.config.max_new_tokens


def _tests_causes(job: Job) -> bool:
    """Whether the run patches the models: nothing of one fits into a model of another width."""
    return job.config.interventions != "off" and job.pair.base.d_model == job.pair.target.d_model


def _n_analyzed(job: Job) -> int:
    """The dictionaries of the run: one for each site and analyzed layer."""
    return len(job.config.analyzed_layers(job.n_layers)) * len(job.config.sites)


def _token_counts(job: Job) -> tuple[tuple[int, int], int, int]:
    """The base's tokens: of rendered prompts and of rendered control texts, of both without the template, and of the
    longest text."""
    totals = [0, 0]
    for text in job.texts:
        totals[text.control] += len(text.ids["base"])
    content = sum(text.n_content for text in job.texts)
    return (totals[0], totals[1]), content, max(len(text.ids["base"]) for text in job.texts)


def _trial(job: Job) -> Trial:
    """Reads, attributes and answers a few prompts.

    Raises:
        ExtractionError: most of what a model predicts is tokens that the other one lacks.
    """
    prompts = job.suite.prompts[:TRIAL_PROMPTS]
    prompt_ids = {
        side: [job.tokenizers.encode(side, job.rendering.render(prompt.text), "").ids for prompt in prompts]
        for side in SIDES
    }
    readers = {"base": job.pair.base, "target": job.pair.target}
    sequences = sample_sequences(job, prompts)
    # The first pass builds kernels and shows whether a prompt is read once for both answers.
    _read(job, sequences, gradients=False)
    seconds, divergence = _read(job, sequences, gradients=False)
    _refuse_unlike(job, divergence)
    attribute_seconds, graph_bytes = 0.0, 0.0
    if job.attribution.on:
        graph_bytes = _graph_bytes(job, sequences)  # which builds the kernels of a backward pass
        attribute_seconds = max(0.0, _read(job, sequences, gradients=True)[0] - seconds)
    sides = [sequence.base for sequence in sequences if sequence.author != "control"]
    tokens = _both_answers(
        job, sum(side.n_prompt for side in sides) // 2, sum(len(side.ids) - side.n_prompt for side in sides)
    ) + sum(len(sequence.base.ids) for sequence in sequences if sequence.author == "control")
    step_seconds = 0.0
    for side in SIDES:
        started = time.perf_counter()
        generate_answers(readers[side], prompt_ids[side], TRIAL_TOKENS, job.pair.device)
        # A chunk is one batch, unless its prompts are answered one at a time.
        turns = 1.0 if readers[side].ways.answered_together else len(job.chunks[0]) / len(prompts)
        step_seconds += turns * (time.perf_counter() - started) / TRIAL_TOKENS
    return Trial(seconds / tokens, attribute_seconds / tokens, step_seconds, graph_bytes)


def _refuse_unlike(job: Job, divergence: Divergence) -> None:
    """Raises ExtractionError when most of what a model predicts is tokens that the other one cannot predict."""
    if not job.vocabulary.has_rest:
        return
    for side, other, rest in (
        ("base", "target", divergence.rest_base),
        ("target", "base", divergence.rest_target),
    ):
        if (share := float(rest.mean())) > MOST_REST:
            raise ExtractionError(
                f"The {side} puts {share:.0%} of its probability on tokens that the {other} does not have, so their "
                "predictions cannot be compared.",
                hint="compare models whose tokenizers have more in common",
            )


def _read(job: Job, sequences: list[ReadSequence], *, gradients: bool) -> tuple[float, Divergence]:
    """Seconds in which both models read some sequences, and how their predictions differ."""
    started = time.perf_counter()
    ended = {(sequence.prompt_id, side): True for sequence in sequences for side in SIDES}
    reading = read_pair(
        job.pair,
        sequences,
        ended,
        job.vocabulary,
        job.config.sites,
        Stopwatch(),
        gradients=gradients,
        written_layers=job.written_layers,
    )
    return time.perf_counter() - started, reading.divergence


def _graph_bytes(job: Job, sequences: list[ReadSequence]) -> float:
    """The bytes that a backward pass through some sequences keeps for each padded token, in the larger model."""
    found = 0.0
    for side in SIDES:
        reader = reader_of(job.pair, side)
        texts, scoring = sample_texts(job, sequences, side)
        with measured_graph(reader.model) as size:
            read_answers(reader, texts, job.config.sites, scoring, job.pair.device, gradients=True)
        found = max(found, size.n_bytes / max(1, size.n_tokens))
    return found


def _item_size(job: Job) -> int:
    dtype = getattr(torch, str(job.pair.dtype).removeprefix("torch."))
    return int(torch.empty(0, dtype=dtype).element_size())


def _gradient_size(job: Job) -> int:
    """Bytes of a stored number of a gradient, which is never float16; 0 without gradients."""
    return max(_item_size(job), 4 if job.dtype == "float16" else 0) if job.attribution.on else 0


def _row_values(job: Job, *readers: Reader) -> int:
    """Numbers per kept row over all layers and sites of some readers."""
    return sum(job.n_layers * reader.d_model for reader in readers) * len(job.config.sites)


def _disk_bytes(job: Job, n_rows: int) -> int:
    """What extraction writes: shards, divergence rows (four lists of 20 and about 100 more bytes) and mean vectors
    (float32). And what the analysis makes of it."""
    written = len(job.written_layers) / job.n_layers
    both = _row_values(job, job.pair.base, job.pair.target)
    shards = n_rows * both * (_item_size(job) + _gradient_size(job)) * written
    groups = 4 * len(job.suite.prompts) * job.n_layers * len(job.config.sites)
    attributions = groups * ATTRIBUTION_BYTES if job.attribution.on else 0
    divergences = n_rows * (4 * METHOD.stored_tokens * 4 + 100)
    means = len(job.suite.prompts) * 4 * both * 4
    return int(shards) + divergences + means + attributions + analysis_bytes(job, n_rows)


def analysis_bytes(job: Job, n_rows: int) -> int:
    """Dictionaries (encoder and decoder, float32), what the store keeps of their latents, arms, reports and charts."""
    widths = job.pair.base.d_model, job.pair.target.d_model
    kind = job.config.dictionary_kind(widths)
    latents = job.config.latents(kind, n_rows // 2, max(widths))
    weights = 2 * 4 * (widths[0] if kind != "crosscoder" else sum(widths))
    arms = WHOLE_ARMS * len(job.suite.prompts) * job.config.max_new_tokens * widths[0] * 4
    found = latents * (weights + LATENT_BYTES) + (arms if _tests_causes(job) else 0)
    return found * _n_analyzed(job) + PAGE_BYTES


def _memory_bytes(job: Job, n_rows: int, longest: int, graph_bytes: float) -> int:
    """The most that is needed at once. `longest` is a text's number of tokens.

    An extraction needs the written activations and gradients of its largest chunk, and a batch that is read or has a
    backward pass, with both models' activations of all layers. The analysis needs one layer's rows, and the causal
    test, which runs in it, a batch with the outputs of all layers.
    """
    share = min(1.0, CHUNK_PROMPTS / len(job.suite.prompts)) * 1.5  # chunks differ in length
    values = _row_values(job, job.pair.base, job.pair.target)
    written = len(job.written_layers) / job.n_layers
    chunk = n_rows * share * values * written * (_item_size(job) + _gradient_size(job))
    batch = max(BATCH_TOKENS, 2 * padded_length(longest))
    reading = _batch_bytes(job, batch)
    patching = 0
    if _tests_causes(job):
        layers = max(reader.n_layers * reader.d_model for reader in (job.pair.base, job.pair.target))
        patching = reading + batch * layers * _item_size(job)
    backward = 0
    if job.attribution.on:
        tokens = batch_tokens(longest)
        # Both models' activations of all layers and their float32 gradients, besides the graph of one of them.
        backward = tokens * values * (_item_size(job) + 4) + int(GRAPH_MARGIN * tokens * graph_bytes)
        backward += _batch_bytes(job, tokens)
    kept, learning = analysis_memory(job, n_rows)
    forward = reading + batch * values * _item_size(job)
    return int(max(chunk + max(forward, backward), kept + max(learning, patching)))


def analysis_memory(job: Job, n_rows: int) -> tuple[int, int]:
    """Bytes that an analysis holds to its end, and the most that it needs besides for a layer.

    It holds what is known of every row, and all dictionaries. For one layer it reads both models' rows of D to learn
    from, in the run's type and partly in float32, or encodes a block of rows and sums up by prompt.
    """
    widths = job.pair.base.d_model, job.pair.target.d_model
    kind = job.config.dictionary_kind(widths)
    latents = job.config.latents(kind, n_rows // 2, max(widths))
    weights = 2 * 4 * latents * (widths[0] if kind != "crosscoder" else sum(widths))
    rows = n_rows // 2 * (sum(widths) * _item_size(job) + 2 * max(widths) * 4)
    measuring = (
        ENCODED_ARRAYS * ENCODED_ROWS * latents * 4 + len(job.suite.prompts) * latents * UNIT_LATENT_BYTES
    )
    return n_rows * KNOWN_ROW_BYTES + _n_analyzed(job) * weights, max(
        rows + TRAINED_COPIES * weights, measuring
    )


def _batch_bytes(job: Job, batch: int) -> int:
    """Logits, float32 buffers, keys and values of a batch of `batch` tokens."""
    vocabulary = max(job.pair.base.vocab_size, job.pair.target.vocab_size)
    # Both models' logits, and a third copy while those of prompts and answers are put in order.
    logits = 3 * batch * vocabulary * _item_size(job) + DIVERGENCE_BUFFERS * BLOCK_ROWS * vocabulary * 4
    # A row is as long as the longest prompt plus the longest answer, even if they are not of the same text.
    keys = 2 * batch * max(cache_values(reader) for reader in (job.pair.base, job.pair.target))
    return int(logits + keys * _item_size(job))


def cache_values(reader: Reader) -> int:
    """How many numbers the keys and values of one token consist of, over all layers."""
    config = reader.plain.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1
    size = getattr(config, "head_dim", None) or reader.d_model // heads
    return int(2 * reader.n_layers * size * (getattr(config, "num_key_value_heads", None) or heads))


def _existing(folder: Path) -> Path:
    """The nearest folder that exists, since the project's may not exist yet."""
    folder = folder.absolute()
    return next(candidate for candidate in (folder, *folder.parents) if candidate.is_dir())


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
