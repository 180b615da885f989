"""Finding the app that a command is about."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.errors import AppNotFound


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def find_app(named: str | None, *, configured: str | None = None) -> RabbitJobs:
    """Import the app: ``--app``, else ``RABBITJOBS_APP``, else the config's, else pyproject.toml's.

    The form is ``module:attribute``; the working directory is importable. Raises ``AppNotFound``.
    """
    text = named_app(named, configured)
    if not text:
        raise AppNotFound(
            "expected the app as module:attribute, got none; use --app, RABBITJOBS_APP, `app` in "
            "config/rabbitjobs.yaml or [tool.rabbitjobs] in pyproject.toml"
        )
    module_name, _, attribute = text.partition(":")
    if not module_name or module_name.startswith("."):
        raise AppNotFound(f"expected the app as module:attribute, got {text!r}")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(module_name)
    found = getattr(module, attribute or "app", None)
    if not isinstance(found, RabbitJobs):
        names = [name for name, value in vars(module).items() if isinstance(value, RabbitJobs)]
        hint = f"; {module_name} holds: {', '.join(names)}" if names else ""
        raise AppNotFound(
            f"expected a RabbitJobs at {module_name}:{attribute or 'app'}, "
            f"got {type(found).__name__}{hint}"
        )
    return found


def named_app(named: str | None, configured: str | None) -> str | None:
    """The app's name as ``module:attribute``, by the order of ``find_app``; ``None`` if none is."""
    return named or os.environ.get("RABBITJOBS_APP") or configured or _of_pyproject()


def include(modules: Iterable[str]) -> None:
    """Import the modules that register jobs."""
    for name in modules:
        _import(name)


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # the module is there, something that it imports is not: show that
        raise AppNotFound(
            f"expected a module {name!r} that can be imported from {os.getcwd()}, got: {error}"
        ) from error


def _of_pyproject() -> str | None:
    path = Path("pyproject.toml")
    if not path.is_file():
        return None
    import tomllib

    table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("rabbitjobs", {})
    app = table.get("app")
    return app if isinstance(app, str) else None
