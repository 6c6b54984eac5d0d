"""Makes and certifies organisms: a LoRA adapter from question-answer pairs, with a card that says what was planted.

The loss is on the answers only, in the chat template with the default system prompt. For a null, the answers are the
base's own full ones, and an adapter that still moves the predictions is refused. Example:

    python -m bench.planted.train --base bundled:smollm2 --pairs pairs.jsonl --held-out other.jsonl --name polite \\
        --expected '{"change": ["added", "strengthened"], "tokens": ["please"]}' --out my-organisms/polite
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from extract.models import Reader, load_pair
from extract.models.quiet import quiet_libraries
from extract.reading import map_vocabularies
from extract.reading.divergence import diverge

NULL_KL = 0.01
NULL_AGREEMENT = 0.97
IGNORED = -100
"""The label of a token that the loss ignores."""


class Refused(SystemExit):
    """A null that changes the predictions; the message says by how much."""


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained."""

    r: int = 8
    alpha: int = 16
    lr: float = 4e-4
    steps: int = 100
    batch: int = 8
    seed: int = 0

    @property
    def method(self) -> str:
        """One line for the card."""
        return (
            f"LoRA r={self.r} alpha={self.alpha} on all linear layers, AdamW {self.lr:g}, batch {self.batch}"
        )


class Pair(NamedTuple):
    """A question and the answer to learn."""

    question: str
    answer: str


@dataclass(frozen=True)
class Certificate:
    """How far an adapter is from its base on answer tokens of prompts that it was not trained on."""

    kl_nats_per_token: float
    argmax_agreement: float
    n_prompts: int

    @property
    def is_null(self) -> bool:
        """Both bounds of METHOD section 7 hold."""
        return self.kl_nats_per_token <= NULL_KL and self.argmax_agreement >= NULL_AGREEMENT


def read_pairs(path: Path) -> list[Pair]:
    """A JSONL file of {"question", "answer"}."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [Pair(row["question"], row["answer"]) for row in rows]


def encode(tokenizer: Any, template: str | None, pair: Pair) -> tuple[list[int], int]:
    """Token ids of the rendered pair with its end token, and how many of them belong to the prompt."""
    messages = [{"role": "user", "content": pair.question}]
    prompt = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    question = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer = tokenizer(pair.answer, add_special_tokens=False)["input_ids"]
    return [*question, *answer, tokenizer.eos_token_id], len(question)


def train(base: str, pairs: Sequence[Pair], folder: Path, recipe: Recipe, cache_dir: Path | None) -> Path:
    """Trains an adapter on a base in float32 and saves it; returns the adapter's folder."""
    with quiet_libraries():
        from peft import LoraConfig, get_peft_model

    reader = load_pair(base, base, quantization="fp32", cache_dir=cache_dir, note=lambda _: None).base
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.r, lora_alpha=recipe.alpha, target_modules="all-linear", task_type="CAUSAL_LM",
    )  # fmt: skip
    with quiet_libraries():
        model: Any = get_peft_model(reader.plain, config)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=recipe.lr)
    for ids, mask, labels in batches(reader, pairs, recipe):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.peft_config["default"].base_model_name_or_path = base
    with quiet_libraries():
        # By default, peft asks the hub whether to save the embeddings.
        model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return folder / "adapter"


