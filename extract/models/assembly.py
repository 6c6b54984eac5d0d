"""Loads the two sides of a pair, each whole model only once, with adapters on top and never merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from extract.models.adapter import MERGE_HINT, Adapter, Misfit, attach, misfit
from extract.models.identity import adapter_identity, template_of
from extract.models.loading import (
    Loading,
    Plain,
    find_source,
    has_tokenizer,
    load_config,
    load_plain,
    load_tokenizer,
)
from extract.models.precision import Precision, choose_precision
from extract.models.reader import Reader
from extract.models.references import Source, parse_reference
from fi_store.errors import ModelError

if TYPE_CHECKING:
    import torch


@dataclass
class Assembly:
    """Loads each whole model once and adds adapters to it. `warnings` are sentences for the run's record."""

    loading: Loading
    device: torch.device
    quantization: str
    compute: str | None = None
    warnings: list[str] = field(default_factory=list)
    _precision: Precision | None = None
    _loaded: list[Plain] = field(default_factory=list)
    # id() of a loaded model -> the PeftModel around it
    _wrapped: dict[int, Any] = field(default_factory=dict)

    def readers(self, sources: tuple[Source, Source]) -> tuple[Reader, Reader]:
        """Both sides, ready to run. Whole models are loaded first, because an adapter may use the other side's model.

        Raises:
            ModelError: an adapter fits neither the other side's model nor the base that it names.
        """
        plain = [None if source.adapter else self._whole(source) for source in sources]
        bases: list[Plain] = []
        for side, source in enumerate(sources):
            whole = plain[side]
            bases.append(whole or self._base_for(source, plain[1 - side]))
        names = [f"side{side}" if source.adapter else None for side, source in enumerate(sources)]
        if sources[0].folder == sources[1].folder:
            names[1] = names[0]  # the same adapter on both sides is added once
        for side, source in enumerate(sources):
            if source.adapter and (side == 0 or names[0] != names[1]):
                self._attach(source.adapter, bases[side], str(names[side]))
        first, second = (
            self._reader(source, bases[side], names[side]) for side, source in enumerate(sources)
        )
        return first, second

    @property
    def chosen_precision(self) -> Precision:
        """The precision of the first whole model. All later models use the same one."""
        if self._precision is None:
            raise ModelError("The precision is not known before the first model is loaded.")
        return self._precision

    def _whole(self, source: Source) -> Plain:
        for known in self._loaded:
            if known.source.folder == source.folder:
                return known
        if self._precision is None:
            config: Any = load_config(source, self.loading).get_text_config()
            d_in = int(config.hidden_size)
            widths = getattr(config, "intermediate_size", None) or 4 * d_in
            d_out = int(
                max(widths) if isinstance(widths, list | tuple) else widths
            )  # Gemma 3n has one a layer
            self._precision = choose_precision(self.quantization, self.device, d_in, d_out, self.compute)
            self.loading.note(f"precision: {self._precision.reason}")
        for warning in source.warnings:
            self._warn(warning)
        plain = load_plain(source, self.loading, self.device, self._precision)
        for warning in plain.warnings:
            self._warn(warning)
        self._loaded.append(plain)
        return plain

    def _base_for(self, source: Source, other: Plain | None) -> Plain:
        adapter = source.adapter
        if adapter is None:
            raise ModelError(f"{source.reference.text} is not an adapter.")
        named, text = adapter.base_name, source.reference.text
        problem = misfit(adapter, other.model) if other else None
        if other and problem is None:
            if not (named and _is_called(other, named)):
                self._warn(
                    f"The adapter {text} names {named or 'no model'} as its base, "
                    f"but it is used on {other.source.reference.text}, where all its shapes fit."
                )
            return other
        if other and problem and (named is None or _is_called(other, named)):
            raise _does_not_fit(text, other, problem)
        if named is None:
            raise ModelError(
                f"The adapter {text} does not name its base.", hint="Use its base as the other model."
            )
        try:
            base = self._whole(find_source(parse_reference(named), self.loading))
        except ModelError as error:
            if other is None or problem is None:
                raise ModelError(
                    f"The base of the adapter {text} is missing: {_clause(error)}.", hint=error.hint
                ) from error
            both = f"{problem.clause}, and its own base is missing: {_clause(error)}"
            raise _does_not_fit(text, other, Misfit(both, problem.resized)) from error
        problem = misfit(adapter, base.model)
        if problem:
            raise _does_not_fit(text, base, problem)
        return base

    def _attach(self, adapter: Adapter, base: Plain, name: str) -> None:
        model = self._wrapped.get(id(base.model), base.model)
        self._wrapped[id(base.model)] = attach(model, adapter, name, self.device, self.chosen_precision.dtype)

    def _reader(self, source: Source, base: Plain, name: str | None) -> Reader:
        model = self._wrapped.get(id(base.model), base.model)
        if source.adapter is None:
            identity, tokenizer = base.identity, base.tokenizer
        else:
            own_tokenizer = has_tokenizer(source)
            tokenizer = load_tokenizer(source, self.loading) if own_tokenizer else base.tokenizer
            identity = adapter_identity(source, base.identity, tokenizer, own_tokenizer)
        base_identity = base.identity if source.adapter else None
        return Reader(
            source.reference, model, tokenizer, template_of(tokenizer), name, identity, base_identity
        )

    def _warn(self, sentence: str) -> None:
        self.warnings.append(sentence)
        self.loading.note(sentence)


def _is_called(plain: Plain, name: str) -> bool:
    """Whether `name`, as an adapter's configuration gives it, refers to this loaded model."""
    if name == plain.source.reference.text:
        return True
    try:
        return parse_reference(name).same_model(plain.source.reference)
    except ModelError:
        return False  # a folder on the machine where it was trained


def _clause(error: Exception) -> str:
    """An error's sentence without its period, to be part of another sentence."""
    return str(error).rstrip(".")


def _does_not_fit(adapter: str, base: Plain, problem: Misfit) -> ModelError:
    if problem.resized:
        return ModelError(
            f"The adapter {adapter} was trained after the embeddings of its base were resized: {problem.clause}.",
            hint=MERGE_HINT,
        )
    return ModelError(
        f"The adapter {adapter} does not fit {base.source.reference.text}: {problem.clause}.",
        hint="Use the model that it was trained on as the other model, or keep that model under the name it gives.",
    )
