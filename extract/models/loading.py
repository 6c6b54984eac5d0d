"""Loads one whole model: finds the files of a reference and loads weights, tokenizer and configuration from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.models.adapter import read_adapter
from extract.models.checks import check_loaded, check_memory, check_nf4_widths
from extract.models.gguf import bundled_file, conversion_record, converted_folder
from extract.models.hub import fetched_folder, weight_files
from extract.models.identity import whole_identity
from extract.models.quiet import quiet_libraries
from extract.models.references import ModelReference, Source
from fi_store.errors import ModelError
from fi_store.store.tables import Model

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from extract.models.precision import Precision


@dataclass(frozen=True)
class Loading:
    """Options that apply to everything loaded for a pair. `note` receives messages for the user."""

    cache_dir: Path | None
    trust_remote_code: bool
    note: Callable[[str], None]


@dataclass(frozen=True)
class Plain:
    """A whole model in memory, in evaluation mode and without gradients. `warnings`: sentences about its files."""

    source: Source
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    identity: Model
    warnings: tuple[str, ...] = ()


def stored_quantization(config: PreTrainedConfig) -> str | None:
    """How the weights in a model's folder are quantized already, by its configuration; None if they are not."""
    declared: Any = getattr(config, "quantization_config", None)
    if declared is None:
        return None
    settings = declared if isinstance(declared, dict) else declared.to_dict()
    if settings.get("load_in_8bit"):
        return "int8"
    if settings.get("load_in_4bit"):
        return str(settings.get("bnb_4bit_quant_type", "4 bit"))
    return str(settings.get("quant_method", "an unknown way"))


def find_source(reference: ModelReference, loading: Loading) -> Source:
    """Finds the local files of a reference. Downloads a hub model and converts a GGUF file the first time."""
    if reference.kind == "hub":
        folder, commit = fetched_folder(str(reference.repo), reference.revision, loading.trust_remote_code)
        return _checked(reference, folder, commit)
    if reference.kind in ("gguf", "bundled"):
        file = reference.path or bundled_file(str(reference.repo))
        folder = converted_folder(file, loading.cache_dir, loading.note)
        return Source(reference, folder, None, None, tuple(conversion_record(folder)["warnings"]))
    if reference.path is None:
        raise ModelError(f"{reference.text} has no folder.")
    return _checked(reference, reference.path, None)


def _checked(reference: ModelReference, folder: Path, revision: str | None) -> Source:
    if (folder / "adapter_config.json").is_file() and not (folder / "model.safetensors").is_file():
        return Source(reference, folder, revision, read_adapter(folder))
    if not (folder / "config.json").is_file():
        raise ModelError(f"The model {reference.text} has no config.json.", hint="Download it again.")
    weight_files(folder, reference.text)
    return Source(reference, folder, revision, None)


def load_config(source: Source, loading: Loading) -> PreTrainedConfig:
    """The configuration of a whole model.

    Raises:
        ModelError: the installed transformers does not know such a language model, or it needs its own code.
    """
    from transformers import AutoConfig

    with quiet_libraries(), translated(source, "configuration"):
        config: Any = AutoConfig.from_pretrained(
            source.folder, trust_remote_code=loading.trust_remote_code, local_files_only=True
        )
    return config  # type: ignore[no-any-return]


def load_tokenizer(source: Source, loading: Loading) -> PreTrainedTokenizerBase:
    """The tokenizer in a source's folder."""
    from transformers import AutoTokenizer
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    with quiet_libraries(), translated(source, "tokenizer"):
        if source.reference.kind in ("gguf", "bundled"):
            # The conversion saved the file's own pre-tokenizer. A class chosen by architecture would replace it.
            return TokenizersBackend.from_pretrained(source.folder)  # type: ignore[no-any-return]
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source.folder, trust_remote_code=loading.trust_remote_code, local_files_only=True
        )
    return tokenizer


def has_tokenizer(source: Source) -> bool:
    """Whether the folder has a tokenizer of its own. Most adapter folders don't."""
    return all((source.folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json"))


def load_plain(source: Source, loading: Loading, device: torch.device, precision: Precision) -> Plain:
    """Loads the weights and the tokenizer of a whole model and computes its identity."""
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(source, loading)
    options: dict[str, Any] = {}
    stored = stored_quantization(load_config(source, loading))
    if stored is not None:
        if precision.requested and precision.quantization != stored:
            raise ModelError(
                f"The weights of {source.reference.text} are stored as {stored}, so they cannot be read as "
                f"{precision.quantization}.",
                hint="Use --quantization auto: each model is then read as it is stored.",
            )
        options = {"device_map": {"": device}}
    elif precision.quantization in ("int8", "nf4"):
        options = {"quantization_config": _bitsandbytes(precision), "device_map": {"": device}}
    check_memory(source, device, precision, stored=stored is not None)
    with quiet_libraries(), translated(source, "weights"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.folder, dtype=precision.dtype, use_safetensors=True, local_files_only=True,
            trust_remote_code=loading.trust_remote_code, output_loading_info=True,
            ignore_mismatched_sizes=True, **options,
        )  # fmt: skip
        model, report = loaded
        if not options:
            model = model.to(device)
    if device.type == "cpu":
        check_nf4_widths(source, model, stored=stored is not None)
        _keep_nf4_readable(model)
    warnings = check_loaded(source, model, report)
    model.requires_grad_(False)
    model.eval()
    identity = whole_identity(source, model.config, tokenizer)
    if stored is not None:
        identity.n_parameters = model.num_parameters()  # the files hold packed numbers
        warnings.insert(0, f"The weights of {source.reference.text} are read as they are stored: {stored}.")
    return Plain(source, model, tokenizer, identity, tuple(warnings))


def _bitsandbytes(precision: Precision) -> Any:
    from transformers import BitsAndBytesConfig

    # It would log a line for every product whose input is not float16, which means for every product.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    make: Any = BitsAndBytesConfig
    if precision.quantization == "int8":
        return make(load_in_8bit=True)
    return make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=precision.dtype,
        bnb_4bit_use_double_quant=False,
    )


def _keep_nf4_readable(model: nn.Module) -> None:
    """Keeps bitsandbytes from packing the weights for AVX512 at the first pass.

    Packed weights pass no gradients, round their scales, and read a batch four times as slowly (SmolLM2-135M).
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            vars(module)["support_avx512bf16_for_cpu"] = False


@contextmanager
def translated(source: Source, what: str) -> Iterator[None]:
    """Turns what transformers raises while it reads a model's files into one sentence about that model."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ModelError(
            f"The {what} of {source.reference.text} cannot be read: a file is damaged or cut short ({error}).",
            hint="Download it again.",
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError, TypeError) as error:
        text = source.reference.text
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"The model {text} needs to run its own code.",
                hint="Read that code; if you trust it, add --trust-remote-code.",
            ) from error
        first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise ModelError(
            f"The {what} of {text} cannot be read: {first}.", hint="Try a newer version of transformers."
        ) from error
