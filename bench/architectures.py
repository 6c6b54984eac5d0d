"""Tries tiny random pairs of many architectures: from the prompts to a report, what attention and MLP add, answers.

`make bench-architectures OUT=file.json` tries all of `architectures.yaml`, PART="llama bloom" some of them, in one
process and one thread. What an earlier call wrote into the file is kept.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
import yaml

from bench.results import Figure, read_raw, show, write_results
from extract.models import Loading, Reader, Ways, find_source, load_pair, parse_reference
from extract.models.quiet import quiet_libraries
from extract.reading import Batch, generate_answers, read_batch, sites_of
from extract.selfcheck import check_reader
from fi_store import FiStoreError, run_feature_interpretation_pipeline

SITES = ("resid_post", "attn_out", "mlp_out")
ROUNDING = 1e-4
"""By how much both sites may miss what a layer adds in fp32: steps are small beside what they are added to."""
ALONE = Ways(shared=False, read_together=False, answered_together=False, cached=False)
OPENING, LENGTHS, NEW_TOKENS = 12, (3, 9, 14, 23, 31, 40), 12
"""Prompts of these lengths are answered in one batch, with and without an opening in common."""
SMALL: dict[str, Any] = {
    "max_new_tokens": 4,
    "layers": "1",
    "n_latents": 32,
    "dictionary_steps": 10,
    "candidates": 4,
    "limit_per_category": 4,
    "skip_visualization": True,
    "report_format": "markdown",
}
"""Options of the runs: whether they end is asked, not what they find."""


def main() -> None:
    """Reads the command line, tries the architectures one after the other, writes the file after each."""
    parser = argparse.ArgumentParser(prog="make bench-architectures", description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="the results file (JSON)")
    options = parser.parse_args()
    source = find_source(parse_reference("bundled:smollm2"), Loading(cache_dir(), False, lambda _: None))
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.folder)
    every = known_architectures(len(tokenizer))
    raw = read_raw(options.out)
    print(f"{'':16}  {'run':>6}  {'error':>7}  sites")
    for name in options.names or every:
        with tempfile.TemporaryDirectory() as folder:
            base, target = make_pair(Path(folder), tokenizer, *every[name])
            raw[name] = tried(Path(folder), base, target)
        print(line(name, raw[name]), flush=True)
        write_results(options.out, figures(raw), raw)
        gc.collect()
    print("\n".join(map(show, figures(raw))))


def known_architectures(vocabulary: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """By name, a configuration class of transformers (without "Config") and its settings."""
    listed = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    found = {}
    for group, common in (("like_llama", listed["common"]), ("others", {})):
        for name, (kind, own) in listed[group].items():
            settings = {"vocab_size": "vocabulary", **common, **own}
            given = {key: value for key, value in settings.items() if value is not None}
            found[name] = (
                kind,
                {key: vocabulary if value == "vocabulary" else value for key, value in given.items()},
            )
    return found


def tried(folder: Path, base: Path, target: Path) -> dict[str, Any]:
    """What was found of one pair."""
    started = time.perf_counter()
    problem = None
    try:
        run_feature_interpretation_pipeline(
            base_model=str(base), target_model=str(target), prompts=Path("controls"), output_dir=folder / "run",
            device="cpu", quantization="fp32", cache_dir=cache_dir(), **SMALL,
        )  # fmt: skip
    except FiStoreError as error:
        problem = str(error)
    except Exception as error:  # what no sentence explains is a fault
        problem = f"UNEXPECTED {type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    found = {"problem": problem, "seconds": seconds, **sites_found(base, target)}
    return found | answers_found(base, target)


def make_pair(folder: Path, tokenizer: Any, kind: str, settings: dict[str, Any]) -> tuple[Path, Path]:
    """The folders of a random model, and of the same with other numbers."""
    torch.manual_seed(0)
    with quiet_libraries():
        config = getattr(transformers, f"{kind}Config")(**settings)
        make: Any = transformers.AutoModelForCausalLM
        model = make.from_config(config).float()
        for side in ("base", "target"):
            model.save_pretrained(folder / side)
            tokenizer.save_pretrained(folder / side)
            with torch.no_grad():
                for weight in model.parameters():
                    weight.add_(torch.randn_like(weight) * weight.std().nan_to_num(0.01) * 0.5)
    return folder / "base", folder / "target"


def cache_dir() -> Path:
    """Where the bundled model is converted to, once."""
    return Path(".bench") / "cache"


def sites_found(base: Path, target: Path) -> dict[str, Any]:
    """The modules of both sites or why there are none, by layer, and by how much they miss the target's steps."""
    try:
        pair = load_pair(str(base), str(target), device="cpu", quantization="fp32", note=lambda _: None)
        found = sites_of(pair.target)
    except FiStoreError as error:
        return {"sites": [], "refused": str(error), "error": None}
    names: list[str] = []
    for layer in found:
        if layer.attn_out is not None and layer.mlp_out is not None:
            scale = f" x {layer.attn_out.scale:g}" if layer.attn_out.scale != 1 else ""
            names.append(f"{layer.attn_out.path}, {layer.mlp_out.path}{scale}")
    refused = next((layer.problem for layer in found if layer.problem), None)
    missed = None if refused else max(*(layer.error for layer in found), read_error(pair.target))
    return {"sites": list(dict.fromkeys(names)), "refused": refused, "error": missed}


