"""Sham targets: models as far from the anchor as the real pair is apart, but without meaning.

METHOD section 3: per matrix W_a + c * D1 P1 (W_o - W_a) P2 D2 with random permutations P and signs D, so that the
difference keeps its spectrum and loses its meaning; c is found by bisection so that activations move as far as the
real pair's. The anchor is the canonical first model, so a sham does not depend on which model is called base.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from extract.models import ModelReference
from extract.reading import Activations, NotFiniteError, Readable, read_alone
from extract.shams.lora import lora_sham, why_no_lora_sham
from extract.shams.shuffle import Shuffle
from extract.texts import ReadSequence, canonical_first
from fi_store.errors import ExtractionError
from fi_store.vocabulary import Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader

TOLERANCE = 0.10
"""How far the sham's relative difference may be from the pair's (METHOD section 3) ..."""
AIM = 0.03
"""... and where the search stops early."""
MAX_TRIALS = 16
CALIBRATION_PROMPTS = 8
"""Prompts, spread evenly over the set, on whose texts a sham is scaled."""
CALIBRATION_SITE = "resid_post"


class ShamError(ExtractionError):
    """A sham target cannot be scaled to the pair."""


@dataclass(frozen=True)
class Sham:
    """A sham target that reads like a model; `set_scale(c)` moves it."""

    reader: Readable
    set_scale: Callable[[float], None]


class Calibration(NamedTuple):
    """The scale c and the relative difference norms that the pair and the sham reach on the calibration texts."""

    scale: float
    pair: float
    sham: float


def why_no_sham(pair: LoadedPair) -> str | None:
    """The reason why this pair can have no sham; None if it can."""
    if pair.base.identity.id == pair.target.identity.id:
        return "the models are the same"
    if pair.base.model is pair.target.model:
        return why_no_lora_sham(pair.base, pair.target)
    if pair.quantization in ("int8", "nf4"):
        return f"the weights of two full models are {pair.quantization} and cannot be mixed"
    if pair.base.adapter or pair.target.adapter:
        return "one model is an adapter on another base than the other model"
    if type(pair.base.model) is not type(pair.target.model):
        return "the architectures differ"
    ours, theirs = (dict(reader.model.named_parameters()) for reader in (pair.base, pair.target))
    if ours.keys() != theirs.keys():
        return "the architectures differ"
    for name, weight in ours.items():
        left, right = weight.shape, theirs[name].shape
        if left[1:] != right[1:] or (len(left) < 2 and left != right):
            return f"the shapes of {name} differ"
    return None


@contextmanager
def built_sham(pair: LoadedPair, seed: int, number: int) -> Iterator[Sham]:
    """A sham of the pair for as long as the context lasts, at scale 1; `why_no_sham` must have been None."""
    shuffle = Shuffle(seed, number)
    first = canonical_first(pair)
    anchor, other = (pair.base, pair.target) if first == "base" else (pair.target, pair.base)
    if pair.base.model is pair.target.model:
        with lora_sham(anchor, other, shuffle, f"sham_{number}") as (reader, set_scale):
            yield Sham(reader, set_scale)
    else:
        yield _full_sham(anchor, other, shuffle, number)


@dataclass(frozen=True)
class _Copy:
    """A third full model in memory, with the anchor's structure."""

    reference: ModelReference
    model: Any = field(repr=False)
    layers: Sequence[nn.Module] = field(repr=False)

    @contextmanager
    def active(self) -> Iterator[Any]:
        yield self.model


def _full_sham(anchor: Reader, other: Reader, shuffle: Shuffle, number: int) -> Sham:
    # Where the anchor keeps its layers is found again in the copy by name.
    names = {id(module): name for name, module in anchor.model.named_modules()}
    model = copy.deepcopy(anchor.model)
    layers = [model.get_submodule(names[id(layer)]) for layer in anchor.layers]
    theirs = dict(other.model.named_parameters())
    both = {
        name: _common_rows(ours, theirs[name]) for name, ours in anchor.model.named_parameters() if ours.ndim
    }
    changed = {name: rows for name, rows in both.items() if not torch.equal(*rows)}

    @torch.no_grad()
    def set_scale(scale: float) -> None:
        for name, (ours, others) in changed.items():
            left = ours.float()
            moved = left + scale * shuffle(name, others.float() - left)
            weight = model.get_parameter(name)
            weight[: len(ours)] = moved.to(weight.dtype)

    set_scale(1.0)
    reference = replace(anchor.reference, text=f"sham_{number} of {anchor.reference.text}")
    return Sham(_Copy(reference, model, layers), set_scale)


