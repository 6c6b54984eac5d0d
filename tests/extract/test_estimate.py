"""Estimates are close to what really happens, and refuse a run if disk or memory is too small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from extract import pipeline
from extract.estimate import Estimate, Trial, analysis_bytes, analysis_memory, cache_values, estimate_job
from extract.job import prepare
from extract.models import free_memory
from extract.reading import VocabularyMap
from extract.reading.divergence import TokenIds
from fi_store.errors import ExtractionError
from fi_store.progress import Progress
from fi_store.store import Store
from tests.helpers.small_runs import ingested, loaded, small_config, small_suite
from tests.helpers.tiny import TinyModels

ROOMY = Estimate(4, 100, 50, 1.0, 2.0, 1_000, 1_000, 10**9, 10**9)


def test_tokens_rows_and_bytes_are_close_to_the_truth(tiny_models: TinyModels, tmp_path: Path) -> None:
    config, suite = small_config(tiny_models.llama, tiny_models.adapter), small_suite(8)
    job = prepare(loaded(tiny_models.llama, tiny_models.adapter), config, suite)
    found = estimate_job(job, tmp_path)
    store, _ = ingested(tmp_path, config, suite)
    with store:
        (rows,) = store.rows("SELECT count(*) AS n FROM token_divergence")
        (kept,) = store.rows("SELECT sum(n_bytes) AS n FROM activation_shard")
    # Answers may end early, so the estimate is an upper bound. Here they are about a tenth of the rows.
    assert rows["n"] <= found.n_rows <= 1.3 * rows["n"]
    extracted = found.disk_bytes - analysis_bytes(job, found.n_rows)
    assert int(kept["n"]) * 0.7 <= extracted <= int(kept["n"]) * 3
    assert found.seconds > 0
    assert found.memory_bytes > 2 * rows["n"] * 2 * 32 * 4  # at least the activations of one chunk
    assert "8 prompts" in found.sentence()


def test_patches_are_estimated_unless_they_are_off(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(read_seconds=0.004, attribute_seconds=0.0, step_seconds=0.0, graph_bytes=0.0)
    monkeypatch.setattr("extract.estimate._trial", lambda _: trial)
    pair = loaded(tiny_models.llama, tiny_models.adapter)

    def found(**options: object) -> Estimate:
        config = small_config(tiny_models.llama, tiny_models.adapter, candidates=10, **options)
        return estimate_job(prepare(pair, config, small_suite(40)), tmp_path)

    tested, off = found(), found(interventions="off")
    # 10 groups and 3 joined ones of the one analyzed layer, in 2 models on 16 prompts, and 50 readings of 20 prompts;
    # each of two answers of 6 tokens.
    # One model takes half of the pair's 4 ms per token, and with a patch it runs half of its layers.
    assert tested.patch_seconds == pytest.approx(((10 + 3) * 2 * 16 + 50 * 20) * 2 * 6 * 0.004 / 2 / 2)
    assert "before the analysis, about 17 seconds of patches after it, " in tested.sentence()
    assert off.patch_seconds == 0
    assert "before the analysis, " in off.sentence()
    assert "patches" not in off.sentence()
    assert off.disk_bytes < tested.disk_bytes  # patches are files, too
    of_patches = {name: getattr(tested, name) for name in ("patch_seconds", "memory_bytes", "disk_bytes")}
    assert replace(off, **of_patches) == replace(tested, free_disk=off.free_disk, free_memory=off.free_memory)


def test_an_analysis_needs_the_rows_of_one_layer_at_a_time(tiny_models: TinyModels) -> None:
    pair, suite = loaded(tiny_models.llama, tiny_models.adapter), small_suite(8)

    def needed(n_rows: int, layers: str) -> tuple[int, int]:
        config = small_config(tiny_models.llama, tiny_models.adapter, layers=layers, n_latents=64)
        return analysis_memory(prepare(pair, config, suite), n_rows)

    (kept, one), (more_kept, two) = needed(100_000, "0"), needed(100_000, "0,1")
    assert one == two
    assert more_kept - kept == 64 * 2 * 32 * 4  # a dictionary: encoder and decoder, float32
    # Half of the rows, 32 wide, of both models, and one model's twice in float32.
    assert needed(200_000, "0")[1] - one == 50_000 * 4 * 32 * 4


def test_models_that_predict_what_the_other_cannot_are_refused_before_they_are_read(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    config = small_config(tiny_models.llama, tiny_models.llama_other)
    job = prepare(loaded(tiny_models.llama, tiny_models.llama_other), config, small_suite())
    shared = job.vocabulary.base.shared
    few = TokenIds(shared[:10], shared[10:])  # the models predict all tokens about as often
    unlike = replace(job, vocabulary=VocabularyMap(few, few))
    with pytest.raises(
        ExtractionError, match=r"The base puts 9\d% of its probability on tokens that the target does not"
    ):
        estimate_job(unlike, tmp_path)


@pytest.mark.parametrize("shape", [{}, {"num_key_value_heads": 2}, {"head_dim": 24}])
def test_keys_and_values_are_counted_as_models_store_them(shape: dict[str, int]) -> None:
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=50,
        **shape,
    )
    model = LlamaForCausalLM(config).eval()
    cache = model(torch.tensor([[1, 2, 3, 4, 5]]), use_cache=True).past_key_values
    in_cache = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    reader = SimpleNamespace(plain=model, n_layers=3, d_model=32)
    assert 5 * cache_values(reader) == in_cache  # type: ignore[arg-type]


def test_a_small_disk_or_memory_is_refused_with_a_hint(tmp_path: Path) -> None:
    ROOMY.refuse_excess(tmp_path)
    with pytest.raises(ExtractionError, match="of disk") as disk:
        replace(ROOMY, disk_bytes=10**9).refuse_excess(tmp_path)
    assert "gc" in disk.value.hint
    with pytest.raises(ExtractionError, match="of memory") as memory:
        replace(ROOMY, memory_bytes=2 * 10**9).refuse_excess(tmp_path)
    assert "--quantization" in memory.value.hint
    replace(ROOMY, memory_bytes=2 * 10**9, free_memory=None).refuse_excess(tmp_path)


def test_a_refused_run_writes_nothing(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "estimate_job", lambda *_: replace(ROOMY, disk_bytes=10**12))
    config = small_config(tiny_models.llama, tiny_models.adapter)
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        with pytest.raises(ExtractionError, match="of disk"):
            pipeline.ingest(store, config, small_suite(), progress=Progress())
        assert store.rows("SELECT * FROM run") == []


def test_a_dry_run_estimates_without_a_store(tiny_models: TinyModels, tmp_path: Path) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter, output_dir=tmp_path / "new")
    found = pipeline.estimate(config, small_suite(), progress=Progress())
    assert found.n_prompts == 6
    assert not (tmp_path / "new").exists()


def test_free_memory_is_a_plausible_number_or_unknown() -> None:
    found = free_memory(torch.device("cpu"))
    assert found is None or found > 10**6
