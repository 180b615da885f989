"""Reads the ``notify:`` part of the config into options; finds every fault, not just the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from datetime import timedelta
from typing import Any, TypeVar, get_args

from rabbitjobs.clock import parse_duration
from rabbitjobs.errors import ConfigError, Problem
from rabbitjobs.notify.options import (
    ChannelOptions,
    LogOptions,
    MailOptions,
    NotifyOptions,
    OnDoneOptions,
    Shape,
    Tls,
    WebhookOptions,
)
from rabbitjobs.notify.rate import Rate

KINDS: Mapping[str, type[LogOptions] | type[MailOptions] | type[WebhookOptions]] = {
    "log": LogOptions,
    "mail": MailOptions,
    "webhook": WebhookOptions,
}
T = TypeVar(
    "T", bound=LogOptions | MailOptions | WebhookOptions | OnDoneOptions | Rate | NotifyOptions
)
Line = Callable[[str], int]


def read(raw: object, *, file: str = "config", line: Line = lambda path: 0) -> NotifyOptions:
    """The options that ``raw``, the value of ``notify:``, asks for.

    ``line`` gives the line of a path such as ``notify.channels.0.host``. Raises ``ConfigError``
    with every fault. Secrets must already be filled in (``${SMTP_PASSWORD}``).
    """
    reader = _Reader(file, line)
    options = reader.notify(raw)
    if reader.problems or options is None:
        raise ConfigError(tuple(reader.problems))
    return options


class _Reader:
    def __init__(self, file: str, line: Line) -> None:
        self.file = file
        self.line = line
        self.problems: list[Problem] = []

    def fault(self, path: str, expected: str, got: str) -> Any:
        """Note a fault; returns ``None``, the value that stands for a faulty one."""
        self.problems.append(Problem(self.file, self.line(path), path, expected, got))

    def notify(self, raw: object) -> NotifyOptions | None:
        path = "notify"
        known = self.mapping(raw if raw is not None else {}, path)
        nested: dict[str, Any] = {
            "channels": self.channels(known.pop("channels", ["log"]), f"{path}.channels"),
            "on_done": self.build(OnDoneOptions, known.pop("on_done", {}), f"{path}.on_done"),
            "rate": self.build(Rate, known.pop("rate", {}), f"{path}.rate"),
        }
        options = self.build(NotifyOptions, known, path)
        if options is None or self.problems:
            return None
        options = replace(options, **{k: v for k, v in nested.items() if v is not None})
        self.rate(options.rate, f"{path}.rate")
        return options

    def rate(self, rate: Rate, path: str) -> None:
        if rate.messages < 1:
            self.fault(f"{path}.messages", "at least 1", str(rate.messages))
        if not 1 <= rate.hold <= 65535:
            self.fault(f"{path}.hold", "1 to 65535 (it is the prefetch)", str(rate.hold))
        if rate.digest > rate.per:
            self.fault(f"{path}.digest", "at most rate.per", "more")
        if rate.per > timedelta(minutes=20):
            self.fault(f"{path}.per", "at most 20m, below the consumer timeout", "more")

    def channels(self, raw: object, path: str) -> tuple[ChannelOptions, ...] | None:
        if not isinstance(raw, list):
            self.fault(path, "a list of log, mail or webhook", _kind(raw))
            return None
        read = [self.channel(entry, f"{path}.{place}") for place, entry in enumerate(raw)]
        names = [entry.name for entry in read if entry is not None]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.fault(path, "a name: of its own for each channel", f"{name} twice")
        return tuple(entry for entry in read if entry is not None)

    def channel(self, raw: object, path: str) -> ChannelOptions | None:
        # Both `- log` and `- mail: {host: ...}` are how people write a list of kinds.
        pair = {raw: {}} if isinstance(raw, str) else raw
        if not isinstance(pair, Mapping) or len(pair) != 1:
            self.fault(path, "log, mail: {...} or webhook: {...}", _kind(raw))
            return None
        kind, value = next(iter(pair.items()))
        if kind not in KINDS:
            self.fault(path, "log, mail or webhook", repr(kind))
            return None
        return self.build(KINDS[kind], value if value is not None else {}, f"{path}.{kind}")

    def build(self, shape: type[T], raw: object, path: str) -> T | None:
        before = len(self.problems)
        values = self.mapping(raw, path)
        known = {entry.name: entry for entry in fields(shape)}
        for key in values.keys() - known.keys():
            self.fault(f"{path}.{key}", f"one of {', '.join(sorted(known))}", "an unknown key")
        for name, entry in known.items():
            if name not in values and entry.default is MISSING:
                self.fault(f"{path}.{name}", f"a value ({entry.type})", "nothing")
        read = {
            name: self.value(str(known[name].type), values[name], f"{path}.{name}")
            for name in known.keys() & values.keys()
        }
        if len(self.problems) > before:
            return None
        options = shape(**read)
        if isinstance(options, MailOptions | WebhookOptions | OnDoneOptions):
            for place, expected, got in options.faults():
                self.fault(f"{path}.{place}", expected, got)
        return options

    def mapping(self, raw: object, path: str) -> dict[str, Any]:
        if isinstance(raw, Mapping):
            return {str(key): value for key, value in raw.items()}
        self.fault(path, "a mapping", _kind(raw))
        return {}

    def value(self, shape: str, raw: object, path: str) -> Any:
        if shape == "timedelta":
            return self.duration(raw, path)
        if shape == "tuple[str, ...]":
            rows = [raw] if isinstance(raw, str) else raw
            if isinstance(rows, list) and all(isinstance(row, str) for row in rows):
                return tuple(str(row) for row in rows)
            return self.fault(path, "a text or a list of texts", _kind(raw))
        if shape == "int":
            if isinstance(raw, int) and not isinstance(raw, bool):
                return int(raw)
            return self.fault(path, "a whole number", _kind(raw))
        choices = {"Tls": get_args(Tls), "Shape": get_args(Shape)}.get(shape)
        if choices and raw not in choices:
            return self.fault(path, f"one of {', '.join(choices)}", repr(raw))
        if not isinstance(raw, str) and not (raw is None and shape.endswith("None")):
            return self.fault(path, "a text", _kind(raw))
        return raw if raw is None else str(raw)

    def duration(self, raw: object, path: str) -> Any:
        try:
            found = parse_duration(raw) if isinstance(raw, str) else None
        except ValueError:
            found = None
        if found is None or not found:
            return self.fault(path, "a duration such as 30s or 10m", repr(raw))
        return found


def _kind(raw: object) -> str:
    if isinstance(raw, Mapping):
        return "a mapping"
    return "nothing" if raw is None else repr(raw)[:80]
