"""The app in a child process: imported again, as the worker has it, and without its connections."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.consumer.pools.protocol import Program
from rabbitjobs.errors import WorkerError
from rabbitjobs.job.registry import Registry
from rabbitjobs.monitor import logs


def program_of(app: RabbitJobs) -> Program:
    """How a child comes by the jobs of ``app``; raises ``WorkerError`` if it cannot.

    The app must be found in a module by its name, and each job in the module that registers it.
    """
    module, attribute = _place(app)
    functions = (definition.function for definition in app.registry)
    around = tuple(app.chain or ())
    modules = dict.fromkeys(
        [*(function.__module__ for function in functions if function), *(m.module for m in around)]
    )
    config, url = app.overrides
    return Program(
        f"{__name__}:registry",
        {
            "module": module,
            "attribute": attribute,
            "include": tuple(modules),
            "middleware": tuple(one.name for one in around),
            "config": str(config) if config is not None else None,
            "url": url,
            "log_level": logs.configured[0] if logs.configured else None,
            "log_format": logs.configured[1] if logs.configured else None,
        },
    )


def registry(
    *,
    module: str,
    attribute: str,
    include: tuple[str, ...],
    middleware: tuple[str, ...],
    config: str | None,
    url: str | None,
    log_level: str | int | None,
    log_format: logs.Format | None,
) -> Registry:
    """In the child: import the app and the modules of its jobs, and give back what they register.

    Raises whatever their import raises.
    """
    if log_level is not None and log_format is not None:
        logs.configure(log_level, log_format)
    app = getattr(importlib.import_module(module), attribute)
    if not isinstance(app, RabbitJobs):
        raise WorkerError(
            f"expected a RabbitJobs at {module}:{attribute}, got {type(app).__name__}"
        )
    app.override(config=Path(config) if config is not None else None, url=url)
    for name in include:
        importlib.import_module(name)
    found = tuple(one.name for one in app.chain or ())
    if found != tuple(middleware):
        raise WorkerError(
            f"expected the middleware of the worker in the child process too "
            f"({', '.join(middleware) or 'none'}), in this order, got "
            f"{', '.join(found) or 'none'}; register it in the module of the app or of a job"
        )
    return app.registry


def _place(app: RabbitJobs) -> tuple[str, str]:
    for module in tuple(sys.modules.values()):
        if module is None or module.__name__ == "__main__":
            continue
        for name, value in tuple(vars(module).items()):
            if value is app:
                return module.__name__, name
    raise WorkerError(
        "expected the app as a global name of a module, so that child processes can import it, "
        "got none; move it out of the function or program that makes it"
    )
