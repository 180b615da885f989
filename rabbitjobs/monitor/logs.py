"""Logging for our own processes: one line for each event, readable in a terminal, else JSON.

Only command-line processes call ``configure``. As a library rabbitjobs logs through the standard
``logging`` (loggers below ``rabbitjobs``) and leaves the application's configuration alone.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

from rabbitjobs.monitor.late_rich import late_rich
from rabbitjobs.secret import HIDDEN, mask

with late_rich():
    import structlog

Format = Literal["auto", "console", "json"]

# Their DEBUG and INFO lines print message bodies, headers and URLs with passwords.
CAPPED = (
    "alembic",
    "watchfiles",
    "pika",
    "aio_pika",
    "aiormq",
    "httpx",
    "httpcore",
    "sqlalchemy.engine",
    "asyncio",
)
DEEPEST = 6
LONGEST = 10_000

# C0, DEL, C1, line and paragraph separators, what turns text around, and lone surrogates.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|authorization|api_?key|credential", re.IGNORECASE
)
_HANDLER = "rabbitjobs"

configured: tuple[str | int, Format] | None = None
"""The level and format of the last ``configure`` of this process, for the processes it starts."""

Event = MutableMapping[str, Any]


def configure(
    level: str | int = "INFO", format: Format = "auto", stream: TextIO | None = None
) -> None:
    """Send every log line of this process, structlog's and the standard library's, to ``stream``.

    ``auto`` is ``console`` where the stream is a terminal, else ``json`` (one object a line).
    ``stream`` defaults to standard error. May be called again: only our own handler is replaced.
    What structlog's context variables hold stands on every line: the executor binds the job's
    name, id and attempt there, and they reach the job's tasks and its thread.
    Raises ``ValueError`` for an unknown level or format.
    """
    global configured
    configured = level, format
    target = stream if stream is not None else sys.stderr
    kind = ("console" if target.isatty() else "json") if format == "auto" else format
    if kind not in ("console", "json"):
        raise ValueError(f"expected format auto, console or json, got {format!r}")
    shared = _shared()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared[:2], structlog.stdlib.ExtraAdder(), *shared[2:]],
        processors=_last(kind, colors=target.isatty()),
    )
    handler = logging.StreamHandler(target)
    handler.set_name(_HANDLER)
    handler.setFormatter(formatter)
    _install(handler, level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def escape(text: str, *, keep: str = "") -> str:
    r"""``text`` with control characters written out (``\n``, ``\x1b``), so that it is one line.

    Neither a line break nor a terminal's escape sequence in a job's name or payload survives.
    Characters in ``keep`` stay.
    """
    return _CONTROL.sub(lambda hit: hit[0] if hit[0] in keep else _written(hit[0]), text)


def escape_json(text: str) -> str:
    r"""The same for JSON that is shown to people: what would play tricks becomes ``\u001b``.

    It stays the same document; its own line breaks stay.
    """
    return _CONTROL.sub(lambda hit: hit[0] if hit[0] == "\n" else f"\\u{ord(hit[0]):04x}", text)


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _shared() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]


def _last(kind: str, *, colors: bool) -> list[structlog.typing.Processor]:
    # Tracebacks become text before they are cleaned: an exception's message is foreign text too.
    steps: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.StackInfoRenderer(),
        _clean,
    ]
    if kind == "json":
        return [*steps, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]
    return [
        *steps,
        structlog.dev.ConsoleRenderer(
            colors=colors,
            timestamp_key="time",
            exception_formatter=structlog.dev.plain_traceback,
            sort_keys=False,
        ),
    ]


def _install(handler: logging.Handler, level: str | int) -> None:
    root = logging.getLogger()
    for old in [one for one in root.handlers if one.get_name() == _HANDLER]:
        root.removeHandler(old)
        old.close()
    root.setLevel(level.upper() if isinstance(level, str) else level)
    root.addHandler(handler)
    for name in CAPPED:
        logger = logging.getLogger(name)
        logger.setLevel(max(logging.WARNING, root.level))
    # pika writes five errors for each failed try to connect; ours is one, and says more.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def _clean(logger: object, method: str, event: Event) -> Event:
    """Mask secrets and write out control characters in every key and value of a line."""
    return {_clean_text(str(key)): _clean_value(str(key), value, 0) for key, value in event.items()}


def _clean_value(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return HIDDEN if value is not None and _is_secret(key) else value
    if _is_secret(key):
        return HIDDEN
    if key in ("exception", "stack"):
        return escape(mask(str(value)), keep="\n\t")
    if isinstance(value, str):
        return _clean_text(value)
    if depth < DEEPEST and isinstance(value, Mapping):
        return {_clean_text(str(k)): _clean_value(str(k), v, depth + 1) for k, v in value.items()}
    if depth < DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_clean_value("", one, depth + 1) for one in value]
    return _clean_text(str(value))


def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _clean_text(text: str) -> str:
    whole = escape(mask(text[: LONGEST + 1]))
    return whole if len(text) <= LONGEST else whole[:LONGEST] + "…"
