"""A model that was made in memory, with what reading needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from extract.models import Ways


@dataclass(frozen=True)
class Plain:
    """A transformers model of any architecture."""

    model: Any
    text: str = "tiny"
    ways: Ways = field(default_factory=Ways)

    @property
    def reference(self) -> Any:
        return self

    @property
    def layers(self) -> Sequence[nn.Module]:
        n_layers = self.model.config.num_hidden_layers
        lists = (module for module in self.model.modules() if isinstance(module, nn.ModuleList))
        return list(next(layers for layers in lists if len(layers) == n_layers))

    @property
    def plain(self) -> Any:
        return self.model

    def active(self) -> AbstractContextManager[Any]:
        return nullcontext(self.model)
