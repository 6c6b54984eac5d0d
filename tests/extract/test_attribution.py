"""Attribution in a whole extraction: what the store holds, what does not change it, and when it is off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from analyze.extraction import load_extraction
from extract import attribution, pipeline
from extract.attribution import decide_attribution, gradient_error, sample_texts
from extract.chunks import sample_sequences
from extract.estimate import GRAPH_MARGIN, analysis_bytes, estimate_job
from extract.job import prepare
from extract.pipeline import ingest
from extract.reading import batch_tokens, measured_graph, read_answers, reader_of
from extract.reuse import reuse_extraction
from fi_store.progress import Progress
from fi_store.store import Store, apply_keep, find_missing_files, find_orphans, plan_gc, run_query
from fi_store.vocabulary import SIDES
from tests.helpers.small_runs import ingested, loaded, small_config, small_suite
from tests.helpers.tiny import TinyModels, tiny_llama

SWAPPED = {"base": "target", "target": "base", None: None}


def attributions(store: Store) -> dict[tuple[object, ...], float]:
    return {
        (row["prompt_id"], row["site"], row["layer"], row["position_class"], row["author"]): row[
            "attribution"
        ]
        for row in store.rows("SELECT * FROM attribution")
    }


def decision(store: Store) -> dict[str, object]:
    (row,) = store.rows("SELECT kind, message FROM run_event WHERE (detail->>'attribution') IS NOT NULL")
    return row


def merged(folder: Path, base: Path, adapter: Path) -> Path:
    """A copy of `base` in float32 with the adapter's weights added."""
    folder.mkdir()
    for file in base.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = {name: tensor.float() for name, tensor in load_file(base / "model.safetensors").items()}
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    added = load_file(adapter / "adapter_model.safetensors")
    for name, a in added.items():
        if name.endswith("lora_A.weight"):
            path = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
            b = added[name.replace("lora_A", "lora_B")]
            weights[path] += settings["lora_alpha"] / settings["r"] * b @ a
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_the_store_holds_log_probabilities_gaps_attributions_and_gradients(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter, sites=("resid_post", "attn_out"))
    store, run_id = ingested(tmp_path, config, small_suite(8))
    with store:
        assert decision(store)["kind"] == "choice"
        assert "Attribution is on" in str(decision(store)["message"])
        n = 8
        counts = store.rows("SELECT author, reader, count(*) AS n FROM answer_logprob GROUP BY ALL")
        assert sorted((row["author"], row["reader"], row["n"]) for row in counts) == [
            (author, reader, n) for author in SIDES for reader in SIDES
        ]
        recomputed = store.rows(
            "WITH l AS (SELECT prompt_id, author, reader, logprob / avg(n_tokens) OVER (PARTITION BY prompt_id, author)"
            " AS l FROM answer_logprob), s AS (SELECT prompt_id, sum(if(author = reader, l, -l)) / 2 AS gap FROM l"
            " GROUP BY prompt_id) SELECT s.gap AS expected, g.gap, g.gap_base + g.gap_target AS parts"
            " FROM s JOIN answer_gap AS g USING (prompt_id)"
        )
        assert len(recomputed) == n
        for row in recomputed:
            assert row["gap"] == pytest.approx(row["expected"], abs=1e-9) == row["parts"]
        # Log p of the first token besides those that divergences tell.
        (own,) = store.rows(
            "SELECT count(*) AS n FROM answer_logprob AS a JOIN (SELECT prompt_id, author, sum(logprob_target) AS l"
            " FROM token_divergence WHERE position_class = 'response' GROUP BY ALL) AS d USING (prompt_id, author)"
            " WHERE reader = 'target' AND a.logprob < d.l"
        )
        assert own["n"] > 0
        shapes = store.rows(
            "SELECT kind, reader, site, layer, sum(n_rows) AS n FROM activation_shard GROUP BY ALL"
        )
        listed = {(row["kind"], row["reader"], row["site"], row["layer"]): row["n"] for row in shapes}
        for side in SIDES:
            for site in config.sites:
                for layer in range(2):
                    assert listed["gradient", side, site, layer] == listed["activation", side, site, layer]
        extraction = load_extraction(store, store.run(run_id))
        for side in SIDES:
            values = extraction.gradients(side, "resid_post", 1)[:]
            assert values.shape == extraction.activations(side, "resid_post", 1).shape
            assert not values[~torch.from_numpy(extraction.rows.own)].any()
            assert values.any()
        profile = run_query(store, "layer_profile", site="resid_post").to_pylist()
        assert {(row["layer"], row["position_class"]) for row in profile} == {
            (layer, name) for layer in range(2) for name in ("prompt", "start", "response")
        }
        assert find_missing_files(store) == find_orphans(store) == []


