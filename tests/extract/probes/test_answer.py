"""The probe stage on tiny models: the loss with a dictionary's reconstruction spliced in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch
from safetensors.torch import load_file, save_file

from extract.pipeline import ingest
from extract.probes import answer_probes
from fi_store import workflow
from fi_store.config import RunConfig
from fi_store.errors import FiStoreError, UsageError
from fi_store.progress import Progress
from fi_store.store import Store, run_query
from fi_store.store.tables import Run
from tests.helpers.small_runs import analyzed, ingested, ready_folder, small_config, small_suite
from tests.helpers.tiny import TinyModels

WIDTH = 32


@pytest.fixture(scope="module")
def run(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    config = small_config(tiny_models.llama, tiny_models.planted, shams=0)
    store, run_id = ingested(tmp_path_factory.mktemp("probes"), config, small_suite(16))
    yield store, run_id
    store.close()


def losses(store: Store, run_id: str) -> dict[tuple[str, str, str], float]:
    """(reader, prompt, arm) -> loss, of a run with one dictionary."""
    rows = store.rows("SELECT * FROM intervention WHERE run_id = $run", run=run_id)
    return {(row["reader"], row["prompt_id"], row["arm"]): row["loss"] for row in rows}


def states(store: Store, run_id: str) -> list[str]:
    rows = store.rows("SELECT state FROM probe_request WHERE run_id = $run", run=run_id)
    return [row["state"] for row in rows]


def warnings(store: Store, run_id: str) -> list[str]:
    return [row["message"] for row in run_query(store, "run_warnings", run=run_id).to_pylist()]


def test_a_perfect_reconstruction_costs_nothing(run: tuple[Store, str], tmp_path: Path) -> None:
    store, run_id = run
    ready = ready_folder(tmp_path / "ready", WIDTH, hook_layer=1, hook_point="resid_post")
    analyzed(store, run_id, dictionary_file=str(ready))
    assert states(store, run_id) == ["asked"]
    assert answer_probes(store, run_id, progress=Progress()) == (1, 0)
    found = losses(store, run_id)
    for reader, prompt, arm in found:
        clean = found[reader, prompt, "clean"]
        assert found[reader, prompt, "spliced"] == pytest.approx(clean, abs=1e-3)
        assert arm != "ablated" or abs(found[reader, prompt, arm] - clean) > 0.01
    (row,) = run_query(store, "dictionary_quality", run=run_id).to_pylist()
    assert row["loss_recovered_base"] == pytest.approx(1, abs=0.01)
    assert row["loss_recovered_target"] == pytest.approx(1, abs=0.01)


def test_clean_losses_equal_those_of_the_extraction(run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id)
    answer_probes(store, run_id, progress=Progress())
    found = losses(store, run_id)
    first = store.run(run_id).canonical_first  # only its sequences are stored with the start position
    rows = store.rows(
        f"SELECT prompt_id, -avg(logprob_{first}) AS loss FROM token_divergence WHERE run_id = $run"
        " AND author = $first AND position_class <> 'prompt' AND next_token_id IS NOT NULL GROUP BY prompt_id",
        run=run_id,
        first=first,
    )
    stored = {row["prompt_id"]: row["loss"] for row in rows}
    read = {
        prompt: loss for (reader, prompt, arm), loss in found.items() if (reader, arm) == (first, "clean")
    }
    (request,) = store.rows("SELECT prompt_ids FROM probe_request WHERE run_id = $run", run=run_id)
    assert len(read) >= 4
    answers = store.rows(
        "SELECT prompt_id, text FROM generation WHERE run_id = $run AND author = $first",
        run=run_id,
        first=first,
    )
    answered = {row["prompt_id"] for row in answers if row["text"]}
    assert set(read) == set(request["prompt_ids"]) & answered
    assert read == {prompt: pytest.approx(stored[prompt], abs=1e-4) for prompt in read}


@pytest.mark.parametrize("kind", ["crosscoder", "paired_sae"])
def test_an_empty_reconstruction_is_as_bad_as_zero(kind: str, run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id, dictionary=kind)
    (path,) = store.rows("SELECT path FROM dictionary WHERE run_id = $run", run=run_id)
    weights = store.folder / path["path"] / "weights.safetensors"
    silent = {name: torch.zeros_like(tensor) for name, tensor in load_file(weights).items()}
    save_file(silent, weights)
    answer_probes(store, run_id, progress=Progress())
    (row,) = run_query(store, "dictionary_quality", run=run_id).to_pylist()
    assert row["loss_recovered_base"] == pytest.approx(0, abs=1e-6)
    assert row["loss_recovered_target"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["diff_sae", "pca", "mean_diff"])
def test_dictionaries_of_the_difference_make_no_request(kind: str, run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id, dictionary=kind)
    assert states(store, run_id) == []
    assert answer_probes(store, run_id, progress=Progress()) == (0, 0)


def test_a_new_analysis_makes_new_requests_and_a_second_answer_adds_nothing(run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id)
    answer_probes(store, run_id, progress=Progress())
    before = losses(store, run_id)
    assert states(store, run_id) == ["answered"]
    assert answer_probes(store, run_id, progress=Progress()) == (0, 0)
    assert losses(store, run_id) == before
    analyzed(store, run_id, seed=0)
    assert states(store, run_id) == ["asked"]
    assert losses(store, run_id) == {}


@pytest.mark.parametrize("site", ["attn_out", "mlp_out"])
def test_other_sites_can_be_spliced(site: str, tiny_models: TinyModels, tmp_path: Path) -> None:
    config = small_config(tiny_models.llama, tiny_models.llama_other, shams=0, sites=(site,))
    store, run_id = ingested(tmp_path, config, small_suite(16))
    with store:
        ready = ready_folder(tmp_path / "ready", WIDTH, hook_layer=1, hook_point=site)
        analyzed(store, run_id, dictionary_file=str(ready))
        assert answer_probes(store, run_id, progress=Progress()) == (1, 0)
        (row,) = run_query(store, "dictionary_quality", run=run_id).to_pylist()
        assert row["site"] == site
        assert row["loss_recovered_base"] == pytest.approx(1, abs=0.01)
        assert row["loss_added_target"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    "names", [("llama", "llama_wide"), ("llama_wide", "qwen2_base"), ("qwen2_base", "qwen2_target")]
)
def test_pairs_with_different_widths_and_tokenizers(
    names: tuple[str, str], tiny_models: TinyModels, tmp_path: Path
) -> None:
    base, target = (getattr(tiny_models, name) for name in names)
    store, run_id = ingested(tmp_path, small_config(base, target, shams=0), small_suite(16))
    with store:
        analyzed(store, run_id, dictionary="crosscoder")
        assert answer_probes(store, run_id, progress=Progress()) == (1, 0)
        found = losses(store, run_id)
        for reader in ("base", "target"):  # a model rejects activations of the other's width
            by_arm = {(prompt, arm): loss for (name, prompt, arm), loss in found.items() if name == reader}
            prompts = {prompt for prompt, _ in by_arm}
            assert len(prompts) >= 2
            assert any(by_arm[prompt, "spliced"] != by_arm[prompt, "ablated"] for prompt in prompts)


def test_a_splice_that_is_not_finite_fails_only_its_request(run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id, layers="0,1")
    paths = store.rows("SELECT layer, path FROM dictionary WHERE run_id = $run ORDER BY layer", run=run_id)
    broken = store.folder / paths[0]["path"] / "weights.safetensors"
    weights = load_file(broken)
    save_file({**weights, "W_dec": weights["W_dec"] * 1e30, "b_dec": weights["b_dec"] + 1e30}, broken)
    assert answer_probes(store, run_id, progress=Progress()) == (1, 1)
    rows = run_query(store, "dictionary_quality", run=run_id).to_pylist()
    assert [row["probe"] for row in rows] == ["failed", "answered"]
    assert rows[0]["loss_recovered_base"] is None
    assert rows[1]["loss_recovered_base"] is not None
    assert any("not finite (spliced, layer 0, resid_post)" in warning for warning in warnings(store, run_id))
    assert answer_probes(store, run_id, progress=Progress()) == (0, 0)  # it is not tried again
    analyzed(store, run_id)
    assert not any("not finite" in warning for warning in warnings(store, run_id))


def test_empty_answers_have_no_loss(run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id)
    with store.session() as session:
        kept = session.execute(
            sa.text("SELECT prompt_id, text FROM generation WHERE author = 'target'")
        ).all()
        session.execute(sa.text("UPDATE generation SET text = '' WHERE author = 'target'"))
    try:
        answer_probes(store, run_id, progress=Progress())
        assert {reader for reader, _, _ in losses(store, run_id)} == {"base"}
        (row,) = run_query(store, "dictionary_quality", run=run_id).to_pylist()
        assert row["loss_recovered_target"] is None
    finally:
        with store.session() as session:
            for prompt_id, text in kept:
                session.execute(
                    sa.text(
                        "UPDATE generation SET text = :text WHERE author = 'target' AND prompt_id = :prompt"
                    ),
                    {"text": text, "prompt": prompt_id},
                )


def test_a_run_that_reuses_an_extraction_has_the_same_losses(run: tuple[Store, str]) -> None:
    store, run_id = run
    config = RunConfig(**{**store.run(run_id).config, "skip_activations": True})
    other = workflow.extract(store, config, small_suite(16), Progress())
    assert store.run(other).extraction_run_id == run_id
    for probed in (run_id, other):
        analyzed(store, probed)
        answer_probes(store, probed, progress=Progress())
    assert losses(store, other) == losses(store, run_id)
    assert losses(store, other)


def test_a_run_is_not_probed_before_its_analysis_is_done(run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id)
    state = store.run(run_id).state
    store.set_state(run_id, "failed", "analyze")
    try:
        with pytest.raises(UsageError, match=r"is failed\. It has no requests") as refused:
            answer_probes(store, run_id, progress=Progress())
        assert refused.value.hint == f"fi-store analyze {run_id}"
        assert states(store, run_id) == ["asked"]
    finally:
        store.set_state(run_id, state, "analyze")


def test_a_different_model_is_refused(run: tuple[Store, str], tiny_models: TinyModels) -> None:
    store, run_id = run
    analyzed(store, run_id)
    config = {**store.run(run_id).config, "target_model": str(tiny_models.llama)}
    with store.session() as session:
        kept = session.get_one(Run, run_id).config
        session.execute(sa.update(Run).where(Run.id == run_id).values(config=config))
    try:
        with pytest.raises(UsageError, match="cannot be probed: different target model"):
            answer_probes(store, run_id, progress=Progress())
        assert states(store, run_id) == ["asked"]
    finally:
        with store.session() as session:
            session.execute(sa.update(Run).where(Run.id == run_id).values(config=kept))


def test_a_run_whose_models_are_gone_ends_with_a_warning(run: tuple[Store, str]) -> None:
    store, run_id = run
    analyzed(store, run_id)
    config = workflow.stored_config(store.run(run_id), skip_report=True)
    with store.session() as session:
        kept = session.get_one(Run, run_id).config
        session.execute(
            sa.update(Run).where(Run.id == run_id).values(config={**kept, "target_model": "./gone-folder"})
        )
    try:
        workflow.resume(store, store.run(run_id), config, Progress())
    finally:
        with store.session() as session:
            session.execute(sa.update(Run).where(Run.id == run_id).values(config=kept))
    assert any(
        f"not run again after the analysis (fi-store probe {run_id})" in warning
        for warning in warnings(store, run_id)
    )
    assert states(store, run_id) == ["asked"]
    with store.session() as session:
        gone = {**kept, "target_model": "./gone-folder"}
        session.execute(sa.update(Run).where(Run.id == run_id).values(config=gone))
    with pytest.raises(FiStoreError, match="gone-folder"):
        answer_probes(store, run_id, progress=Progress())
    # A second failed attempt changes nothing.
    assert any("not run again" in warning for warning in warnings(store, run_id))
    with store.session() as session:
        session.execute(sa.update(Run).where(Run.id == run_id).values(config=kept))
    answer_probes(store, run_id, progress=Progress())
    assert not any("not run again" in warning for warning in warnings(store, run_id))


@pytest.mark.parametrize("kind", ["crosscoder", "paired_sae"])
def test_swapping_the_pair_swaps_the_losses(
    kind: str, run: tuple[Store, str], tiny_models: TinyModels
) -> None:
    store, run_id = run
    analyzed(store, run_id, dictionary=kind)
    answer_probes(store, run_id, progress=Progress())
    config = small_config(tiny_models.planted, tiny_models.llama, shams=0)
    swapped = ingest(store, config, small_suite(16), progress=Progress())
    analyzed(store, swapped, dictionary=kind)
    answer_probes(store, swapped, progress=Progress())
    other = {"base": "target", "target": "base"}
    before, after = losses(store, run_id), losses(store, swapped)
    assert {(other[reader], prompt, arm): loss for (reader, prompt, arm), loss in before.items()} == after
    assert {prompt for _, prompt, _ in after}
