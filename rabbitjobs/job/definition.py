"""``@job``: a registered function and the typed door to send it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, cast

import msgspec

from rabbitjobs.errors import ArgumentsRefused, RegistrationError
from rabbitjobs.job.call import Call, Options, fault_of
from rabbitjobs.job.handle import JobHandle
from rabbitjobs.message.arguments import Arguments, encode_body
from rabbitjobs.message.codec import SHORT_BYTES
from rabbitjobs.policy.concurrency import Concurrency, concurrency_fault
from rabbitjobs.policy.rate import Rate
from rabbitjobs.policy.rate import checked as checked_rate
from rabbitjobs.policy.rules import Rule

P = ParamSpec("P")
R = TypeVar("R")
ConcurrencyKey = str | Callable[..., str] | Concurrency


# What hands that come from Celery type by themselves.
_CELERY = {
    "delay": "send(...), or options(delay=...).send(...)",
    "apply_async": "send(...), or options(...).send(...)",
    "apply": "the job itself: job(...) runs it here",
    "si": "call(...)",
    "s": "call(...)",
}


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job. ``function`` and ``arguments`` are ``None`` for a remote one.

    ``pool`` says where it runs (``None``: as its queue says), the limits how long, ``rate`` how
    often it starts, ``concurrency`` which of its calls may not run beside each other.
    ``needs_approval``: no attempt runs before a person at the desk has said yes.
    """

    name: str
    queue: str
    function: Callable[..., Any] | None = None
    arguments: Arguments | None = None
    retry: str | None = None
    rules: tuple[Rule, ...] = ()
    ignore_result: bool = False
    needs_approval: bool = False
    is_async: bool = False
    pool: str | None = None
    soft_limit: timedelta | None = None
    hard_limit: timedelta | None = None
    rate: Rate | None = None
    concurrency: Concurrency | None = None
    source: str = ""


class Sender(Protocol):
    """What a job needs to send itself; the app injects it."""

    def send(self, call: Call) -> JobHandle[Any]:
        """Publish, blocking until the broker has confirmed."""
        ...

    async def asend(self, call: Call) -> JobHandle[Any]:
        """The a-twin of ``send``."""
        ...


def define(
    function: Callable[..., Any],
    *,
    name: str | None,
    queue: str,
    retry: str | None,
    rules: tuple[Rule, ...],
    ignore_result: bool,
    needs_approval: bool = False,
    pool: str | None = None,
    soft_limit: timedelta | None = None,
    hard_limit: timedelta | None = None,
    rate: Rate | str | None = None,
    concurrency_key: ConcurrencyKey | None = None,
) -> Definition:
    """Describe a function as a job; raises ``RegistrationError`` for what cannot be one."""
    name = name or f"{_home(function)}.{getattr(function, '__qualname__', '')}"
    check_name(name)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RegistrationError(
            "expected a function that returns a value, got a generator", job=name
        )
    source = source_of(function)
    fault = limits_fault(soft_limit, hard_limit) or _wording_fault(queue, pool)
    if fault is not None:
        raise RegistrationError(f"{source}: {fault}" if source else fault, job=name)
    if not source:
        raise RegistrationError(
            f"expected a function, got {type(function).__name__}; wrap it in a def", job=name
        )
    arguments = Arguments(function)
    return Definition(
        name=name,
        queue=queue,
        function=function,
        arguments=arguments,
        retry=retry,
        rules=rules,
        ignore_result=ignore_result,
        needs_approval=needs_approval,
        is_async=inspect.iscoroutinefunction(function),
        pool=pool,
        soft_limit=soft_limit,
        hard_limit=hard_limit,
        rate=_rate(rate, name, source),
        concurrency=_concurrency(concurrency_key, arguments, name, source),
        source=source,
    )


