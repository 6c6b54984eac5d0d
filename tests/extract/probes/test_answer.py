"""Open requests are answered once, in parts that a kill keeps, and fail one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch

from extract.probes import Prober, answer, generate
from fi_store.dictionaries import DictionaryConfig, PairedSae
from fi_store.errors import ExtractionError, FiStoreError
from fi_store.progress import Progress
from fi_store.store import Store, run_query
from fi_store.store.tables import Intervention, PatchedAnswer, ProbeRequest, Run, RunEvent
from fi_store.vocabulary import SIDES
from tests.extract.probes.asking import ByHand, add_arm, ask, ingested_answers, readings, rows_of, states
from tests.helpers.tiny import TinyModels, tiny_llama

WIDTH = 32


@pytest.fixture(scope="module")
def extracted(
    tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, str, list[str]]]:
    """A run with one arm of starts and one of answers."""
    folder = tmp_path_factory.mktemp("probes")
    with pytest.MonkeyPatch.context() as patch:
        store, run_id = ingested_answers(folder, tiny_models.llama, tiny_models.planted, patch)
    for name in ("start", "response"):
        rows = rows_of(store, run_id, (name,))
        values = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(len(name)))
        add_arm(store, run_id, name, 0, rows, values, classes=(name,))
    yield store, run_id, ByHand(store, run_id).prompt_ids
    store.close()


@pytest.fixture
def run(extracted: tuple[Store, str, list[str]]) -> tuple[Store, str, list[str]]:
    """The run without requests and answers."""
    with extracted[0].session() as session:
        for table in (ProbeRequest, Intervention, PatchedAnswer):
            session.execute(sa.delete(table))
        session.execute(sa.delete(RunEvent).where(RunEvent.stage == "probe"))
    return extracted


def logprobs(store: Store, request_id: str) -> dict[tuple[str, str], float]:
    return {key: row["logprob"] for key, row in readings(store, request_id).items()}


def test_a_patch_of_models_of_unequal_depth_is_made_at_the_same_relative_depth(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers 1 and 2 of three are both the last of two, so the same patch does the same to the shallow base there."""
    deep = tiny_llama(tmp_path / "deep", seed=3, n_layers=3)
    store, run_id = ingested_answers(tmp_path, tiny_models.llama, deep, monkeypatch)
    with store:
        prompt_ids, rows = ByHand(store, run_id).prompt_ids, rows_of(store, run_id, ("start",))
        values = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(1))
        for layer in (1, 2):
            add_arm(store, run_id, f"arm{layer}", layer, rows, values)
            for side in SIDES:
                ask(store, run_id, f"{side}{layer}", side, f"arm{layer}", prompt_ids)
        assert Prober(store, run_id, Progress()).answer() == (4, 0)
        assert logprobs(store, "base1") == pytest.approx(logprobs(store, "base2"))
        live = {"dictionary": "features/one", "side_first": "base"}
        settings = DictionaryConfig(
            "paired_sae", "resid_post", 2, WIDTH, WIDTH, 4, 4, 0, 1, 1.0, (1.0, 1.0), 0.0, 10
        )
        weight = torch.nn.functional.normalize(torch.ones(4, WIDTH), dim=1)
        PairedSae(
            settings, weight, weight.T.contiguous(), torch.zeros(4), torch.zeros(WIDTH), torch.zeros(4)
        ).save(store.folder / "features" / "one")
        answered = rows_of(store, run_id, ("response",))
        add_arm(
            store, run_id, "live", 2, answered, torch.zeros(len(answered), 4), classes=("response",),
            directions=weight, latents=torch.arange(4), metadata=live,
        )  # fmt: skip
        edited: list[tuple[str, int]] = []
        real = generate.Decoding.go_on

        def spied(decoding: Any, tokens: Any, edit: Any = None) -> Any:
            edited.append((decoding.reader.reference.text, edit.layer))
            return real(decoding, tokens, edit)

        monkeypatch.setattr(generate.Decoding, "go_on", spied)
        for side in SIDES:
            ask(store, run_id, f"new {side}", side, "live", prompt_ids[:2], kind="generate")
        assert Prober(store, run_id, Progress()).answer() == (2, 0)
        assert set(edited) == {(str(tiny_models.llama), 1), (str(deep), 2)}
        moved = [
            abs(value - logprobs(store, "target2")[key]) for key, value in logprobs(store, "target1").items()
        ]
        assert max(moved) > 0.01


