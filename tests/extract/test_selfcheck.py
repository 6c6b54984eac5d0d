"""The self-check finds in which ways a model can be read, and what it rules out is not done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MptConfig, RwkvConfig

from extract import job, pipeline, selfcheck
from extract.answers import stored_answers
from extract.models import LoadedPair, Reader, Ways
from extract.reading import Batch, NotFiniteError, generate_answers, read_batch
from extract.selfcheck import check_reader
from fi_store.errors import ExtractionError
from fi_store.progress import Progress
from fi_store.prompts import PromptRecord, PromptSuite
from fi_store.store import Store
from tests.helpers.small_runs import loaded, small_config
from tests.helpers.tiny import TinyModels, tiny_other

OPENING = list(range(100, 112))
PROMPTS = [[*OPENING, *range(30, 30 + count)] for count in (3, 20, 9)]


@pytest.fixture(scope="module")
def rwkv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It has a recurrent state, which left padding changes."""
    sizes = {"hidden_size": 32, "attention_hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return tiny_other(tmp_path_factory.mktemp("rwkv"), RwkvConfig, context_length=512, **sizes)


@pytest.fixture(scope="module")
def mpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It measures distances by a token's index in the cache, so nothing may stand between an opening and the rest."""
    sizes = {"d_model": 32, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2, "max_seq_len": 512}
    return tiny_other(tmp_path_factory.mktemp("mpt"), MptConfig, **sizes)


@pytest.fixture
def llama(tiny_models: TinyModels) -> Reader:
    """A model that a test may break."""
    return loaded(tiny_models.llama_other, tiny_models.llama_other).base


def checked(reader: Reader) -> Reader:
    reader.ways = check_reader(reader, "cpu").ways
    return reader


def answers_equal_those_of_prompts_alone(reader: Reader) -> bool:
    answers = generate_answers(reader, PROMPTS, 8, "cpu")
    assert len({answer.ids for answer in answers}) > 1
    alone = replace(reader, ways=Ways(shared=False, read_together=False, cached=False))
    return answers == generate_answers(alone, PROMPTS, 8, "cpu")


def test_a_sound_model_is_read_in_every_way(tiny_models: TinyModels) -> None:
    found = check_reader(loaded(tiny_models.llama, tiny_models.llama).base, "cpu")
    assert (found.ways, found.warnings) == (Ways(), [])
    assert [each.what for each in found.compared[2:]] == [
        "texts together, after a common opening",
        "answers together, after a common opening",
    ]
    assert all(each.difference < each.allowed / 10 < 1e-3 for each in found.compared)


@pytest.mark.parametrize(("quantization", "most"), [("bf16", 0.2), ("int8", selfcheck.MOST)])
def test_rounding_is_no_reason_to_read_apart(tiny_models: TinyModels, quantization: str, most: float) -> None:
    found = check_reader(loaded(tiny_models.llama, tiny_models.llama, quantization).base, "cpu")
    assert (found.ways, found.warnings) == (Ways(), [])
    assert 1e-3 < max(each.difference for each in found.compared) < found.compared[0].allowed <= most


def test_a_model_that_padding_changes_answers_one_prompt_at_a_time(rwkv: Path) -> None:
    reader = loaded(rwkv, rwkv).base
    assert not answers_equal_those_of_prompts_alone(reader)
    found = check_reader(reader, "cpu")
    assert found.ways == Ways(shared=False, answered_together=False)
    (warning,) = found.warnings
    assert warning.startswith(
        f"{rwkv} answers one prompt at a time: with answers together, predictions differ by "
    )
    assert answers_equal_those_of_prompts_alone(checked(reader))


def test_a_model_that_counts_padding_after_an_opening_reads_every_text_whole(mpt: Path) -> None:
    reader = loaded(mpt, mpt).base
    assert not answers_equal_those_of_prompts_alone(reader)
    found = check_reader(reader, "cpu")
    assert found.ways == Ways(shared=False)
    assert "reads every text from its first token on: with answers together" in found.warnings[0]
    assert answers_equal_those_of_prompts_alone(checked(reader))


def negate_the_cache(_module: Any, _inputs: Any, options: dict[str, Any]) -> None:
    for layer in getattr(options.get("past_key_values"), "layers", ()):
        if layer.is_initialized:
            layer.values.neg_()


def test_a_model_with_a_broken_cache_reads_whole_texts(llama: Reader) -> None:
    llama.plain.register_forward_pre_hook(negate_the_cache, with_kwargs=True)
    assert not answers_equal_those_of_prompts_alone(llama)
    found = check_reader(llama, "cpu")
    assert found.ways == Ways(shared=False, answered_together=False, cached=False)
    (warning,) = found.warnings
    assert "reads the whole text for every new token: with answers alone, with keys and values" in warning
    assert answers_equal_those_of_prompts_alone(checked(llama))


def mix_rows(_module: Any, _inputs: Any, hidden: torch.Tensor) -> torch.Tensor:
    return hidden + hidden.mean(0, keepdim=True)


def test_a_model_whose_texts_affect_one_another_reads_one_at_a_time(llama: Reader) -> None:
    llama.layers[0].register_forward_hook(mix_rows)
    reader = checked(llama)
    assert reader.ways == Ways(shared=False, read_together=False, answered_together=False)
    together = Batch(PROMPTS, [[len(prompt) - 1] for prompt in PROMPTS], [12, 12, 12], "cpu")
    found = read_batch(reader, together, ("resid_post",), logits=True)
    assert found.logits is not None
    for number, prompt in enumerate(PROMPTS):
        with torch.inference_mode():
            logits = reader.plain(input_ids=torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(found.logits[number], logits)
    assert answers_equal_those_of_prompts_alone(reader)


def fail_if_cached(_module: Any, _inputs: Any, options: dict[str, Any]) -> None:
    if options.get("use_cache"):
        raise NotImplementedError("no cache")


def test_a_way_in_which_a_model_fails_is_not_used(llama: Reader) -> None:
    llama.plain.register_forward_pre_hook(fail_if_cached, with_kwargs=True)
    found = check_reader(llama, "cpu")
    assert found.ways == Ways(shared=False, answered_together=False, cached=False)
    assert found.warnings[0].endswith("with answers alone, with keys and values, it fails.")
    assert answers_equal_those_of_prompts_alone(checked(llama))


def jump(_module: Any, _inputs: Any, output: Any) -> Any:
    return output + torch.randn_like(output)


def raise_error(*_: Any) -> None:
    raise RuntimeError("sizes do not match.\nA trace.")


REFUSED: dict[str, tuple[Callable[[Reader], Any], type[ExtractionError], str]] = {
    "random": (
        lambda reader: reader.layers[1].register_forward_hook(jump),
        ExtractionError,
        "predicts something else when it reads the same text again",
    ),
    "not finite": (
        lambda reader: reader.layers[1].register_forward_hook(lambda *_: _[2] * float("nan")),
        NotFiniteError,
        "activations that are not finite",
    ),
    "raises": (
        lambda reader: reader.layers[1].register_forward_pre_hook(raise_error),
        ExtractionError,
        "cannot be run: sizes do not match.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_is_wrong_even_alone_is_refused(llama: Reader, name: str) -> None:
    change, error, words = REFUSED[name]
    change(llama)
    with pytest.raises(error, match=words):
        check_reader(llama, "cpu")


def test_a_model_with_few_positions_gets_short_texts(llama: Reader) -> None:
    llama.plain.config.max_position_embeddings = 20
    texts, stems, opening = selfcheck.sample_texts(llama)
    assert max(map(len, texts)) <= 20
    assert len({*map(len, texts)}) == 3
    assert all(0 < opening < stem < len(text) for stem, text in zip(stems, texts, strict=True))


def test_a_pair_of_one_model_is_checked_once(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    real = selfcheck.check_reader

    def check(reader: Reader, device: Any) -> Any:
        seen.append(reader.adapter)
        return real(reader, device)

    monkeypatch.setattr(selfcheck, "check_reader", check)
    pair: LoadedPair = loaded(tiny_models.llama, tiny_models.llama)
    assert selfcheck.check_pair(pair).warnings == []
    selfcheck.check_pair(loaded(tiny_models.llama, tiny_models.adapter))
    assert len(seen) == 3
    assert len(set(seen)) == 2


def test_a_resumed_run_is_read_as_it_began_and_says_so(
    rwkv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "CHUNK_PROMPTS", 2)
    config = small_config(rwkv, rwkv, attribution="off", chat_template="none")
    texts = (
        "Count the sheep.",
        "Tell me about the wind in the north of the country. Is it cold?",
        "Why?",
        "How far?",
    )
    records = [PromptRecord(f"p{number}", "sums", text, f"f{number}") for number, text in enumerate(texts)]
    suite = PromptSuite("unlike", "1", tuple(records))
    real = pipeline.extract_chunk

    def interrupted(store: Store, run_id: str, one: job.Job, number: int, *rest: Any) -> None:
        if number == 1:
            raise KeyboardInterrupt
        real(store, run_id, one, number, *rest)

    monkeypatch.setattr(pipeline, "extract_chunk", interrupted)
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        with pytest.raises(KeyboardInterrupt):
            pipeline.ingest(store, config, suite, progress=Progress())
        run_id = store.rows("SELECT id FROM run")[0]["id"]
        monkeypatch.setattr(pipeline, "extract_chunk", real)
        monkeypatch.setattr(job, "check_pair", lambda _: 1 / 0)
        pipeline.ingest(store, config, suite, progress=Progress(), resume=run_id)
        said = store.rows("SELECT kind, message FROM run_event WHERE run_id = $run", run=run_id)
        assert [row["kind"] for row in said if "answers one prompt at a time" in row["message"]] == [
            "warning"
        ]
        assert [row["kind"] for row in said if row["message"].startswith("Self-check: ")] == ["choice"]
        found = stored_answers(store, run_id)
        one = job.prepare(loaded(rwkv, rwkv), config, suite, check=job.stored_check(store, run_id))
    reader = one.pair.base
    assert reader.ways == Ways(shared=False, answered_together=False)
    alone = replace(reader, ways=Ways(shared=False, read_together=False, cached=False))
    prompts = [
        one.tokenizers.encode("base", one.rendering.render(each.text), "").ids for each in suite.prompts
    ]
    answers = generate_answers(alone, prompts, config.max_new_tokens, "cpu")
    assert [found[each.id, "base"].text for each in suite.prompts] == [each.text for each in answers]
    padded = generate_answers(replace(reader, ways=Ways(shared=False)), prompts, config.max_new_tokens, "cpu")
    assert padded != answers