def answers_found(base: Path, target: Path) -> dict[str, Any]:
    """In which ways the target is not read, and how many of its answers differ from those alone, from whole passes."""
    try:
        pair = load_pair(str(base), str(target), device="cpu", quantization="fp32", note=lambda _: None)
        check = check_reader(pair.target, pair.device)
    except FiStoreError:
        return {"apart": None, "not_read": []}
    texts = [list(range(100 * row, 100 * row + n)) for row, n in enumerate(LENGTHS, 1)]
    opening, different = list(range(40, 40 + OPENING)), 0
    for prompts in (texts, [opening + text for text in texts]):
        together, alone = (
            generate_answers(replace(pair.target, ways=ways), prompts, NEW_TOKENS, pair.device)
            for ways in (check.ways, ALONE)
        )
        different += sum(one != other for one, other in zip(together, alone, strict=True))
    return {"apart": different, "not_read": [each.what for each in check.compared if not each.holds]}


def read_error(reader: Reader) -> float:
    """How far both sites are from the steps in a batch as runs read it: the largest difference to the largest step."""
    texts = [list(range(100 * row, 100 * row + n)) for row, n in enumerate((9, 14, 23), 1)]
    kept: Sequence[Sequence[int]] = [range(1, len(text)) for text in texts]
    batch = Batch(texts, kept, [len(text) - 4 for text in texts], "cpu")
    found = read_batch(reader, batch, SITES, logits=False).activations
    errors = []
    for layer in range(1, reader.n_layers):
        step = found["resid_post", layer] - found["resid_post", layer - 1]
        missed = found["attn_out", layer] + found["mlp_out", layer] - step
        errors.append(float(missed.abs().max() / step.abs().max()))
    return max(errors)


def line(name: str, entry: dict[str, Any]) -> str:
    """One architecture in a line."""
    run = f"{entry['seconds']:.0f} s" if entry["problem"] is None else "no"
    error = "" if entry["error"] is None else f"{entry['error']:.0e}"
    sites = f"refused: {entry['refused']}" if entry["refused"] else "; ".join(entry["sites"])
    return "\n".join(
        [
            f"{name:16}  {run:>6}  {error:>7}  {sites}",
            *([f"    {entry['problem']}"] if entry["problem"] else []),
            *(f"    not read: {each}" for each in entry["not_read"]),
            *([f"    answers that differ from those alone: {entry['apart']}"] if entry["apart"] else []),
        ]
    )


def figures(raw: dict[str, Any]) -> list[Figure]:
    """The figures over all architectures that were tried."""
    n, goal = len(raw), f"{len(raw)}"
    ended = [name for name, entry in raw.items() if entry["problem"] is None]
    faults = [name for name, entry in raw.items() if (entry["problem"] or "").startswith("UNEXPECTED")]
    unread = [name for name in raw if name not in ended and name not in faults]
    refused = [name for name, entry in raw.items() if entry["refused"]]
    errors = [entry["error"] for entry in raw.values() if entry["error"] is not None]
    alike = sum(entry["apart"] == 0 for entry in raw.values())
    limited = [name for name, entry in raw.items() if entry["not_read"]]
    unanswered = [name for name, entry in raw.items() if entry["apart"] is None]
    exact = sum(error <= ROUNDING for error in errors)
    return [
        Figure(
            "runs that end with a report or are refused by name", n - len(faults), f"of {n}", goal, not faults,
            f"refused: {' '.join(unread) or 'none'}; faults: {' '.join(faults) or 'none'}",
        ),
        Figure(
            "sites that are what is added, or refused by name", exact + len(refused), f"of {n}", goal,
            exact + len(refused) == n, f"refused: {' '.join(refused) or 'none'}",
        ),
        Figure(
            "answers that are those of prompts alone, or refused by name", alike + len(unanswered), f"of {n}", goal,
            alike + len(unanswered) == n and set(unanswered) <= set(unread),
            f"not read in some way: {' '.join(limited) or 'none'}; refused: {' '.join(unanswered) or 'none'}",
        ),
        Figure("largest error of the sites", max(errors, default=0.0), "", f"<= {ROUNDING:g}", exact == len(errors)),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