def test_requests_share_what_they_can_and_get_their_own_prompts(
    run: tuple[Store, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run_id, prompt_ids = run
    ask(store, run_id, "all", "target", "start", prompt_ids)
    ask(store, run_id, "same", "target", "response", prompt_ids)
    ask(store, run_id, "some", "target", "start", prompt_ids[:2])
    ask(store, run_id, "base", "base", "start", prompt_ids[1:3])
    ask(store, run_id, "new", "target", "start", prompt_ids[3:5], kind="generate")
    passes: list[tuple[str, int]] = []
    real = answer.read_patched

    def counted(job: Any, side: Any, some: Any, requests: Any, *rest: Any) -> Any:
        passes.append((side, len(requests)))
        return real(job, side, some, requests, *rest)

    monkeypatch.setattr(answer, "read_patched", counted)
    assert Prober(store, run_id, Progress()).answer() == (5, 0)
    assert sorted(passes) == [("base", 1), ("target", 2), ("target", 3)]
    assert {key[0] for key in logprobs(store, "some")} == set(prompt_ids[:2])
    assert len(logprobs(store, "all")) == 2 * len(prompt_ids)
    for key, value in logprobs(store, "some").items():
        assert value == pytest.approx(logprobs(store, "all")[key], abs=1e-4)
    counts = store.rows("SELECT prompt_id FROM patched_answer WHERE request_id = 'new'")
    assert {row["prompt_id"] for row in counts} == set(prompt_ids[3:5])
    assert set(states(store, run_id).values()) == {"answered"}
    assert Prober(store, run_id, Progress()).answer() == (0, 0)


def test_a_killed_run_goes_on_with_what_is_left(
    run: tuple[Store, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run_id, prompt_ids = run
    arms = ("start", "response")
    for arm in arms:
        ask(store, run_id, f"first {arm}", "target", arm, prompt_ids)
    Prober(store, run_id, Progress()).answer()
    expected = {arm: logprobs(store, f"first {arm}") for arm in arms}
    for arm in arms:
        ask(store, run_id, arm, "target", arm, prompt_ids)
    ask(store, run_id, "new", "target", "start", prompt_ids, kind="generate")
    monkeypatch.setattr(answer, "COMMIT_SECONDS", 0)
    monkeypatch.setattr(answer, "CHUNK_PROMPTS", 2)
    monkeypatch.setattr(answer, "PATCHED_TOKENS", 1)  # every unit alone
    read: list[list[str]] = []
    real, generate = answer.read_patched, answer.generate_patched

    def killed(job: Any, side: Any, some: Any, *rest: Any) -> Any:
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append([unit.sequences[0].prompt_id for unit in some])
        return real(job, side, some, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(answer, "read_patched", killed)
        with pytest.raises(KeyboardInterrupt):
            Prober(store, run_id, Progress()).answer()
    assert {states(store, run_id)[arm] for arm in arms} == {"asked"}
    done = [prompt for part in read for prompt in part]
    assert len(done) == 2
    assert {key[0] for key in logprobs(store, "start")} == set(done)

    parts: list[int] = []

    def generated(job: Any, folder: Any, some: Any, request: Any) -> Any:
        if len(parts) == 1:
            raise KeyboardInterrupt
        parts.append(len(some))
        return generate(job, folder, some, request)

    with monkeypatch.context() as patch:
        patch.setattr(answer, "generate_patched", generated)
        with pytest.raises(KeyboardInterrupt):
            Prober(store, run_id, Progress()).answer()
    assert states(store, run_id) == {
        **{f"first {arm}": "answered" for arm in arms}, **dict.fromkeys(arms, "answered"), "new": "asked",
    }  # fmt: skip
    assert Prober(store, run_id, Progress()).answer() == (1, 0)
    assert len(store.rows("SELECT * FROM patched_answer")) == len(prompt_ids)
    for arm in arms:
        found = logprobs(store, arm)
        assert found.keys() == expected[arm].keys()
        for key, value in found.items():
            assert value == pytest.approx(expected[arm][key], abs=1e-4)


def test_a_patch_that_makes_nan_fails_only_its_request(run: tuple[Store, str, list[str]]) -> None:
    store, run_id, prompt_ids = run
    rows = rows_of(store, run_id, ("start",))
    huge = torch.full((len(rows), 1), 1e30)
    add_arm(store, run_id, "huge", 0, rows, huge, directions=torch.full((1, WIDTH), 1e30))
    add_arm(store, run_id, "narrow", 0, rows, torch.ones(len(rows), WIDTH - 1))
    ask(store, run_id, "good", "target", "start", prompt_ids)
    ask(store, run_id, "huge", "target", "huge", prompt_ids, words=True)
    ask(store, run_id, "narrow", "base", "narrow", prompt_ids)
    ask(store, run_id, "gone", "base", "no arm", prompt_ids)
    ask(store, run_id, "strange", "base", "start", ["no prompt"])
    notes: list[str] = []

    class Notes(Progress):
        def note(self, message: str, *, warning: bool = False) -> None:
            if warning:
                notes.append(message)

    assert Prober(store, run_id, Notes()).answer() == (1, 4)
    reasons = {row["id"]: row["reason"] for row in store.rows("SELECT id, reason FROM probe_request")}
    assert reasons["good"] is None
    assert "A patch of the target (layer 0, resid_post) makes values that are not finite" in reasons["huge"]
    assert "31 wide, the model is 32" in reasons["narrow"]
    assert "not in the store" in reasons["gone"]
    assert "prompts that the run does not have" in reasons["strange"]
    warnings = [row["message"] for row in run_query(store, "run_warnings", run=run_id).to_pylist()]
    assert sorted(notes) == sorted(warnings)
    assert len(notes) == 4
    assert {row["request_id"] for row in store.rows("SELECT request_id FROM intervention")} == {"good"}
    assert Prober(store, run_id, Progress()).answer() == (0, 0)  # they are not tried again


def test_a_prober_loads_the_models_once_and_only_if_it_is_asked(
    run: tuple[Store, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run_id, prompt_ids = run
    loads: list[str] = []
    real = answer.load
    monkeypatch.setattr(answer, "load", lambda *options: loads.append("") or real(*options))
    prober = Prober(store, run_id, Progress())
    assert prober.answer() == (0, 0)
    assert not loads
    for number in range(2):
        ask(store, run_id, f"{number}", "base", "start", prompt_ids[:1])
        assert prober.answer() == (1, 0)
    assert len(loads) == 1
    events = store.rows("SELECT message FROM run_event WHERE stage = 'probe' AND kind = 'state'")
    assert events == [{"message": "probed"}]  # a second one would make the warnings of the first out of date


@pytest.mark.parametrize("change", ["other", "gone"])
def test_models_that_are_not_those_of_the_run_are_refused(
    run: tuple[Store, str, list[str]], tiny_models: TinyModels, change: str
) -> None:
    store, run_id, prompt_ids = run
    ask(store, run_id, "one", "base", "start", prompt_ids[:1])
    kept = store.run(run_id).config
    other = {"other": str(tiny_models.llama), "gone": "./gone-folder"}[change]
    message = {"other": "cannot be probed: different target model", "gone": "gone-folder"}[change]
    with store.session() as session:
        session.execute(sa.update(Run).where(Run.id == run_id).values(config={**kept, "target_model": other}))
    try:
        with pytest.raises(FiStoreError, match=message):
            Prober(store, run_id, Progress()).answer()
        assert states(store, run_id) == {"one": "asked"}
    finally:
        with store.session() as session:
            session.execute(sa.update(Run).where(Run.id == run_id).values(config=kept))


def test_a_model_that_is_not_finite_itself_stops_everything(
    run: tuple[Store, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run_id, prompt_ids = run
    ask(store, run_id, "one", "base", "start", prompt_ids[:1])
    prober = Prober(store, run_id, Progress())
    layer: Any = prober._job.pair.base.layers[1]
    with torch.no_grad():
        layer.mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ExtractionError, match="not finite"):
        prober.answer()
    assert states(store, run_id) == {"one": "asked"}