def source_of(function: Callable[..., Any]) -> str:
    """File and line of a function, "" for what has none (a builtin)."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine: an ``async def``, or an object with such a call."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def _wording_fault(queue: Any, pool: Any) -> str | None:
    for name, value in (("queue", queue), ("pool", pool)):
        if value is not None and (not isinstance(value, str) or not value):
            got = "nothing" if value == "" else type(value).__name__
            return f"expected {name} as the name of one, got {got}"
    return None


def _rate(given: Rate | str | None, job: str, source: str) -> Rate | None:
    if given is None:
        return None
    try:
        return checked_rate(given)
    except ValueError as error:
        raise RegistrationError(f"{source}: {error}", job=job) from None


def _concurrency(
    given: ConcurrencyKey | None, arguments: Arguments, job: str, source: str
) -> Concurrency | None:
    if given is None:
        return None
    wanted = given if isinstance(given, Concurrency) else Concurrency(given)
    fault = concurrency_fault(wanted, arguments.by_name)
    if fault is not None:
        raise RegistrationError(f"{source}: {fault}", job=job)
    return wanted


def limits_fault(soft: Any, hard: Any) -> str | None:
    """What is wrong with the limits of a job; ``None`` if nothing."""
    for name, limit in (("soft_limit", soft), ("hard_limit", hard)):
        if limit is None:
            continue
        if not isinstance(limit, timedelta):
            return f"expected {name} as a timedelta, got {type(limit).__name__}"
        if limit <= timedelta(0):
            return f"expected {name} above zero, got {limit}"
    if soft is not None and hard is not None and soft >= hard:
        return f"expected soft_limit below hard_limit, got {soft} and {hard}"
    return None


def _home(function: Callable[..., Any]) -> str:
    """The module by the name under which a worker imports it.

    A file that is run as a program calls itself ``__main__``: jobs sent from there would be
    unknown to every worker.
    """
    if function.__module__ != "__main__":
        return function.__module__
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


def check_name(name: str) -> None:
    """A job's name travels as an AMQP short string: 1 to 255 bytes of UTF-8."""
    size = len(name.encode())
    if not 1 <= size <= SHORT_BYTES:
        raise RegistrationError(
            f"expected a job name of 1 to {SHORT_BYTES} bytes, got {size}", job=name
        )


class Job(Generic[P, R]):
    """A function that can be called here, or sent to run in a worker.

    A sent job may run more than once; its outcome is recorded once where a store is set.
    """

    def __init__(
        self, definition: Definition, sender: Sender, options: Options | None = None
    ) -> None:
        self.definition = definition
        self._sender = sender
        self._options = options or Options()

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return self.definition.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now; a remote job raises ``RegistrationError``.

        A ``Context`` that is not given is one of no worker. Nothing is sent or recorded.
        """
        function, arguments = self.definition.function, self.definition.arguments
        if function is None or arguments is None:
            raise RegistrationError(
                "expected a job whose code is here, got a remote one", job=self.name
            )
        if arguments.injected and len(args) <= arguments.sent_positional:
            placed, named = arguments.inject(args, kwargs, lambda kind: kind.detached())
            return cast(R, function(*placed, **named))
        return cast(R, function(*args, **kwargs))

    def send(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Send it, and return when the broker has confirmed that it is stored.

        Raises ``ArgumentsRefused`` before anything is sent; ``SendRejected`` when it is certain
        that nothing is stored; ``SendUnknown`` when it may or may not be. Inside a running event
        loop it raises ``SyncInAsync``.
        """
        return cast("JobHandle[R]", self._sender.send(self.call(*args, **kwargs)))

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """The a-twin of ``send``."""
        return cast("JobHandle[R]", await self._sender.asend(self.call(*args, **kwargs)))

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The checked call as a value, for ``send_many`` and workflows; nothing is sent."""
        arguments = self.definition.arguments
        try:
            body = arguments.encode(args, kwargs) if arguments else encode_body(args, kwargs)
        except ArgumentsRefused as error:
            raise ArgumentsRefused(error.text, job=self.name, queue=self.definition.queue) from None
        return Call(self.definition, body, self._options)

    def options(
        self,
        *,
        id: str | None = None,
        queue: str | None = None,
        priority: str | None = None,
        delay: timedelta | None = None,
        at: datetime | None = None,
        expires: timedelta | datetime | None = None,
        unique: str | None = None,
        tag: str | None = None,
        timeout: float | timedelta | None = None,
        tx: Any = None,
        on_done: str | None = None,
    ) -> Self:
        """The same job, sent in another way; see ``Options`` for what each means.

        Options given before stay, unless they are given anew. Raises ``ArgumentsRefused``.
        """
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        given = {
            "id": id,
            "queue": queue,
            "priority": priority,
            "delay": delay,
            "at": at,
            "expires": expires,
            "unique": unique,
            "tag": tag,
            "timeout": timeout,
            "tx": tx,
            "on_done": on_done,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        options = msgspec.structs.replace(self._options, **changes)
        fault = fault_of(options)
        if fault is not None:
            raise ArgumentsRefused(fault, job=self.name, queue=self.definition.queue)
        return type(self)(self.definition, self._sender, options)

    def __getattr__(self, name: str) -> Any:
        hint = _CELERY.get(name)
        text = f"{type(self).__name__} has no attribute {name!r}"
        raise AttributeError(f"{text}; use {hint}" if hint else text)

    def __repr__(self) -> str:
        return f"<Job {self.name} on queue {self.definition.queue}>"


class AsyncJob(Job[P, R]):
    """A job whose function is ``async def``: calling it here gives a coroutine."""

    def __call__(  # type: ignore[override]  # only the direct call differs: sends are the same
        self, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        """Run the function in the caller's loop: await what it returns."""
        return cast("Coroutine[Any, Any, R]", super().__call__(*args, **kwargs))
