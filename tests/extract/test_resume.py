"""A killed extraction resumes at the first chunk that was not committed and ends with the same facts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from extract import job as opening
from extract.pipeline import ingest
from extract.reuse import reuse_extraction
from fi_store.config import RunConfig
from fi_store.errors import NotFoundError, UsageError
from fi_store.progress import Progress
from fi_store.store import Store
from fi_store.store.tables import Run
from fi_store.vocabulary import SHARD_KINDS
from tests.helpers import ROOT
from tests.helpers.small_runs import small_config, small_suite
from tests.helpers.tiny import TinyModels

N_PROMPTS = 12
CHILD = """
import time
from pathlib import Path
from extract import chunks, job, pipeline
from fi_store.config import RunConfig
from fi_store.progress import Progress
from fi_store.store import Store
from tests.helpers.small_runs import small_suite

job.CHUNK_PROMPTS = 3
config = RunConfig.model_validate_json({config!r})

def slow(real):
    def write(folder, run_id, reader, chunk, *rest):
        written = real(folder, run_id, reader, chunk, *rest)
        Path({mark!r}).joinpath(f"{{reader}}.{{chunk}}").touch()
        if (reader, chunk) == {stop!r}:
            time.sleep(60)  # the shards are written, the transaction is not committed
        return written
    return write

chunks.write_shards = slow(chunks.write_shards)
with Store.open(config.store_path, create=True) as store:
    pipeline.ingest(store, config, small_suite({count}), progress=Progress())
"""
FACTS = {
    "token_divergence": "SELECT * EXCLUDE (run_id, sequence_id) FROM token_divergence ORDER BY row",
    "activation_summary": "SELECT * EXCLUDE (run_id, sequence_id) FROM activation_summary "
    "ORDER BY chunk, prompt_id, author, site, layer, position_class",
    "generation": "SELECT * EXCLUDE (run_id) FROM generation ORDER BY prompt_id, author",
    "sequence": "SELECT * EXCLUDE (run_id, id) FROM sequence ORDER BY prompt_id, author",
    "run_token": "SELECT * EXCLUDE (run_id) FROM run_token ORDER BY token_id",
    "run_unit": "SELECT * EXCLUDE (run_id) FROM run_unit ORDER BY unit",
    "activation_shard": "SELECT * EXCLUDE (run_id, path) FROM activation_shard "
    "ORDER BY kind, reader, site, layer, chunk",
    "answer_logprob": "SELECT * EXCLUDE (run_id) FROM answer_logprob ORDER BY prompt_id, author, reader",
    "answer_gap": "SELECT * EXCLUDE (run_id) FROM answer_gap ORDER BY prompt_id",
    "attribution": "SELECT * EXCLUDE (run_id) FROM attribution "
    "ORDER BY prompt_id, author, site, layer, position_class",
}


@pytest.fixture(scope="module", autouse=True)
def small_chunks() -> Iterator[None]:
    """Several chunks on one thread, so that sums have the same order and the same bits in both processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "CHUNK_PROMPTS", 3)
        yield
    torch.set_num_threads(threads)


def run_and_kill(folder: Path, config: RunConfig, stop: tuple[str, int]) -> None:
    """Runs an extraction in its own process and kills it once the shards of a chunk are written."""
    marks = folder / "marks"
    marks.mkdir(parents=True)
    source = CHILD.format(
        config=config.model_dump_json(),
        mark=str(marks),
        stop=stop,
        count=N_PROMPTS,
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", source], cwd=folder, env=environment, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        while not (marks / f"{stop[0]}.{stop[1]}").exists():
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def facts(store: Store) -> dict[str, list[dict[str, object]]]:
    return {name: json.loads(json.dumps(store.rows(sql), default=str)) for name, sql in FACTS.items()}


def activations(store: Store) -> dict[str, bytes]:
    listed = store.rows("SELECT kind, reader, site, layer, chunk, path FROM activation_shard")
    return {
        f"{row['kind']}.{row['reader']}.{row['site']}.{row['layer']}.{row['chunk']}": load_file(
            store.folder / row["path"]
        )[SHARD_KINDS[row["kind"]]]
        .numpy()
        .tobytes()
        for row in listed
    }


@pytest.fixture(scope="module")
def whole(
    tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, list[dict[str, object]]], dict[str, bytes]]:
    """Facts and activations of an extraction that was not interrupted."""
    config = small_config(tiny_models.llama, tiny_models.adapter, output_dir=tmp_path_factory.mktemp("whole"))
    with Store.open(config.store_path, create=True) as store:
        ingest(store, config, small_suite(N_PROMPTS), progress=Progress())
        return facts(store), activations(store)


