"""Where the files of a model reference are, once they are on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extract.adapter import Adapter
from extract.references import ModelReference


@dataclass(frozen=True)
class Source:
    """A reference with its local folder. `adapter` is set when that is a PEFT adapter rather than a whole model.

    `revision` is the commit of a hub model; `warnings` are sentences about its conversion.
    """

    reference: ModelReference
    folder: Path
    revision: str | None
    adapter: Adapter | None
    warnings: tuple[str, ...] = ()