@pytest.mark.parametrize("names", [("llama", "adapter"), ("qwen2_base", "qwen2_target")], ids=lambda n: n[1])
def test_swapping_the_models_changes_no_attribution(
    tiny_models: TinyModels, tmp_path: Path, names: tuple[str, str]
) -> None:
    left, right = (getattr(tiny_models, name) for name in names)
    there, _ = ingested(tmp_path / "there", small_config(left, right))
    back, _ = ingested(tmp_path / "back", small_config(right, left))
    with there, back:
        theirs = attributions(back)
        assert attributions(there) == {
            (*key[:4], SWAPPED[key[4]]): value  # type: ignore[index]
            for key, value in theirs.items()
        }
        assert any(theirs.values())
        gaps = "SELECT prompt_id, gap FROM answer_gap ORDER BY prompt_id"
        assert there.rows(gaps) == back.rows(gaps)


def test_an_adapter_and_the_merged_model_have_the_same_attribution(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    whole = merged(tmp_path / "merged", tiny_models.llama, tiny_models.adapter)
    first, _ = ingested(tmp_path / "adapter", small_config(tiny_models.llama, tiny_models.adapter))
    second, _ = ingested(tmp_path / "whole", small_config(tiny_models.llama, whole))
    with first, second:
        ours, theirs = attributions(first), attributions(second)
        assert ours.keys() == theirs.keys()
        largest = max(map(abs, ours.values()))
        for key, value in ours.items():
            assert value == pytest.approx(theirs[key], rel=1e-3, abs=1e-4 * largest)


def test_a_model_against_itself_has_no_gap(tiny_models: TinyModels, tmp_path: Path) -> None:
    store, _ = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.llama))
    with store:
        assert set(attributions(store).values()) == {0.0}
        assert store.rows("SELECT DISTINCT gap FROM answer_gap") == [{"gap": 0.0}]
        assert store.rows("SELECT count(*) AS n FROM activation_shard WHERE kind = 'gradient'")[0]["n"] > 0
        assert {row["share"] for row in run_query(store, "layer_profile").to_pylist()} == {None}


def test_off_keeps_log_probabilities_only(tiny_models: TinyModels, tmp_path: Path) -> None:
    store, _ = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.adapter, attribution="off"))
    with store:
        assert decision(store) == {"kind": "choice", "message": "Attribution is off, as requested."}
        assert store.rows("SELECT DISTINCT kind FROM activation_shard") == [{"kind": "activation"}]
        assert attributions(store) == {}
        assert store.rows("SELECT count(*) AS n FROM answer_gap WHERE gap <> 0")[0]["n"] > 0
        assert run_query(store, "layer_profile").num_rows == 0


def test_models_of_different_widths_have_gradients_but_no_attribution(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    store, _ = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.llama_wide))
    with store:
        assert "widths differ (32 and 48)" in str(decision(store)["message"])
        assert attributions(store) == {}
        kinds = store.rows(
            "SELECT DISTINCT reader, d_model FROM activation_shard WHERE kind = 'gradient' ORDER BY 1"
        )
        assert kinds == [{"reader": "base", "d_model": 32}, {"reader": "target", "d_model": 48}]


@pytest.mark.parametrize("quantization", ["fp32", "bf16", "fp16", "int8", "nf4"])
def test_gradients_agree_with_finite_differences(tmp_path: Path, quantization: str) -> None:
    """Also after the model has read without gradients, when bitsandbytes may have repacked its weights."""
    base = tiny_llama(tmp_path / "base", d_model=64)
    other = tiny_llama(tmp_path / "other", d_model=64, seed=5)
    pair = loaded(base, other, quantization)
    job = prepare(pair, small_config(base, other, quantization=quantization), small_suite(2))
    with torch.inference_mode():
        pair.base.plain(input_ids=torch.tensor([[1, 2, 3]]))
    limit = {"fp32": 0.01}.get(quantization, 0.2)
    assert all(gradient_error(job, side) < limit for side in SIDES)
    assert decide_attribution(job).on


