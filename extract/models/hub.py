"""Models from the Hugging Face hub: downloads the files that a model needs into the hub's own cache, never pickles."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from fi_store.errors import ModelError

SETTINGS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "chat_template.jinja", "chat_template.json", "adapter_config.json", "model.safetensors.index.json",
)  # fmt: skip
"""The files besides the weights that determine what a model or an adapter does. Subfolders are never downloaded."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


def fetched_folder(repo: str, revision: str | None, trust_remote_code: bool) -> tuple[Path, str]:
    """The local snapshot of a hub model, downloaded if necessary, and its commit.

    If the hub cannot be reached, an earlier download is used.

    Raises:
        ModelError: unknown, gated or unreachable; no such revision; weights only as pickles; disk full.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f"{repo}@{revision}" if revision else repo
    if HF_HUB_OFFLINE:
        return _cached(repo, revision, "HF_HUB_OFFLINE is set")
    try:
        names = [sibling.rfilename for sibling in HfApi().model_info(repo, revision=revision).siblings or []]
        refuse_pickles(at, names)
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=wanted_files(names, trust_remote_code)
        )
    except GatedRepoError as error:
        page = f"https://huggingface.co/{repo}"
        raise ModelError(
            f"The hub model {at} is gated.",
            hint=f"Request access at {page}, then: hf auth login",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no model {repo} on the hub (or it is private), and no such folder here.",
            hint="Check the name; for a private model: hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        page = f"https://huggingface.co/{repo}/commits"
        raise ModelError(f"The hub model {repo} has no revision {revision}.", hint=f"See {page}") from error
    except HFValidationError as error:
        raise ModelError(f"{repo!r} is neither an existing path nor a hub id.") from error
    except ModelError:
        raise
    # No network, a proxy, a full disk: the exception's class depends on the hub's HTTP client.
    except Exception as error:
        return _cached(repo, revision, str(error).strip().partition("\n")[0] or type(error).__name__)
    return Path(folder), Path(folder).name


def _cached(repo: str, revision: str | None, why: str) -> tuple[Path, str]:
    """An earlier download. `why` says why the hub was not reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    at = f"{repo}@{revision}" if revision else repo
    for settings in ("config.json", "adapter_config.json"):
        try:
            # Requests only one file, because the repository's other files (pickles, say) were never downloaded.
            folder = Path(
                snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=[settings])
            )
        except (LocalEntryNotFoundError, HFValidationError):
            continue
        if (folder / settings).is_file():
            return folder, folder.name
    raise ModelError(
        f"The model {at} is neither a local folder nor in the hub's cache, and the hub cannot be reached ({why}).",
        hint="Go online and unset HF_HUB_OFFLINE, or use a local folder, a .gguf file or bundled:smollm2.",
    )


def wanted_files(names: list[str], trust_remote_code: bool) -> list[str]:
    """The files of a repository that are downloaded."""
    top = [name for name in names if "/" not in name]
    weights = [name for name in top if name.endswith(".safetensors")]
    # Some repositories hold a second copy of the weights in another layout.
    if any(name.startswith("model") for name in weights):
        weights = [name for name in weights if name.startswith(("model", "adapter_model"))]
    code = [name for name in top if name.endswith(".py")] if trust_remote_code else []
    return weights + [name for name in top if name in SETTINGS] + code


def refuse_pickles(model: str, names: list[str]) -> None:
    """Raises ModelError if the weights exist only in formats that run code when they are opened."""
    top = [name for name in names if "/" not in name]
    if any(name.endswith(".safetensors") for name in top):
        return
    pickled = sorted(name for name in top if name.endswith(PICKLED))
    if not pickled:
        raise ModelError(
            f"{model} has no weights in the safetensors format.",
            hint="Use a model that has model.safetensors.",
        )
    new = f"{model.rstrip('/').rpartition('/')[2].partition('@')[0]}-safetensors"
    # Double quotes: a shell's quoting of single ones is unreadable.
    old, new = json.dumps(model), json.dumps(new)
    command = (
        f"from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        f"M.from_pretrained({old}).save_pretrained({new}); T.from_pretrained({old}).save_pretrained({new})"
    )
    raise ModelError(
        f"{model} has only pickled weights ({pickled[0]}), which can run code when they are opened.",
        hint=f"If you trust it, convert it: {shlex.join(('python', '-c', command))}",
    )


def weight_files(folder: Path, model: str) -> list[Path]:
    """The safetensors files of a model folder: the single one, or those that its index lists.

    Raises:
        ModelError: only pickled weights, none at all, or a file of the index is missing.
    """
    if (folder / "model.safetensors").is_file():  # which transformers prefers to an index
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(
                f"{index} is not a valid index of weights ({error}).", hint="Download it again."
            ) from error
        files = sorted({folder / Path(str(name)).name for name in names})  # .name: never outside the folder
        for file in files:
            if not file.is_file():
                raise ModelError(
                    f"{model} lacks {file.name}, which its index lists.", hint="Download it again."
                )
        return files
    refuse_pickles(model, [item.name for item in folder.iterdir()])
    raise ModelError(f"{model} has no model.safetensors.", hint="Save it with save_pretrained.")
