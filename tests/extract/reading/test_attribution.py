"""Log-probabilities, gradients and layer attributions against plain autograd over whole, unpadded texts."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from torch import Tensor

from extract.job import Job, prepare
from extract.models import Reader
from extract.reading import (
    AttributionReading,
    NotFiniteError,
    attribution,
    backward,
    read_pair,
    reader_of,
)
from extract.reading.batch import Batch
from extract.reading.generate import end_ids
from extract.texts import Answer, ReadSequence, build_sequences
from fi_store.progress import Stopwatch
from fi_store.vocabulary import SIDES, Side
from tests.helpers.small_runs import loaded, small_config, small_suite
from tests.helpers.tiny import TinyModels, tiny_adapter

ANSWERS = [
    ("There are 12 sheep.", "Step 1: count. Then add the rest, and it is 7."),
    ("Perhaps.", "It is cold"),
    ("The same answer.", "The same answer."),
    ("", "The train leaves at 10:45."),
    ("First we count the sheep that were there", "The wind is cold, the sky is grey"),
]
"""The base's and the target's answer to each prompt."""
ENDED = [(True, False), (False, True), (True, False), (True, True), (False, False)]
SITES = ("resid_post", "mlp_out")
PAIRS = {
    "adapter": ("llama", "adapter"),
    "two models": ("llama", "llama_other"),
    "two tokenizers": ("qwen2_base", "qwen2_target"),
}


def job_of(base: Path, target: Path) -> Job:
    return prepare(loaded(base, target), small_config(base, target), small_suite(len(ANSWERS)))


def texts_of(job: Job) -> tuple[list[ReadSequence], dict[tuple[str, Side], bool]]:
    prompts = job.suite.prompts
    answers: dict[tuple[str, Side], Answer] = {}
    ended: dict[tuple[str, Side], bool] = {}
    for prompt, texts, ends in zip(prompts, ANSWERS, ENDED, strict=True):
        for side, text, end in zip(SIDES, texts, ends, strict=True):
            answers[prompt.id, side], ended[prompt.id, side] = Answer(text, 0, end), end
    return build_sequences("run", prompts, answers, job.rendering, job.tokenizers, job.first), ended


def attributed(
    job: Job, *, gradients: bool = True, layers: frozenset[int] = frozenset({0, 1})
) -> AttributionReading:
    sequences, ended = texts_of(job)
    return read_pair(
        job.pair,
        sequences,
        ended,
        job.vocabulary,
        SITES,
        Stopwatch(),
        gradients=gradients,
        written_layers=layers,
    ).attribution


class Reference:
    """One model's A of one unit by plain autograd, its activations and gradients by author, site and layer."""

    def __init__(self, job: Job, side: Side, number: int) -> None:
        self.hidden: dict[tuple[str, str, int], Tensor] = {}
        self.job, self.side, self.number = job, side, number
        self.logprobs = {author: self._logprob(author) for author in SIDES}
        self.n_tokens = {author: sum(self._counts(author).values()) / 2 for author in SIDES}
        lengths = {author: self.logprobs[author] / self.n_tokens[author] for author in SIDES}
        self.a = (lengths[side] - lengths["target" if side == "base" else "base"]) / 2
        keys = list(self.hidden)
        found = torch.autograd.grad(self.a, [self.hidden[key] for key in keys])
        self.gradients = dict(zip(keys, found, strict=True))
        self.hidden = {key: values.detach() for key, values in self.hidden.items()}
        self.logprobs = {author: value.detach() for author, value in self.logprobs.items()}
        self.a = self.a.detach()

    def sequence(self, author: Side) -> ReadSequence:
        sequences, _ = texts_of(self.job)
        prompt_id = self.job.suite.prompts[self.number].id
        return next(s for s in sequences if (s.prompt_id, s.author) == (prompt_id, author))

    def _counts(self, author: Side) -> dict[Side, int]:
        texts = self.sequence(author).sides
        ended = ENDED[self.number][SIDES.index(author)]
        return {side: len(texts[side].ids) - texts[side].n_prompt + ended for side in SIDES}

    def _logprob(self, author: Side) -> Tensor:
        reader = reader_of(self.job.pair, self.side)
        text = self.sequence(author).sides[self.side]
        handles = []

        def keep(site: str, layer: int):  # type: ignore[no-untyped-def]
            def hook(_module, _inputs, output):  # type: ignore[no-untyped-def]
                self.hidden[author, site, layer] = output[0] if isinstance(output, tuple) else output

            return hook

        for layer, module in enumerate(reader.layers):
            handles.append(module.register_forward_hook(keep("resid_post", layer)))
            handles.append(module.mlp.register_forward_hook(keep("mlp_out", layer)))  # type: ignore[union-attr,arg-type]
        with reader.active() as model, torch.enable_grad():
            embedded = reader.embedding[torch.tensor([text.ids])].detach().requires_grad_()
            logits = model(inputs_embeds=embedded, use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        vocabulary = self.job.vocabulary.base if self.side == "base" else self.job.vocabulary.target
        real = torch.cat([vocabulary.shared, vocabulary.rest])
        padded = torch.full((logits.shape[1],), -torch.inf)
        padded[real] = 0
        logp = (logits + padded).log_softmax(1)
        total = sum(logp[at - 1, text.ids[at]] for at in range(text.n_prompt, len(text.ids)))
        if ENDED[self.number][SIDES.index(author)]:
            total = total + logp[-1, end_ids(reader)].logsumexp(0)
        return total  # type: ignore[return-value]

    def rows(
        self, values: dict[tuple[str, str, int], Tensor], author: Side, site: str, layer: int, *, both: bool
    ) -> Tensor:
        """(n, d): the kept rows of a sequence; with `both` those of the prompt are sums over both texts."""
        text = self.sequence(author).sides[self.side]
        other: Side = "target" if author == "base" else "base"
        found = values[author, site, layer][0, text.kept].clone()
        if both:
            for row, at in enumerate(text.kept):
                if at < text.n_prompt:
                    found[row] += values[other, site, layer][0, at]
        return found


@pytest.fixture(params=["alone", "whole", "opening", "branches"])
def sharing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    depth, levels = ("alone", "whole", "opening", "branches").index(request.param), Batch.levels
    monkeypatch.setattr(
        Batch,
        "levels",
        lambda batch, **_: levels(batch, share=depth > 1, branch=depth > 2, together=depth > 0),
    )


@pytest.fixture(scope="module", params=PAIRS)
def job(request: pytest.FixtureRequest, tiny_models: TinyModels) -> Job:
    base, target = PAIRS[request.param]
    return job_of(getattr(tiny_models, base), getattr(tiny_models, target))


@pytest.mark.usefixtures("sharing")
def test_everything_matches_plain_autograd(job: Job) -> None:
    found = attributed(job)
    sequences, n_rows = texts_of(job)[0], 0
    logprobs = {(row.prompt_id, row.author, row.reader): row for row in found.logprobs}
    gaps = {gap.prompt_id: gap for gap in found.gaps}
    starts: dict[str, int] = {}
    for sequence in sequences:
        starts[sequence.id] = n_rows
        n_rows += len(sequence.classes)
    for number in (0, 1, 3, 4):
        prompt_id = job.suite.prompts[number].id
        reference = {side: Reference(job, side, number) for side in SIDES}
        assert gaps[prompt_id].base == pytest.approx(float(reference["base"].a), rel=1e-4, abs=1e-5)
        assert gaps[prompt_id].target == pytest.approx(float(reference["target"].a), rel=1e-4, abs=1e-5)
        for side, one in reference.items():
            for author in SIDES:
                row = logprobs[prompt_id, author, side]
                assert row.logprob == pytest.approx(float(one.logprobs[author]), rel=1e-4, abs=1e-4)
        groups: dict[tuple[str, int, str, str | None], float] = {}
        for author in SIDES:
            sequence = reference["base"].sequence(author)
            first = starts[sequence.id]
            for site in SITES:
                for layer in range(2):
                    gradients, hidden = {}, {}
                    for side, one in reference.items():
                        gradients[side] = one.rows(one.gradients, author, site, layer, both=True)
                        hidden[side] = one.rows(one.hidden, author, site, layer, both=False)
                        rows = found.gradients[side][site, layer][first : first + len(sequence.classes)]
                        scale = float(gradients[side].abs().max()) if rows.numel() else 1.0
                        torch.testing.assert_close(rows, gradients[side], rtol=1e-3, atol=1e-3 * scale)
                    difference = hidden["target"] - hidden["base"]
                    parts = ((gradients["target"] - gradients["base"]) * difference).sum(1) / 2
                    for part, name in zip(parts.tolist(), sequence.classes, strict=True):
                        key = site, layer, name, author if name in ("thinking", "response") else None
                        groups[key] = groups.get(key, 0.0) + part
        numbers = {group: at for at, group in enumerate(found.groups)}
        mine = [group for group in numbers if group.prompt_id == prompt_id]
        assert len(groups) == len(mine) * len(SITES) * 2
        for (site, layer, name, writer), expected in groups.items():
            (at,) = [numbers[g] for g in mine if (g.position_class, g.author) == (name, writer)]
            assert float(found.attribution[site, layer][at]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_equal_answers_have_no_gap_and_no_gradient(job: Job) -> None:
    found = attributed(job)
    prompt = job.suite.prompts[2]
    assert next(gap for gap in found.gaps if gap.prompt_id == prompt.id)[1:] == (0.0, 0.0)
    read = {(row.reader, row.author): row[3:] for row in found.logprobs if row.prompt_id == prompt.id}
    assert len(read) == 4
    for side in SIDES:
        assert (
            read[side, "base"] == read[side, "target"]
        )  # read once; one of them was cut off, so neither has an end
    for at, group in enumerate(found.groups):
        if group.prompt_id == prompt.id:
            assert all(float(values[at]) == 0 for values in found.attribution.values())
    first_row = 0
    for sequence in texts_of(job)[0]:
        rows = slice(first_row, first_row + len(sequence.classes))
        first_row = rows.stop
        if sequence.prompt_id == prompt.id or sequence.author == "control":
            assert not any(values[rows].any() for side in SIDES for values in found.gradients[side].values())


def test_without_gradients_the_gaps_are_the_same(job: Job) -> None:
    there, back = attributed(job), attributed(job, gradients=False)
    assert (back.gradients, back.attribution) == ({"base": {}, "target": {}}, {})
    for one, other in zip(there.logprobs, back.logprobs, strict=True):
        assert one[:3] == other[:3]
        assert one.logprob == pytest.approx(other.logprob, rel=1e-5)


def test_only_written_layers_keep_gradients_and_all_layers_are_attributed(job: Job) -> None:
    found = attributed(job, layers=frozenset({1}))
    assert {key[1] for side in SIDES for key in found.gradients[side]} == {1}
    assert {key[1] for key in found.attribution} == {0, 1}


def n_hooks(reader: Reader) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in reader.model.modules())


def test_no_parameter_gets_a_gradient_and_no_hook_is_left(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tiny_models.llama, tiny_models.adapter)
    before = {side: n_hooks(reader_of(job.pair, side)) for side in SIDES}
    attributed(job)
    with monkeypatch.context() as patch:
        patch.setattr(backward, "run_level", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            attributed(job)
    with torch.no_grad():
        job.pair.base.layers[1].mlp.down_proj.weight[0, 0] = float("nan")  # type: ignore[union-attr,operator,index]
    with pytest.raises(NotFiniteError, match="not finite"):
        attributed(job)
    for side in SIDES:
        reader = reader_of(job.pair, side)
        assert n_hooks(reader) == before[side]
        assert all(p.grad is None and not p.requires_grad for p in reader.model.parameters())


def test_a_reading_leaves_no_tensor_in_memory(job: Job) -> None:
    """A hook of a tensor that refers to the tensor itself keeps its whole graph, which no garbage collection finds."""
    counts = []
    for _ in range(3):
        attributed(job)
        gc.collect()
        counts.append(sum(issubclass(type(each), Tensor) for each in gc.get_objects()))
    assert counts[1] == counts[2]


def test_batches_do_not_change_what_is_found(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    together = attributed(job)
    monkeypatch.setattr(attribution, "BACKWARD_TOKENS", 1)  # every unit alone
    alone = attributed(job)
    assert [gap.prompt_id for gap in together.gaps] == [prompt.id for prompt in job.suite.prompts]
    for one, other in zip(together.gaps, alone.gaps, strict=True):
        assert one[1:] == pytest.approx(other[1:], rel=1e-4, abs=1e-6)
    for key, values in together.attribution.items():
        torch.testing.assert_close(values, alone.attribution[key], rtol=1e-3, atol=1e-5)


def test_float16_gradients_do_not_vanish(tiny_models: TinyModels) -> None:
    exact = job_of(tiny_models.llama, tiny_models.adapter)
    pair = loaded(tiny_models.llama, tiny_models.adapter, "fp16")
    half = prepare(pair, exact.config.model_copy(update={"quantization": "fp16"}), exact.suite)
    fine, coarse = attributed(exact), attributed(half)
    for side in SIDES:
        for key, values in coarse.gradients[side].items():
            assert values.dtype == torch.float32
            assert (
                torch.nn.functional.cosine_similarity(
                    values.flatten(), fine.gradients[side][key].flatten(), 0
                )
                > 0.999
            )


def test_what_passes_through_the_last_layer_is_the_gap_when_the_models_are_close(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    """The trapezoid rule errs by the third power of the difference; nothing after the last layer differs."""
    errors = []
    for std in (0.02, 0.06):
        job = job_of(tiny_models.llama, tiny_adapter(tmp_path / str(std), tiny_models.llama, std=std))
        found = attributed(job)
        gap = sum(one.base + one.target for one in found.gaps)
        errors.append(abs(float(found.attribution["resid_post", 1].sum()) - gap) / abs(gap))
    assert errors[0] < 0.01, errors
    assert errors[1] < 0.1, errors
