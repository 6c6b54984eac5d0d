"""Hides the libraries' progress bars, log lines and known deprecation warnings from the user."""

from __future__ import annotations

import logging as standard_logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOGGERS = ("transformers", "bitsandbytes", "peft", "accelerate")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside the context, transformers draws no progress bars and only errors are logged.

    One warning is hidden because only the libraries could fix it: peft 0.21 reads a property of transformers 5.23
    under its old name.
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
