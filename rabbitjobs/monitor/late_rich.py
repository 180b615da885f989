"""Importing structlog without rich, which it draws tracebacks with in a terminal.

structlog imports rich as soon as it finds it: 40 ms and 5 MB in every worker, whose log is JSON.
Here it finds a stand-in instead: what it takes from there is the real thing from its first use on.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_MODULES = ("rich", "rich.console", "rich.pretty", "rich.traceback")


class _Late:
    """Something of a module that is imported when it is called, or asked for anything."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def _real(self) -> Any:
        module = importlib.import_module(self._module)
        if hasattr(module, self._name):
            return getattr(module, self._name)
        return importlib.import_module(f"{self._module}.{self._name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> _Late:
        if name.startswith("__"):  # what the import system itself asks a module for
            raise AttributeError(name)
        return _Late(self.__name__, name)


@contextlib.contextmanager
def late_rich() -> Iterator[None]:
    """Whatever is imported in this block gets rich at first use; nothing, if rich is there."""
    if "rich" in sys.modules:
        yield
        return
    stand_ins: dict[str, ModuleType] = {name: _StandIn(name) for name in _MODULES}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
