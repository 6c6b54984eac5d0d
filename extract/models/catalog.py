"""What is known about models without loading weights: those on this machine, what a reference refers to, a pair's ids.

Shapes come from the headers of the files, fingerprints from their bytes.
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
    """A model on this machine. `path` is a file or folder, `n_bytes` its size on disk."""

    reference: str
    state: Literal["ready", "converted", "not installed", "in the hub's cache"]
    path: Path | None
    n_bytes: int


def known_models(cache_dir: Path | None = None) -> list[KnownModel]:
    """Bundled models, converted GGUF files, and the models in the hub's own cache."""
    found = [_bundled(name) for name in sorted(BUNDLED)]
    for folder in converted_folders(cache_dir):
        found.append(KnownModel(conversion_record(folder)["source"], "converted", folder, _size(folder)))
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
    """What a reference refers to: kind, architecture, sizes, fingerprint, template.

    Keys: reference, kind, revision, folder, architecture, n_layers, d_model, vocab_size, n_parameters, id,
    weights_hash, tokenizer_hash, has_chat_template, base (the name that an adapter gives, else None), warnings. A hub
    model is downloaded and a GGUF file converted the first time. For an adapter, its base is read too.

    Raises:
        ModelError: the reference, or the base that an adapter names, cannot be read.
    """
    loading = Loading(cache_dir, trust_remote_code, note)
    source = find_source(parse_reference(text), loading)
    if source.adapter is None:
        identity, template = _whole(source, loading)
    elif source.adapter.base_name is None:
        raise ModelError(f"The adapter {source.reference.text} does not name its base.")
    else:
        base_source = find_source(parse_reference(source.adapter.base_name), loading)
        base, _ = _whole(base_source, loading)
        identity, template = _adapted(source, loading, base, base_source)
    facts = (
        "reference",
        "kind",
        "revision",
        "architecture",
        "n_layers",
        "d_model",
        "vocab_size",
        "n_parameters",
        "id",
        "weights_hash",
        "tokenizer_hash",
    )
    return {
        **{name: getattr(identity, name) for name in facts},
        "folder": str(source.folder),
        "has_chat_template": template is not None,
        "base": source.adapter.base_name if source.adapter else None,
        "warnings": list(source.warnings),
    }


def possible_ids(
    base: str, target: str, cache_dir: Path | None, *, trust_remote_code: bool, note: Callable[[str], None]
) -> list[tuple[str, str]]:
    """The (base, target) ids that a pair may have in a store.

    An adapter's id covers the model that it was added to: either the other side's, or the one that it names.

    Raises:
        ModelError: a reference cannot be read.
    """
    loading = Loading(cache_dir, trust_remote_code, note)
    sources = [find_source(parse_reference(text), loading) for text in (base, target)]
    whole = [None if source.adapter else _whole(source, loading)[0] for source in sources]
    sides: list[list[str]] = []
    for side, source in enumerate(sources):
        model, other = whole[side], whole[1 - side]
        if model is not None:
            sides.append([model.id])
            continue
        bases = [] if other is None else [(other, sources[1 - side])]
        bases += _named_base(source, loading)
        sides.append([_adapted(source, loading, *base)[0].id for base in bases])
    return [(base_id, target_id) for base_id in sides[0] for target_id in sides[1]]


def _named_base(source: Source, loading: Loading) -> list[tuple[Model, Source]]:
    """The model that an adapter names; empty if it names none, or one that is not on this machine."""
    name = source.adapter.base_name if source.adapter else None
    if name is None:
        return []
    try:
        base_source = find_source(parse_reference(name), loading)
        return [(_whole(base_source, loading)[0], base_source)]
    except ModelError:
        return []  # a folder on the machine where it was trained; the other side's model is then its base


def _whole(source: Source, loading: Loading) -> tuple[Model, str | None]:
    """The row and the chat template of a whole model."""
    tokenizer = load_tokenizer(source, loading)
    return whole_identity(source, load_config(source, loading), tokenizer), template_of(tokenizer)


def _adapted(source: Source, loading: Loading, base: Model, base_source: Source) -> tuple[Model, str | None]:
    """The row and the chat template of an adapter on `base`."""
    own_tokenizer = has_tokenizer(source)
    tokenizer = load_tokenizer(source if own_tokenizer else base_source, loading)
    return adapter_identity(source, base, tokenizer, own_tokenizer), template_of(tokenizer)