def _common_rows(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Both without the rows that only a padded vocabulary has."""
    rows = min(len(left), len(right))
    return left[:rows], right[:rows]


def relative_difference(anchor: Activations, moved: Activations) -> float:
    """Mean over layers of mean ||moved - anchor|| / mean ||anchor|| over rows."""
    shares = [_share(rows, moved[key]) for key, rows in anchor.items()]
    return sum(shares) / len(shares)


def _share(anchor: Tensor, moved: Tensor) -> float:
    left, right = anchor.float(), moved.float()
    return float((right - left).norm(dim=1).mean() / left.norm(dim=1).mean())


@dataclass(frozen=True)
class Yardstick:
    """How far the pair is apart on the calibration texts, and where the anchor stands: read once for all shams."""

    pair: LoadedPair = field(repr=False)
    sequences: Sequence[ReadSequence] = field(repr=False)
    anchor: Activations = field(repr=False)
    goal: float

    def reached(self, reader: Readable) -> float:
        """The relative difference of another reader from the anchor; infinite where it overflows."""
        try:
            moved = _read(self.pair, reader, canonical_first(self.pair), self.sequences)
        except NotFiniteError:
            return math.inf
        return relative_difference(self.anchor, moved)


def measure_pair(pair: LoadedPair, sequences: Sequence[ReadSequence]) -> Yardstick:
    """Reads both models on the calibration texts.

    Raises:
        ShamError: the models do not differ on these texts.
    """
    first = canonical_first(pair)
    second: Side = "target" if first == "base" else "base"
    still = _read(pair, getattr(pair, first), first, sequences)
    goal = relative_difference(still, _read(pair, getattr(pair, second), second, sequences))
    if goal == 0.0:
        raise ShamError("the models' activations are equal.")
    return Yardstick(pair, sequences, still, goal)


def calibrate(sham: Sham, yardstick: Yardstick, start: float = 1.0) -> Calibration:
    """Sets the sham's scale so that its relative difference equals the pair's; `start` is the first scale tried.

    Raises:
        ShamError: no scale comes within 10%.
    """

    def reached(scale: float) -> float:
        sham.set_scale(scale)
        return yardstick.reached(sham.reader)

    goal = yardstick.goal
    scale, found = bisect(reached, goal, start)
    if abs(found / goal - 1) > TOLERANCE:
        raise ShamError(
            f"it moves activations by {found:.1%}, the pair by {goal:.1%}, at the best of all scales."
        )
    sham.set_scale(scale)
    return Calibration(scale, goal, found)


def _read(pair: LoadedPair, reader: Readable, side: Side, sequences: Sequence[ReadSequence]) -> Activations:
    return read_alone(reader, side, sequences, (CALIBRATION_SITE,), pair.device)


def bisect(reached: Callable[[float], float], goal: float, start: float = 1.0) -> tuple[float, float]:
    """The scale whose `reached(scale)` is nearest to goal, and what it reached; `start` is tried first.

    The next scale continues the line through the last two points in logarithms (at first: a line of slope one);
    where that leaves the bracket, the bracket is halved geometrically.
    """
    low, high = 0.0, float("inf")
    scale, best = start, (start, float("inf"))
    before: tuple[float, float] | None = None
    for _ in range(MAX_TRIALS):
        found = reached(scale)
        if abs(found - goal) < abs(best[1] - goal):
            best = (scale, found)
        if abs(found / goal - 1) <= AIM:
            break
        low, high = (scale, high) if found < goal else (low, scale)
        guess = _continued(before, (scale, found), goal)
        if not low < guess < high:
            guess = scale * 4 if high == float("inf") else (low * high) ** 0.5 if low else high / 4
        before, scale = (scale, found), guess
    return best


def _continued(before: tuple[float, float] | None, last: tuple[float, float], goal: float) -> float:
    """Where a power law through two (scale, reached) points meets goal; 0 if there is none through them."""
    scale, found = last
    if not 0 < found < float("inf"):
        return 0.0
    slope = 1.0
    if before is not None and 0 < before[1] < float("inf") and before[0] != scale:
        slope = math.log(found / before[1]) / math.log(scale / before[0])
    exponent = math.log(goal / found) / slope if slope > 0 else 0.0
    return scale * math.exp(exponent) if abs(exponent) < 50 else 0.0
