"""Checks, before models are read, in which ways each can be read without a change of what it predicts.

A few short texts are read alone, which is the measure, then together, after a common opening, and with keys and values
under forced tokens. A way of reading that changes predictions is not used in the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from extract.limits import max_positions
from extract.models import Ways
from extract.reading import Batch, forced_logits, may_share, read_batch
from fi_store.errors import ExtractionError
from fi_store.vocabulary import Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader

TEXT = (
    "The train leaves at 10:45 and arrives at 12:30, so the journey takes one hour and forty-five minutes. If all "
    "birds can fly and a robin is a bird, then it follows that a robin can fly. First we count what was there, then we "
    "add what came, and the answer is what we have now. Perhaps you should take an umbrella, although nobody knows."
)
OPENING, PROMPTS, ANSWERS = 8, (4, 4, 12), (4, 12, 8)
"""Tokens of what three texts have in common, and of the rest of their prompts (the first two have the same), and of
their answers."""
FORCED = 3
"""How many of a text's last tokens are read as if the model had written them."""
BATCH = 3
COMPARED = 256
"""Only the most likely tokens are compared: some models give others minus infinity."""
NOISE = 4.0
"""How many times as far as a mere change of batch size another way of reading may move predictions."""
MOST = 0.5
"""Nothing beyond this is taken for rounding."""
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError)
"""What models raise if they were not made for a way of reading (NotImplementedError included)."""


class Compared(NamedTuple):
    """How far (relatively) predictions of one way of reading are from those of texts alone, and how far they may be.

    `consequence` is what the model does if they are further, as a clause.
    """

    what: str
    difference: float
    allowed: float
    consequence: str = ""

    @property
    def holds(self) -> bool:
        return self.difference <= self.allowed


class SelfCheck(NamedTuple):
    """What a check of one model found. `warnings`: sentences about ways in which it is not read."""

    ways: Ways
    compared: list[Compared]
    warnings: list[str]


@dataclass(frozen=True)
class PairCheck:
    """The ways in which each model of a run is read, what was found in a sentence, and warnings."""

    ways: Mapping[Side, Ways]
    reason: str
    warnings: list[str] = field(default_factory=list)


def check_pair(pair: LoadedPair) -> PairCheck:
    """Checks both models of a pair.

    Raises:
        ExtractionError: a model cannot be run, or does not predict the same twice.
        NotFiniteError: a model gives values that are not finite.
    """
    base = check_reader(pair.base, pair.device)
    same = pair.base.plain is pair.target.plain and pair.base.adapter == pair.target.adapter
    target = base if same else check_reader(pair.target, pair.device)
    kept = [each for check in (base, target) for each in check.compared if each.holds]
    worst = max(kept, key=lambda each: each.difference / each.allowed)
    return PairCheck(
        {"base": base.ways, "target": target.ways},
        f"Self-check: as this run reads them, predictions are at most {worst.difference:.1e} (relative) from those for "
        f"a text alone; {worst.allowed:.1e} is allowed.",
        base.warnings + ([] if same else target.warnings),
    )


def check_reader(reader: Reader, device: Any) -> SelfCheck:
    """Finds the ways in which a model can be read.

    Raises:
        ExtractionError: it cannot be run, or does not predict the same twice.
        NotFiniteError: it gives values that are not finite.
    """
    check = _Check(reader, device)
    whole = "reads every text from its first token on"
    apart = check.apart(check.texts)
    if may_share(check.reader):  # known only after a reading
        holds = check.holds("texts together, after a common opening", apart, "shared", whole)
        if holds:
            answers = check.apart(check.answers)
            holds = check.holds("answers together, after a common opening", answers, "shared", whole)
        if not holds:
            apart = check.apart(check.texts)
    if not may_share(check.reader):
        check.holds("whole texts together", apart, "read_together", "reads one text at a time")
        answers = check.apart(check.answers)
        if not check.holds("answers together", answers, "answered_together", "answers one prompt at a time"):
            alone = check.apart(check.answers_alone)
            consequence = "reads the whole text for every new token"
            check.holds("answers alone, with keys and values", alone, "cached", consequence)
    return check.result()


