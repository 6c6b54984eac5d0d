"""Fingerprints: SHA-256 hashes of weights, tokenizers and settings, whatever files they are stored in.

Weights are read as bytes through a memory map, without torch. 270 MB take about a third of a second.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fi_store.errors import ModelError

MAX_HEADER = 100_000_000
"""A safetensors header of more bytes is refused (the limit of the format's own library)."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a safetensors file: its type and shape as stored, and the offsets of its bytes in the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int  # absolute, bytes
    end: int

    @property
    def n_elements(self) -> int:
        """Product of the shape."""
        product = 1
        for size in self.shape:
            product *= size
        return product


def read_header(file: Path) -> list[TensorEntry]:
    """The tensors of a safetensors file, read from its header alone.

    Format: 8 bytes little-endian header length, JSON header, data (safetensors README, "Format").

    Raises:
        ModelError: the file does not have this format, or is shorter than its header says.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(MAX_HEADER, size):
                raise ValueError("the header is longer than the file")
            header = json.loads(opened.read(length))
        start = 8 + length
        entries = [
            TensorEntry(
                file, name, str(info["dtype"]), tuple(int(n) for n in info["shape"]),
                start + int(info["data_offsets"][0]), start + int(info["data_offsets"][1]),
            )
            for name, info in header.items()
            if name != "__metadata__"
        ]  # fmt: skip
        if any(not start <= entry.begin <= entry.end <= size for entry in entries):
            raise ValueError("tensors extend outside the file")
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise ModelError(
            f"{file} is not a complete safetensors file ({error}).", hint="Download or save it again."
        ) from error
    return entries


def tensors_hash(files: Iterable[Path]) -> str:
    """SHA-256 over the tensors of all files, sorted by name: name, dtype, shape and the SHA-256 of the bytes of each.

    How the tensors are divided among files does not matter, and neither does the files' metadata.
    """
    entries = sorted((entry for file in files for entry in read_header(file)), key=lambda entry: entry.name)
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:  # hashlib releases the GIL
        digests = list(pool.map(_bytes_hash, entries))
    whole = hashlib.sha256()
    for entry, digest in zip(entries, digests, strict=True):
        whole.update(json.dumps([entry.name, entry.dtype, list(entry.shape), digest]).encode())
    return whole.hexdigest()


def _bytes_hash(entry: TensorEntry) -> str:
    if entry.end == entry.begin:
        return hashlib.sha256().hexdigest()
    with (
        entry.file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
        view[entry.begin : entry.end] as part,
    ):
        return hashlib.sha256(part).hexdigest()


def file_hash(file: Path) -> str:
    """SHA-256 of a whole file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def json_hash(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return text_hash(
        json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    )


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 over what determines a tokenizer's ids: the serialized backend (vocabulary, merges, normalization) and
    the special tokens. Padding, truncation and paths are left out, because they can differ between calls.

    `tokenizer` is a transformers tokenizer. One without a Rust backend is hashed by vocabulary and added tokens.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        content.pop("padding", None)
        content.pop("truncation", None)
    else:
        added = {str(key): str(token) for key, token in tokenizer.added_tokens_decoder.items()}
        content = {"vocabulary": tokenizer.get_vocab(), "added": added}
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    return json_hash({"backend": content, "special": special})