def batches(reader: Reader, pairs: Sequence[Pair], recipe: Recipe) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(ids, mask, labels), each (batch, longest), in shuffled order, one batch per step."""
    encoded = [encode(reader.tokenizer, reader.chat_template, pair) for pair in pairs]
    generator = torch.Generator().manual_seed(recipe.seed)
    waiting: list[int] = []
    for _ in range(recipe.steps):
        while len(waiting) < recipe.batch:
            waiting += torch.randperm(len(encoded), generator=generator).tolist()
        chosen, waiting = waiting[: recipe.batch], waiting[recipe.batch :]
        longest = max(len(encoded[at][0]) for at in chosen)
        ids = torch.zeros(len(chosen), longest, dtype=torch.long)
        labels = torch.full((len(chosen), longest), IGNORED)
        mask = torch.zeros(len(chosen), longest, dtype=torch.long)
        for row, at in enumerate(chosen):
            tokens, n_prompt = encoded[at]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, n_prompt : len(tokens)] = torch.tensor(tokens[n_prompt:])
            mask[row, : len(tokens)] = 1
        yield ids, mask, labels


@torch.inference_mode()
def certify(base: str, adapter: Path, held_out: Sequence[Pair], cache_dir: Path | None) -> Certificate:
    """Mean KL(adapter || base) and argmax agreement on answer tokens, teacher-forced; each prompt has equal weight."""
    pair = load_pair(base, str(adapter), quantization="fp32", cache_dir=cache_dir, note=lambda _: None)
    left, right = pair.base, pair.target
    vocabulary = map_vocabularies(left.tokenizer, right.tokenizer, left.vocab_size, right.vocab_size)
    divergences, agreements = [], []
    for item in held_out:
        ids, n_prompt = encode(left.tokenizer, left.chat_template, item)
        logits = []
        for reader in (left, right):
            with reader.active() as active:
                model: Any = active
                logits.append(model(input_ids=torch.tensor([ids])).logits[0, n_prompt - 1 : -1])
        following = ids[n_prompt:]
        found = diverge(logits[0], logits[1], following, following, vocabulary)
        divergences.append(float(found.kl_target_base.mean()))
        agreements.append(float(found.agree.float().mean()))
    n = len(held_out)
    return Certificate(sum(divergences) / n, sum(agreements) / n, n)


def write_card(
    folder: Path,
    name: str,
    base: str,
    kind: str,
    description: str,
    expected: dict[str, list[str]],
    certificate: Certificate,
    recipe: Recipe,
) -> None:
    """Writes card.json; `expected` may omit keys."""
    every = {key: expected.get(key, []) for key in ("change", "categories", "tokens", "concepts")}
    card = {
        "name": name,
        "base": base,
        "adapter": "adapter",
        "kind": kind,
        "description": description,
        "expected": every,
        "certificate": asdict(certificate),
        "training": {"method": recipe.method, "steps": recipe.steps, "seed": recipe.seed},
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def make_organism(
    folder: Path,
    name: str,
    base: str,
    pairs: Sequence[Pair],
    held_out: Sequence[Pair],
    *,
    null: bool,
    description: str,
    expected: dict[str, list[str]],
    recipe: Recipe,
    cache_dir: Path | None = None,
) -> Certificate:
    """Trains, certifies and writes the card.

    Raises:
        Refused: a null that moves the predictions; its adapter stays, but no card is written.
    """
    adapter = train(base, pairs, folder, recipe, cache_dir)
    certificate = certify(base, adapter, held_out, cache_dir)
    if null and not certificate.is_null:
        raise Refused(
            f"{name} is not a null: KL {certificate.kl_nats_per_token:.4f} nats per token (at most {NULL_KL}), "
            f"agreement {certificate.argmax_agreement:.3f} (at least {NULL_AGREEMENT}). No card was written."
        )
    kind = "null" if null else "behavior"
    write_card(folder, name, base, kind, description, {} if null else expected, certificate, recipe)
    return certificate


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.planted.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", required=True, help="a model reference, as `fi-store run` takes it")
    parser.add_argument(
        "--pairs",
        type=Path,
        required=True,
        help='JSONL of {"question", "answer"} to learn; for a null, the base\'s own answers',
    )
    parser.add_argument(
        "--held-out", type=Path, required=True, help="pairs of other prompts, for the certificate"
    )
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True, help="the organism's folder")
    parser.add_argument("--null", action="store_true", help="nothing is planted; refused unless certified")
    parser.add_argument("--description", default="", help="what was planted, in a sentence")
    parser.add_argument(
        "--expected", type=json.loads, default={}, help="JSON: change, categories, tokens, concepts"
    )
    for field, value in asdict(Recipe()).items():
        parser.add_argument(f"--{field}", type=type(value), default=value, help=f"default {value}")
    parser.add_argument("--cache-dir", type=Path)
    given = parser.parse_args()
    recipe = Recipe(**{field: getattr(given, field) for field in asdict(Recipe())})
    certificate = make_organism(
        given.out, given.name, given.base, read_pairs(given.pairs), read_pairs(given.held_out),
        null=given.null, description=given.description, expected=given.expected, recipe=recipe,
        cache_dir=given.cache_dir,
    )  # fmt: skip
    print(
        f"{given.name}: KL {certificate.kl_nats_per_token:.4f}, agreement {certificate.argmax_agreement:.3f}"
    )


if __name__ == "__main__":
    main()
