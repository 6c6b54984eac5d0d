"""Examines one model as a run would use it: its facts, its self-check, what its layers add to the residual stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from extract.limits import max_positions
from extract.reading import LayerSites, Site, sites_of
from extract.selfcheck import Compared, check_reader

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader, Ways

Row = dict[str, str | float | None]
"""What was compared, how far apart it is, how far it may be, and what follows."""


def model_facts(pair: LoadedPair) -> dict[str, Any]:
    """What is known of a model (loaded as the base) before it is run."""
    reader = pair.base
    positions = max_positions(reader.plain.config)
    return {
        "reference": reader.reference.text,
        "architecture": reader.identity.architecture,
        "layers": reader.n_layers,
        "width": reader.d_model,
        "parameters": f"{reader.identity.n_parameters:,}",
        "positions": "no limit" if positions is None else f"{positions:,}",
        "precision": pair.dtype_reason,
        "tokenizer": f"{type(reader.tokenizer).__name__}, {len(reader.tokenizer):,} tokens",
        "logits": f"{reader.vocab_size:,}",
        "chat template": "no" if reader.chat_template is None else "yes",
    }


def examine(pair: LoadedPair) -> tuple[list[Row], str]:
    """All that is compared in a model (loaded as the base), and how a run would read it, in a sentence.

    Raises:
        ExtractionError: it cannot be run, or does not predict the same twice.
        NotFiniteError: it gives values that are not finite.
    """
    check = check_reader(pair.base, pair.device)
    rows = [_compared(each) for each in check.compared]
    return [*rows, *_site_rows(pair.base)], _words(check.ways)


def _compared(each: Compared) -> Row:
    return {
        "compared": each.what,
        "difference": each.difference,
        "allowed": each.allowed,
        "what follows": "the same" if each.holds else each.consequence,
    }


def _site_rows(reader: Reader) -> Iterator[Row]:
    """A row for every kind of layer."""
    kinds: dict[tuple[Any, ...], list[int]] = {}
    sites = sites_of(reader)
    for number, found in enumerate(sites):
        paths = tuple(site and (site.path, site.scale) for site in (found.attn_out, found.mlp_out))
        kind = type(reader.layers[number]).__name__, *paths, found.problem
        kinds.setdefault(kind, []).append(number)
    for (name, *_), numbers in kinds.items():
        yield {
            "compared": f"attention + MLP with what {name} adds, {_layers(numbers)}",
            "difference": None,  # beyond rounding there is none, or there are no such sites
            "allowed": None,
            "what follows": _sites(sites[numbers[0]]),
        }


def _sites(found: LayerSites) -> str:
    if found.attn_out is None or found.mlp_out is None:
        return f"only resid_post: it {found.problem}"
    return f"the same: attn_out is {_place(found.attn_out)}, mlp_out {_place(found.mlp_out)}"


def _place(site: Site) -> str:
    return site.path if site.scale == 1 else f"{site.scale:g} times {site.path}"


def _layers(numbers: list[int]) -> str:
    """Numbers of layers, those that follow one another as a range: `layers 0-3, 6`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    ranges = (str(first) if first == last else f"{first}-{last}" for first, last in parts)
    return ("layer " if len(numbers) == 1 else "layers ") + ", ".join(ranges)


def _words(ways: Ways) -> str:
    answers = "several prompts at a time" if ways.answered_together else "one prompt at a time"
    if not ways.cached:
        answers = "reading the whole text again for every token"
    texts = "several texts at a time" if ways.read_together else "one text at a time"
    whole = "what they have in common once" if ways.shared else "each from its first token on"
    return f"A run lets it read {texts}, {whole}, and answer {answers}."