@pytest.mark.parametrize("stop", [("base", 0), ("target", 1)], ids=["in the first chunk", "in a later chunk"])
def test_a_killed_run_resumes_to_the_same_facts(
    tiny_models: TinyModels,
    tmp_path: Path,
    whole: tuple[dict[str, list[dict[str, object]]], dict[str, bytes]],
    stop: tuple[str, int],
) -> None:
    expected, expected_shards = whole
    killed = small_config(tiny_models.llama, tiny_models.adapter, output_dir=tmp_path / "killed")
    run_and_kill(tmp_path / "killed-process", killed, stop)
    with Store.open(killed.store_path) as store:
        run = store.run()
        assert run.state == "extracting"
        sql = "SELECT DISTINCT chunk FROM activation_shard WHERE reader = $reader ORDER BY chunk"
        committed = [row["chunk"] for row in store.rows(sql, reader=stop[0])]
        assert committed == list(range(stop[1]))  # only the chunk that was being written is lost
        before = {
            row["path"]: (store.folder / row["path"]).stat().st_mtime_ns
            for row in store.rows("SELECT path FROM activation_shard")
        }
        resumed = ingest(store, killed, small_suite(N_PROMPTS), progress=Progress(), resume=run.id[:13])
        assert resumed == run.id
        assert store.run().state == "extracted"
        assert facts(store) == expected
        assert activations(store) == expected_shards
        assert {path: (store.folder / path).stat().st_mtime_ns for path in before} == before


def test_a_complete_extraction_is_not_repeated(tiny_models: TinyModels, tmp_path: Path) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter, output_dir=tmp_path)
    with Store.open(config.store_path, create=True) as store:
        run_id = ingest(store, config, small_suite(4), progress=Progress())
        events = len(store.rows("SELECT * FROM run_event"))
        assert ingest(store, config, small_suite(4), progress=Progress(), resume="latest") == run_id
        assert len(store.rows("SELECT * FROM run_event")) == events


def test_other_models_prompts_or_options_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter, output_dir=tmp_path)
    suite = small_suite(4)
    with Store.open(config.store_path, create=True) as store:
        run_id = ingest(store, config, suite, progress=Progress())
        others = [
            (
                small_config(tiny_models.llama, tiny_models.planted, output_dir=tmp_path),
                suite,
                "target model",
            ),
            (
                small_config(tiny_models.adapter, tiny_models.llama, output_dir=tmp_path),
                suite,
                "base model",
            ),
            (config, small_suite(5), "prompt set"),
            (config.model_copy(update={"max_new_tokens": 9}), suite, r"max_new_tokens \(6 then, 9 now\)"),
            (config.model_copy(update={"seed": 77}), suite, r"seed \(\d then, 77 now\)"),
        ]
        for other, prompts, message in others:
            with pytest.raises(UsageError, match=message):
                ingest(store, other, prompts, progress=Progress(), resume=run_id)
        assert store.run().state == "extracted"


def test_an_extraction_of_another_version_is_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    config = small_config(tiny_models.llama, tiny_models.adapter, output_dir=tmp_path)
    with Store.open(config.store_path, create=True) as store:
        run_id = ingest(store, config, small_suite(2), progress=Progress())
        with store.session() as session:
            session.get_one(Run, run_id).extraction_key = "a hash of other fields"
        with pytest.raises(
            UsageError, match=r"cannot continue: it was made with another version of fi-store\."
        ):
            ingest(store, config, small_suite(2), progress=Progress(), resume=run_id)
        with pytest.raises(NotFoundError, match=r"was made with another version of fi-store\."):
            reuse_extraction(store, config, small_suite(2), progress=Progress())
