"""What `fi-store models` shows: the models that are on this machine, and what a reference stands for.

Weights are never loaded: shapes come from the files' headers, fingerprints from their bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from extract.models.gguf import bundled_file, conversion_record, converted_folders
from extract.models.identity import adapter_identity, template_of, whole_identity
from extract.models.loading import Loading, find_source, has_tokenizer, load_config, load_tokenizer
from extract.models.references import BUNDLED, Source, parse_reference
from fi_store.errors import ModelError
from fi_store.store.tables import Model


@dataclass(frozen=True)
class KnownModel:
    """A model on this machine. `place` is a file or folder, `n_bytes` what it takes on disk."""

    reference: str
    state: Literal["ready", "converted once", "not installed", "in the hub's cache"]
    place: Path | None
    n_bytes: int


def known_models(cache_dir: Path | None = None) -> list[KnownModel]:
    """Bundled models, conversions in the cache, and what the hub's own cache holds."""
    found = [_bundled(name) for name in sorted(BUNDLED)]
    for folder in converted_folders(cache_dir):
        found.append(KnownModel(conversion_record(folder)["source"], "converted once", folder, _size(folder)))
    return found + _hub_cache()


def _bundled(name: str) -> KnownModel:
    try:
        file = bundled_file(name)
    except ModelError:
        return KnownModel(f"bundled:{name}", "not installed", None, 0)
    return KnownModel(f"bundled:{name}", "ready", file, file.stat().st_size)


def _hub_cache() -> list[KnownModel]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = [repo for repo in scan_cache_dir().repos if repo.repo_type == "model"]
    except CacheNotFound:
        return []
    return [
        KnownModel(repo.repo_id, "in the hub's cache", Path(repo.repo_path), repo.size_on_disk)
        for repo in sorted(repos, key=lambda repo: repo.repo_id)
    ]


def _size(folder: Path) -> int:
    return sum(item.stat().st_size for item in folder.iterdir() if item.is_file())


def describe_reference(
    text: str,
    cache_dir: Path | None = None,
    *,
    trust_remote_code: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """What a reference stands for: kind, architecture, sizes, fingerprint, template.

    Keys: reference, kind, revision, folder, architecture, n_layers, d_model, vocab_size, n_parameters, id,
    weights_hash, tokenizer_hash, has_chat_template, base (name that an adapter gives, else None), warnings. A hub
    model is downloaded and a GGUF file converted if that was not done before; for an adapter its base is read too.

    Raises:
        ModelError: the reference, or the base that an adapter names, cannot be read.
    """
    loading = Loading(cache_dir, trust_remote_code, note)
    source = find_source(parse_reference(text), loading)
    if source.adapter is None:
        identity, template = _whole(source, loading)
    else:
        identity, template = _adapted(source, loading)
    names = (
        "reference",
        "kind",
        "revision",
        "architecture",
        "n_layers",
        "d_model",
        "vocab_size",
        "n_parameters",
    )
    hashes = ("id", "weights_hash", "tokenizer_hash")
    return {
        **{name: getattr(identity, name) for name in (*names, *hashes)},
        "folder": str(source.folder),
        "has_chat_template": template is not None,
        "base": source.adapter.base_name if source.adapter else None,
        "warnings": list(source.warnings),
    }


def _whole(source: Source, loading: Loading) -> tuple[Model, str | None]:
    tokenizer = load_tokenizer(source, loading)
    return whole_identity(source, load_config(source, loading), tokenizer), template_of(tokenizer)


def _adapted(source: Source, loading: Loading) -> tuple[Model, str | None]:
    adapter = source.adapter
    if adapter is None or adapter.base_name is None:
        raise ModelError(f"The adapter {source.reference.text} does not name its base.")
    base_source = find_source(parse_reference(adapter.base_name), loading)
    base, template = _whole(base_source, loading)
    own = has_tokenizer(source)
    tokenizer = load_tokenizer(source if own else base_source, loading)
    return adapter_identity(source, base, tokenizer, own), template_of(tokenizer) if own else template