def test_a_model_without_usable_gradients_turns_attribution_off(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tiny_models.llama, tiny_models.llama_other)
    job = prepare(loaded(tiny_models.llama, tiny_models.llama_other), config, small_suite(2))

    def broken(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output.detach()

    def bent(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output * 2 - output.detach()  # the same values, twice the gradient

    for hook, message in ((broken, "cannot be read backward"), (bent, "differ from finite differences by")):
        handle = job.pair.target.final_norm.register_forward_hook(hook)
        found = decide_attribution(job)
        handle.remove()
        assert (found.on, found.failed) == (False, True)
        assert message in found.reason
        assert "llama-other" in found.reason
    monkeypatch.setattr(attribution, "gradient_error", lambda *_: 0.9)
    store, _ = ingested(tmp_path, config)
    with store:
        assert decision(store)["kind"] == "warning"
        assert "by 90%" in str(decision(store)["message"])
        assert store.run().state == "extracted"
        assert attributions(store) == {}


def test_a_resumed_run_keeps_its_decision(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter)
    with Store.open(tmp_path / "fi-store.duckdb", create=True) as store:
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "extract_chunk", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                ingest(store, config, small_suite(4), progress=Progress())
        monkeypatch.setattr(attribution, "gradient_error", lambda *_: 0.9)  # would be off today
        ingest(store, config, small_suite(4), progress=Progress(), resume="latest")
        assert attributions(store)


def test_a_run_that_reuses_an_extraction_has_its_attribution(tiny_models: TinyModels, tmp_path: Path) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter)
    store, run_id = ingested(tmp_path, config, small_suite(8))
    with store:
        reused = reuse_extraction(store, config, small_suite(8), progress=Progress())
        assert reused != run_id
        profiles = [run_query(store, "layer_profile", run=run).to_pylist() for run in (run_id, reused)]
        assert profiles[0] == profiles[1] != []
        there, back = (load_extraction(store, store.run(run)) for run in (run_id, reused))
        assert torch.equal(*(each.gradients("base", "resid_post", 1)[:] for each in (there, back)))


def test_gradients_are_removed_with_the_activations(tiny_models: TinyModels, tmp_path: Path) -> None:
    store, run_id = ingested(tmp_path, small_config(tiny_models.llama, tiny_models.adapter))
    with store:
        assert plan_gc(store) == []
        assert len(list((store.folder / "activations").rglob("gradient.*"))) == 4
        apply_keep(store, run_id, "none")
        states = store.rows("SELECT DISTINCT kind, state FROM activation_shard ORDER BY kind")
        assert states == [{"kind": kind, "state": "removed"} for kind in ("activation", "gradient")]
        assert not (store.folder / "activations").exists()


def test_the_estimate_covers_backward_passes(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory: every graph stays below what the estimate counts on. Disk: gradients are as large as activations."""
    few = {"n_latents": 8, "k": 4, "interventions": "off"}  # the analysis of tiny models would need more
    config, suite = small_config(tiny_models.llama, tiny_models.adapter, **few), small_suite(12)
    pair = loaded(tiny_models.llama, tiny_models.adapter)
    off = prepare(pair, config, suite)
    on = prepare(pair, config, suite)
    on = replace(on, attribution=decide_attribution(on))
    without, with_graph = estimate_job(off, tmp_path), estimate_job(on, tmp_path)
    assert with_graph.memory_bytes > without.memory_bytes
    found, more = (
        each.disk_bytes - analysis_bytes(job, each.n_rows) for each, job in ((without, off), (with_graph, on))
    )
    assert 1.5 * found < more + without.n_rows * 500
    sequences = sample_sequences(on, suite.prompts)
    sizes = []
    for side in SIDES:
        reader = reader_of(pair, side)
        texts, scoring = sample_texts(on, sequences, side)
        with measured_graph(reader.model) as size:
            read_answers(reader, texts, config.sites, scoring, "cpu", gradients=True)
        assert size.n_tokens <= GRAPH_MARGIN * 2 * 12 * max(len(ids) + 8 for ids in texts.ids)
        sizes.append(size)
    longest = max(len(sequence.base.ids) for sequence in sequences)
    assert all(size.n_bytes < with_graph.memory_bytes for size in sizes)
    assert all(
        size.n_bytes / size.n_tokens * batch_tokens(longest) < with_graph.memory_bytes for size in sizes
    )
