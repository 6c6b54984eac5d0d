"""One side of a pair: a model that can be run, its tokenizer and its identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from extract.models.adapter import switch
from extract.models.references import ModelReference
from fi_store.errors import ModelError
from fi_store.store.tables import Model

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f")
"""Names of the last norm before the unembedding in transformers' decoders."""


@dataclass(frozen=True)
class Ways:
    """In which ways a model can be read without a change of what it predicts for a text that is read alone and whole.

    shared: texts share the keys and values of a common opening or prompt. read_together: texts are padded to one length
    and read in one pass. answered_together: so are prompts that are answered. cached: a token is read after the keys
    and values (or the state) of those before it.
    """

    shared: bool = True
    read_together: bool = True
    answered_together: bool = True
    cached: bool = True


@dataclass
class Reader:
    """One side of a pair, in evaluation mode and without gradients.

    `adapter` is active only inside `active()`; None means the plain weights. `identity` is the row for the store,
    `base_identity` the row of the model that an adapter was added to. `turn_ends` are the ids with which the format of
    a run's prompts ends an answer, `shown` those of special tokens that are a part of answers: marks of thoughts.
    `ways` are as a self-check found them.
    """

    reference: ModelReference
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    chat_template: str | None
    adapter: str | None
    identity: Model
    base_identity: Model | None = None
    turn_ends: tuple[int, ...] = ()
    shown: frozenset[int] = frozenset()
    ways: Ways = Ways()
    _layers: list[nn.Module] = field(default_factory=list, init=False, repr=False)

    @property
    def plain(self) -> PreTrainedModel:
        """The transformers module itself. Adapters are built into its layers."""
        inner: Any = self.model
        return inner.get_base_model() if _has_adapters(inner) else inner  # type: ignore[no-any-return]

    @contextmanager
    def active(self) -> Iterator[PreTrainedModel]:
        """Activates this side's adapter (or none), yields the module to call, and undoes it. May be nested."""
        inner: Any = self.model
        if not _has_adapters(inner):
            yield self.plain
            return
        before = list(inner.active_adapters)
        switch(inner, [self.adapter] if self.adapter else [])
        try:
            yield self.plain
        finally:
            switch(inner, before)

    @property
    def layers(self) -> list[nn.Module]:
        """The decoder layers, first to last.

        Raises:
            ModelError: the architecture stores its layers in an unusual way.
        """
        from torch import nn

        if not self._layers:
            for _, module in self.plain.named_modules():
                if isinstance(module, nn.ModuleList) and len(module) == self.n_layers:
                    self._layers = list(module)
                    break
            else:
                raise ModelError(
                    f"{self.reference.text} ({self.identity.architecture}) has no list of decoder layers."
                )
        return self._layers

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return self.identity.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.identity.d_model

    @property
    def vocab_size(self) -> int:
        """Width of the logits: rows of the unembedding, padding included."""
        return int(self.unembedding.shape[0])

    @property
    def embedding(self) -> torch.Tensor:
        """(vocab_size, d_model): the weight of the input embedding."""
        inner: Any = self.plain
        return inner.get_input_embeddings().weight  # type: ignore[no-any-return]

    @property
    def unembedding(self) -> torch.Tensor:
        """(vocab_size, d_model): the weight of the output embedding (the input embedding's if they are tied)."""
        inner: Any = self.plain
        head = inner.get_output_embeddings() or inner.get_input_embeddings()
        return head.weight  # type: ignore[no-any-return]

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last layer and the unembedding.

        Raises:
            ModelError: the decoder has no norm under a known name.
        """
        from torch import nn

        inner: Any = self.plain
        decoder = inner.get_decoder()
        for name in NORMS:
            norm = getattr(decoder, name, None)
            if isinstance(norm, nn.Module):
                return norm
        raise ModelError(
            f"{self.reference.text} ({self.identity.architecture}) has no final norm under a known name."
        )


def _has_adapters(model: Any) -> bool:
    """Whether peft wraps the model. (`peft_config` does not tell: peft also sets it on the model inside.)"""
    return hasattr(model, "get_base_model")
