"""Prompts and concepts: reads, checks, imports and writes prompt files, and assigns prompts to clusters and halves.

Knows nothing about models.
"""

from __future__ import annotations

from fi_store.prompts.columns import Columns
from fi_store.prompts.concept_bank import Concept, Form, load_concepts
from fi_store.prompts.file import PROMPT_KEYS, checked_category
from fi_store.prompts.importer import read_source
from fi_store.prompts.records import PromptRecord, PromptSuite
from fi_store.prompts.split import (
    Unit,
    assign_units,
    check_halves,
    cluster_categories,
    cluster_prompts,
    lone_categories,
)
from fi_store.prompts.suite import (
    NAMED_FILES,
    check_categories,
    load_suite,
    suite_from_lists,
    suite_from_store,
    suite_of_run,
)
from fi_store.prompts.write import full_form, grader_text, starter, write_new

__all__ = [
    "NAMED_FILES",
    "PROMPT_KEYS",
    "Columns",
    "Concept",
    "Form",
    "PromptRecord",
    "PromptSuite",
    "Unit",
    "assign_units",
    "check_categories",
    "check_halves",
    "checked_category",
    "cluster_categories",
    "cluster_prompts",
    "full_form",
    "grader_text",
    "load_concepts",
    "load_suite",
    "lone_categories",
    "read_source",
    "starter",
    "suite_from_lists",
    "suite_from_store",
    "suite_of_run",
    "write_new",
]
