"""Keeps the libraries' progress bars, log lines and known deprecation warnings away from a person's terminal."""

from __future__ import annotations

import logging as standard_logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOGGERS = ("transformers", "bitsandbytes", "peft", "accelerate")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside, transformers draws no bars and only errors are logged; everything is as before afterwards.

    Two warnings are hidden because nobody outside the libraries can act on them: peft 0.21 asks transformers 5.23
    for a property under its old name, and gguf's reader leaves its memory map to the garbage collector.
    """
    from transformers.utils import logging

    transformers_logging: Any = logging
    bars = transformers_logging.is_progress_bar_enabled()
    levels = {name: standard_logging.getLogger(name).level for name in _LOGGERS}
    transformers_logging.disable_progress_bar()
    for name in _LOGGERS:
        standard_logging.getLogger(name).setLevel(standard_logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            yield
    finally:
        for name, level in levels.items():
            standard_logging.getLogger(name).setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
