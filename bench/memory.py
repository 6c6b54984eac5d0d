"""Measures the peak memory of a run: from few prompts to many, and from one analyzed layer to all of them.

Run by `make bench-memory`. A pair of tiny random models reads prompts of one token a character. Extraction and analysis
are processes of their own, and each tells its peak at the end of every task: its largest resident memory so far.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.results import Figure, show, write_results

N_LAYERS = 8
LETTERS = "eeetttaaaooniinshrdlu    "
CATEGORIES = ("sums", "trains")
SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "quantization": "fp32",
    "max_new_tokens": 8,
    "keep_activations": "all",
    "n_latents": 128,
    "k": 8,
    "dictionary_steps": 200,
}
GOALS = {"prompts": 0.2, "layers": 0.1}
"""How much more memory the larger of two runs may take."""


PROMPTS, QUICK_PROMPTS = (200, 2000), (32, 64)


class Peaks:
    """A display that notes the peak at the end of every task, in MB."""

    def __init__(self) -> None:
        self.by_task: dict[str, float] = {}

    def begin(self, _label: str, _total: int | None) -> Callable[[int], None]:
        return lambda _steps: None

    def end(self, label: str, seconds: float) -> None:
        self.by_task[label] = peak()
        print(f"{label}: {seconds:.1f} s, peak {peak():.0f} MB", file=sys.stderr)

    def note(self, message: str, *, warning: bool = False) -> None:
        print(message, file=sys.stderr)


def peak() -> float:
    """MB: the largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def write_pair(folder: Path, tokens: int) -> tuple[Path, Path]:
    """A base with random weights and a target with a little noise on them; a byte is a token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    end = "<end>"

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={byte: number for number, byte in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    make_tokenizer: Any = PreTrainedTokenizerFast  # which has no types
    tokenizer = make_tokenizer(tokenizer_object=core, eos_token=end, pad_token=end)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=N_LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=tokens + 64,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=len(tokenizer) - 1, pad_token_id=len(tokenizer) - 1,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for side, size in (("base", 0.2), ("target", 0.15)):
            for name, parameter in sorted(model.named_parameters()):
                if "norm" not in name:
                    parameter.add_(size * torch.randn(parameter.shape, generator=generator))
            model.save_pretrained(folder / side)
            tokenizer.save_pretrained(folder / side)
    return folder / "base", folder / "target"


def text_of(number: int, tokens: int) -> str:
    """A text of so many characters; each number has its own."""
    return "".join(random.Random(number).choices(LETTERS, k=tokens))


def extract(folder: Path, prompts: int, tokens: int) -> Peaks:
    """Both models read the prompts; the run stays in `folder`."""
    from fi_store import workflow
    from fi_store.config import make_config
    from fi_store.progress import Progress
    from fi_store.prompts import PromptRecord, PromptSuite
    from fi_store.store import Store

    shown = Peaks()
    base, target = write_pair(folder, tokens)
    config = make_config(base_model=str(base), target_model=str(target), output_dir=folder, **SETTINGS)
    records = [
        PromptRecord(key=f"p{n}", category=CATEGORIES[n % 2], text=text_of(n, tokens), family=f"f{n}")
        for n in range(prompts)
    ]
    with Store.open(config.store_path, create=True) as store:
        workflow.extract(store, config, PromptSuite("memory", "1", tuple(records)), Progress(display=shown))
    return shown


def analyze(folder: Path, layers: str) -> Peaks:
    """Analyzes the run of `folder`."""
    from fi_store import workflow
    from fi_store.progress import Progress
    from fi_store.store import Store

    shown = Peaks()
    with Store.open(folder / "fi-store.duckdb") as store:
        run_id = store.run().id
        workflow.reconfigure(store, run_id, {"layers": layers})
        workflow.analyze(store, run_id, Progress(display=shown))
    return shown


def in_process(*arguments: object) -> dict[str, Any]:
    """What a stage tells when it runs alone. This process stays small: a new one begins with its parent's peak."""
    command = [sys.executable, "-m", "bench.memory", *map(str, arguments)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def measure(tokens: int, folder: Path, *, quick: bool) -> tuple[list[Figure], dict[str, Any]]:
    """Extracts both sizes, analyzes both at one layer and the smaller one at all layers too."""
    raw: dict[str, Any] = {}
    few, many = QUICK_PROMPTS if quick else PROMPTS
    for name, prompts in (("few", few), ("many", many)):
        place = folder / name
        raw[f"extract {name}"] = in_process("--extract", prompts, "--tokens", tokens, "--in", place)
        for layers in (N_LAYERS // 2, "all") if name == "few" else (N_LAYERS // 2,):
            copy = folder / "analyzed"  # an analysis that replaces another has its rows to remove
            shutil.copytree(place, copy)
            raw[f"analyze {name} {layers}"] = in_process("--analyze", layers, "--in", copy)
            shutil.rmtree(copy)
        shutil.rmtree(place)
    one = f"analyze few {N_LAYERS // 2}"
    pairs = [
        ("prompts", f"extraction, {few} to {many} prompts", "extract few", "extract many"),
        ("prompts", f"analysis, {few} to {many} prompts", one, f"analyze many {N_LAYERS // 2}"),
        ("layers", f"analysis, 1 to {N_LAYERS} layers", one, "analyze few all"),
    ]
    figures = []
    for goal, name, less, more in pairs:
        before, after = raw[less]["peak"], raw[more]["peak"]
        growth = after / before - 1
        ok = None if quick else growth <= GOALS[goal]
        detail = f"{before:.0f} to {after:.0f} MB, {tokens} tokens a prompt"
        figures.append(
            Figure(f"peak memory, {name}", 100 * growth, "%", f"at most {GOALS[goal]:.0%}", ok, detail)
        )
    return figures, raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: checks that it runs, judges nothing"
    )
    parser.add_argument("--tokens", type=int, default=1000, help="tokens of a prompt (default: 1000)")
    parser.add_argument("--in", dest="folder", type=Path, help="one part alone: the folder of its run")
    parser.add_argument("--extract", type=int, metavar="PROMPTS", help="the extraction of so many prompts")
    parser.add_argument("--analyze", metavar="LAYERS", help="the analysis of these layers")
    given = parser.parse_args()
    if given.extract or given.analyze:
        shown = (
            extract(given.folder, given.extract, given.tokens)
            if given.extract
            else analyze(given.folder, given.analyze)
        )
        print(json.dumps({"peak": peak(), "by task": shown.by_task}))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures, raw = measure(given.tokens, Path(folder), quick=given.quick)
    for figure in figures:
        print(show(figure))
    if given.out is not None:
        write_results(given.out, figures, raw)


if __name__ == "__main__":
    main()
