"""Runs forward and backward passes over texts: answers, activations, divergences, attribution; their rows and files.

It does not know how texts are rendered or tokenized, and it does not decide what is run.
"""

from __future__ import annotations

from extract.reading.attribution import AttributionReading, PairReading, read_pair
from extract.reading.backward import Shift, read_answers
from extract.reading.batch import BATCH_TOKENS, Batch, padded_length
from extract.reading.decoding import Decoding, write_on
from extract.reading.divergence import BLOCK_ROWS, Divergence, VocabularyMap, map_vocabularies
from extract.reading.facts import (
    attribution_table,
    divergence_table,
    gap_table,
    logprob_table,
    mentioned_tokens,
    summary_table,
    token_table,
)
from extract.reading.generate import answering, end_ids, forced_logits, generate_answers
from extract.reading.graph import measured_graph
from extract.reading.hooks import Edit, NotFiniteError, add_vectors, read_batch
from extract.reading.pair import Activations
from extract.reading.passes import AnswerTexts, Scoring
from extract.reading.prefix import may_branch, may_share
from extract.reading.replay import CleanReading, Patch, layers_below, read_clean
from extract.reading.shards import full_disk_explained, write_shards
from extract.reading.sites import LayerSites, Readable, Site, require_sites, sites_of
from extract.reading.units import (
    Unit,
    answer_texts,
    batch_tokens,
    batch_units,
    by_unit,
    find_units,
    reader_of,
    row_numbers,
    scorings_of,
)

__all__ = [
    "BATCH_TOKENS",
    "BLOCK_ROWS",
    "Activations",
    "AnswerTexts",
    "AttributionReading",
    "Batch",
    "CleanReading",
    "Decoding",
    "Divergence",
    "Edit",
    "LayerSites",
    "NotFiniteError",
    "PairReading",
    "Patch",
    "Readable",
    "Scoring",
    "Shift",
    "Site",
    "Unit",
    "VocabularyMap",
    "add_vectors",
    "answer_texts",
    "answering",
    "attribution_table",
    "batch_tokens",
    "batch_units",
    "by_unit",
    "divergence_table",
    "end_ids",
    "find_units",
    "forced_logits",
    "full_disk_explained",
    "gap_table",
    "generate_answers",
    "layers_below",
    "logprob_table",
    "map_vocabularies",
    "may_branch",
    "may_share",
    "measured_graph",
    "mentioned_tokens",
    "padded_length",
    "read_answers",
    "read_batch",
    "read_clean",
    "read_pair",
    "reader_of",
    "require_sites",
    "row_numbers",
    "scorings_of",
    "sites_of",
    "summary_table",
    "token_table",
    "write_on",
    "write_shards",
]
