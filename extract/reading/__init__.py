"""Runs forward passes over token sequences: answers, activations, divergences, and their rows and files on disk.

It does not know how texts are rendered or tokenized, and it does not decide what is run.
"""

from __future__ import annotations

from extract.reading.batch import BATCH_TOKENS, padded_length
from extract.reading.divergence import BLOCK_ROWS, VocabularyMap, map_vocabularies
from extract.reading.facts import divergence_table, mentioned_tokens, summary_table, token_table
from extract.reading.generate import Answer, answering, generate_answers
from extract.reading.hooks import NotFiniteError, Readable, Splice, read_batch
from extract.reading.pair import Activations, SequenceBatch, batch_sequences, read_alone, read_pair
from extract.reading.prefix import may_branch
from extract.reading.shards import full_disk_explained, write_shards

__all__ = [
    "BATCH_TOKENS",
    "BLOCK_ROWS",
    "Activations",
    "Answer",
    "NotFiniteError",
    "Readable",
    "SequenceBatch",
    "Splice",
    "VocabularyMap",
    "answering",
    "batch_sequences",
    "divergence_table",
    "full_disk_explained",
    "generate_answers",
    "map_vocabularies",
    "may_branch",
    "mentioned_tokens",
    "padded_length",
    "read_alone",
    "read_batch",
    "read_pair",
    "summary_table",
    "token_table",
    "write_shards",
]