class _Check:
    """A check of one model as it goes on. `reader` has the ways of reading that are left."""

    def __init__(self, reader: Reader, device: Any) -> None:
        self.reader, self.device = reader, device
        self._compared: list[Compared] = []
        self._lost: dict[str, str] = {}  # a way -> a sentence
        self._texts, self._stems, self._opening = sample_texts(reader)
        self._allowed = rounding(reader.plain)
        text = self._texts[0]
        try:
            self._alone = [self._read([each], together=False) for each in self._texts]
            again, first = self._read([text], together=False), self._alone[0]
        except FAILURES as error:
            line = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
            raise ExtractionError(f"{reader.reference.text} cannot be run: {line}.") from error
        if not self._note("one text again", _most(distances(again, first))):
            raise ExtractionError(
                f"{reader.reference.text} predicts something else when it reads the same text again (differences of "
                f"{self._compared[-1].difference:.2g}), so it cannot be compared with another model.",
                hint="try another --device, or --quantization fp32",
            )
        try:
            copies = self._read([text] * BATCH, together=True)
        except FAILURES:  # it is then read one text at a time
            return
        noise = _most(distances(copies, first.repeat(BATCH, 1)))
        self._allowed = min(MOST, max(self._allowed, NOISE * noise))
        self._note(f"one text, {BATCH} times together", noise)

    def apart(self, read: Callable[[], list[Tensor]]) -> float:
        """How far predictions are from those of texts alone, in the worst text. Infinite if the model fails."""
        try:
            return max(map(_most, read()))
        except torch.OutOfMemoryError:
            raise
        except (*FAILURES, ExtractionError):
            return math.inf

    def texts(self) -> list[Tensor]:
        """Distances of the predictions after the opening, by text, if all are read as the run would read them."""
        kept = [list(range(self._opening, len(text))) for text in self._texts]
        logits = _logits(self.reader, Batch(self._texts, kept, self._stems, self.device))
        parts = torch.split(logits, [len(positions) for positions in kept])
        return [
            distances(part, alone[self._opening :]) for part, alone in zip(parts, self._alone, strict=True)
        ]

    def answers(self) -> list[Tensor]:
        """The same for each text's last tokens, if the model had written them in one batch."""
        return self._forced(self._texts, self._alone)

    def answers_alone(self) -> list[Tensor]:
        """The same, if it had written one text after the other."""
        pairs = zip(self._texts, self._alone, strict=True)
        return [self._forced([text], [alone])[0] for text, alone in pairs]

    def holds(self, what: str, difference: float, way: str, consequence: str) -> bool:
        """Notes a comparison. If it does not hold, the model is no longer read in this way."""
        if self._note(what, difference, consequence):
            return True
        name = self.reader.reference.text
        found = f"predictions differ by {difference:.2g} from those for a text alone ({self._allowed:.2g} is allowed)"
        self._lost[way] = (
            f"{name} {consequence}: with {what}, {'it fails' if math.isinf(difference) else found}."
        )
        self.reader = replace(self.reader, ways=replace(self.reader.ways, **{way: False}))
        return False

    def result(self) -> SelfCheck:
        ways = replace(self.reader.ways, shared=may_share(self.reader))
        said = dict(self._lost)
        if not ways.cached:  # which says more than the others
            said = {way: said[way] for way in said if way in ("cached", "read_together")}
        return SelfCheck(ways, self._compared, list(said.values()))

    def _note(self, what: str, difference: float, consequence: str = "") -> bool:
        self._compared.append(Compared(what, difference, self._allowed, consequence))
        return self._compared[-1].holds

    def _read(self, texts: Sequence[list[int]], *, together: bool) -> Tensor:
        """(n, V): the predictions at all positions of texts that share nothing."""
        reader = replace(self.reader, ways=Ways(shared=False, read_together=together))
        everywhere = [list(range(len(text))) for text in texts]
        return _logits(reader, Batch(texts, everywhere, list(map(len, texts)), self.device), "resid_post")

    def _forced(self, texts: Sequence[list[int]], alone: Sequence[Tensor]) -> list[Tensor]:
        found = forced_logits(self.reader, texts, FORCED, self.device)
        return [distances(part, whole[-FORCED - 1 : -1]) for part, whole in zip(found, alone, strict=True)]


def sample_texts(reader: Reader) -> tuple[list[list[int]], list[int], int]:
    """Texts of unlike length as ids, the lengths of their prompts, and that of their common opening.

    Raises:
        ExtractionError: the model has no embedding for any token of the text.
    """
    tokenizer: Any = reader.tokenizer
    rows = min(len(reader.embedding), reader.vocab_size)
    known = [token for token in tokenizer(TEXT, add_special_tokens=False)["input_ids"] if token < rows]
    if not known:
        raise ExtractionError(
            f"{reader.reference.text} has no embedding for what its tokenizer makes of plain English.",
            hint="use the tokenizer that the model was trained with",
        )
    longest = OPENING + max(map(sum, zip(PROMPTS, ANSWERS, strict=True)))
    scale = min(1.0, (max_positions(reader.plain.config) or longest) / longest)
    sizes = [max(1, int(size * scale)) for size in (OPENING, *dict.fromkeys(PROMPTS), *ANSWERS)]
    needed = sum(sizes)
    stream = iter((known * (needed // len(known) + 1))[:needed])
    opening, first, second, *answers = ([next(stream) for _ in range(size)] for size in sizes)
    prompts = [opening + first, opening + first, opening + second]
    texts = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return texts, list(map(len, prompts)), len(opening)


def distances(logits: Tensor, reference: Tensor) -> Tensor:
    """(n,) float32: how far logits (n, V) are from reference logits of the same positions, relative to their spread.

    Both are centered over the tokens that the reference finds most likely, because a constant changes no prediction.
    """
    top = reference.topk(min(COMPARED, reference.shape[1]), 1).indices
    found, expected = (each.float().gather(1, top.to(each.device)).cpu() for each in (logits, reference))
    found, expected = found - found.mean(1, keepdim=True), expected - expected.mean(1, keepdim=True)
    spread = expected.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.nan_to_num((found - expected).norm(dim=1) / spread, nan=math.inf)


def rounding(model: Any) -> float:
    """How far apart rounding alone may move two predictions.

    Each may have half of the digits of the coarsest type that is computed in. How an int8 product rounds depends on
    everything in its batch (predictions of SmolLM2 move by 0.18 with other tokens of the text), so little can be said.
    """
    kinds = {parameter.dtype for parameter in model.parameters()}
    if torch.int8 in kinds:
        return MOST
    return 2 * math.sqrt(max(torch.finfo(kind).eps for kind in kinds if kind.is_floating_point))


def _most(values: Tensor) -> float:
    """What nine of ten positions do not exceed: at the worst one, rounding may send a token to another expert."""
    return float(values.quantile(0.9))


@torch.inference_mode()
def _logits(reader: Reader, batch: Batch, *sites: str) -> Tensor:
    logits = read_batch(reader, batch, sites, logits=True).logits
    if logits is None:
        raise AssertionError("logits were requested")
    return logits
