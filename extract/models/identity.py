"""A model's row in the store. Its id is a hash of weights, tokenizer and chat template, and of no path."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from extract.models.fingerprint import read_header, tensors_hash, text_hash, tokenizer_hash
from extract.models.hub import weight_files
from extract.models.references import Source
from fi_store.errors import ModelError
from fi_store.ids import content_id
from fi_store.store.tables import Model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


def template_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The text of the chat template. If there are several named ones, the one called "default"."""
    template: Any = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    return str(template) if template else None


def whole_identity(source: Source, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> Model:
    """The row of a whole model. Parameters are counted as stored, so tied weights count only once."""
    files = weight_files(source.folder, source.reference.text)
    text: Any = config.get_text_config()
    facts = {
        "kind": source.reference.kind,
        "base_model_id": None,
        "architecture": str((config.architectures or [type(config).__name__])[0]),
        "n_layers": int(text.num_hidden_layers),
        "d_model": int(text.hidden_size),
        "vocab_size": int(text.vocab_size),
        "n_parameters": sum(entry.n_elements for file in files for entry in read_header(file)),
    }
    return _row(source, tensors_hash(files), tokenizer, facts)


def adapter_identity(
    source: Source, base: Model, tokenizer: PreTrainedTokenizerBase, own_tokenizer: bool
) -> Model:
    """The row of an adapter on `base`. Its weights hash covers the base's, so with another base it is another model.

    If `own_tokenizer` is false, the tokenizer is the base's and its hash is not computed again.
    """
    adapter = source.adapter
    if adapter is None:
        raise ModelError(f"{source.reference.text} is not an adapter.")
    facts = {
        "kind": "adapter",
        "base_model_id": base.id,
        "architecture": base.architecture,
        "n_layers": base.n_layers,
        "d_model": base.d_model,
        "vocab_size": base.vocab_size,
        "n_parameters": base.n_parameters + adapter.n_parameters,
    }
    known = None if own_tokenizer else base.tokenizer_hash
    return _row(source, adapter.fingerprint(base.weights_hash), tokenizer, facts, known)


def _row(
    source: Source,
    weights: str,
    tokenizer: PreTrainedTokenizerBase,
    facts: dict[str, Any],
    known_tokens: str | None = None,
) -> Model:
    template = template_of(tokenizer)
    template_hash = text_hash(template) if template else None
    tokens = known_tokens or tokenizer_hash(tokenizer)
    return Model(
        id=content_id("model", weights, tokens, template_hash),
        reference=source.reference.text,
        revision=source.revision,
        weights_hash=weights,
        tokenizer_hash=tokens,
        template_hash=template_hash,
        created_at=dt.datetime.now(dt.UTC),
        **facts,
    )
