"""Writes shards of activations or gradients: one safetensors file each, complete or not at all."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fi_store.errors import ExtractionError
from fi_store.store import shard_path
from fi_store.store.tables import ActivationShard
from fi_store.vocabulary import SHARD_KINDS, ShardKind

TEMPORARY = ".partial"


def write_shards(
    folder: Path,
    run_id: str,
    reader: str,
    chunk: int,
    first_row: int,
    values: Mapping[tuple[str, int], Tensor],
    kind: ShardKind = "activation",
) -> list[ActivationShard]:
    """Writes one reader's values in a chunk, (site, layer) -> (n_rows, d_model); returns the files' store rows.

    A file gets its final name only when it is complete. Files of an earlier, killed attempt are replaced.

    Raises:
        ExtractionError: the disk is full.
    """
    written: list[ActivationShard] = []
    with full_disk_explained(folder, run_id):
        for (site, layer), rows in values.items():
            relative = shard_path(run_id, kind, reader, site, layer, chunk)
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(path.name + TEMPORARY)
            try:
                save_file({SHARD_KINDS[kind]: rows.cpu().contiguous()}, temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            written.append(
                ActivationShard(
                    run_id=run_id,
                    kind=kind,
                    reader=reader,
                    site=site,
                    layer=layer,
                    chunk=chunk,
                    path=relative,
                    first_row=first_row,
                    n_rows=rows.shape[0],
                    d_model=rows.shape[1],
                    dtype=str(rows.dtype).removeprefix("torch."),
                    n_bytes=path.stat().st_size,
                    state="present",
                )
            )
    return written


@contextmanager
def full_disk_explained(folder: Path, run_id: str) -> Iterator[None]:
    """Turns "no space left on device" into a sentence with the next step. Other errors pass through."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) != errno.ENOSPC and "No space left" not in str(error):
            raise
        raise ExtractionError(
            f"The disk of {folder} is full. Chunks that were committed before are kept.",
            hint=f"free space (fi-store gc), then fi-store run --resume {run_id}",
        ) from error
