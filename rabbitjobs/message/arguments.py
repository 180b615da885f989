"""A job's arguments: checked before sending, and again before running.

The check is that of the worker: a value must survive the way through JSON as the parameter's
type. Types are those of msgspec (builtins, dataclasses, enums, dates, UUID, Decimal, Struct,
TypedDict, unions) and every class with pydantic's ``model_validate``.
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from rabbitjobs.errors import ArgumentsRefused, RegistrationError
from rabbitjobs.message.markers import Injected
from rabbitjobs.message.repeated_keys import refuse_repeated_keys

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_PLAIN: tuple[type[Any], ...] = (str, int, float, bytes, dict, list, tuple)
_AS_IS = frozenset({str, int, float, bool, type(None)})


def to_plain(value: Any) -> Any:
    """What msgspec cannot encode by itself: pydantic's models, subclasses of plain types."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    for plain in _PLAIN:
        if isinstance(value, plain):
            return plain(value)
    raise TypeError(f"objects of type {type(value).__name__} cannot be sent as JSON")


def from_plain(kind: type[Any], value: Any) -> Any:
    """The way back of ``to_plain``."""
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    raise TypeError(f"values of type {kind!r} cannot be read from JSON")


class Body(msgspec.Struct, frozen=True):
    """The body of a message: positional and keyword arguments."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter that travels, for who fills it in by hand.

    ``place`` is where it stands among those given by position, ``None``: it is given by name.
    ``kind`` is its type in words, ``Any`` if it has none.
    """

    name: str
    kind: str
    place: int | None
    required: bool


_MISMATCH = re.compile(r"Expected `[^`]*`, got `[^`]*`")
_encoder = msgspec.json.Encoder(enc_hook=to_plain)
_decoder = msgspec.json.Decoder(Body)


class Arguments:
    """How the arguments of one function are checked, encoded and decoded."""

    def __init__(self, function: Callable[..., Any]) -> None:
        qualname = getattr(function, "__qualname__", None) or repr(function)
        self.name = f"{function.__module__}.{qualname}"
        try:
            hints = typing.get_type_hints(function)
        except Exception as error:  # annotations are user code: a name that does not resolve, say
            raise RegistrationError(
                f"the annotations of {self.name} cannot be read: {error}"
            ) from error
        self.returns: Any = hints.get("return", Any)
        parameters = list(inspect.signature(function).parameters.values())
        self.injected: dict[str, type[Any]] = {
            p.name: hints[p.name] for p in parameters if _is_injected(hints.get(p.name))
        }
        self._order = [p.name for p in parameters if p.kind in _POSITIONAL]
        sent = [p for p in parameters if p.name not in self.injected]
        self._signature = inspect.Signature(sent)
        self._types = {p.name: hints.get(p.name, Any) for p in sent}
        self._positional = [p.name for p in sent if p.kind in _POSITIONAL]
        self._kinds = [self._types[name] for name in self._positional]
        self._simple = all(p.kind in _POSITIONAL for p in sent) and not any(
            p.kind is p.POSITIONAL_ONLY for p in sent
        )
        self._required = sum(p.default is p.empty for p in sent)

    @property
    def sent_positional(self) -> int:
        """How many positional parameters travel; more arguments include the injected ones."""
        return len(self._positional)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that travel one by one, in order; those that take the rest are no part."""
        found = [p for p in self._signature.parameters.values() if p.kind not in _VARIADIC]
        return tuple(
            Parameter(
                name=p.name,
                kind=_show(self._types[p.name]),
                place=self._positional.index(p.name) if p.kind in _POSITIONAL else None,
                required=p.default is p.empty,
            )
            for p in found
        )

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """Check the arguments and encode them; ``ArgumentsRefused`` names every bad one."""
        try:
            bound, problems = self._bind(args, kwargs), []
        except ArgumentsRefused as misfit:  # what did find its place may be wrong as well
            known = [(name, value) for name, value in kwargs.items() if name in self._types]
            bound, problems = [*zip(self._positional, args, strict=False), *known], [misfit.text]
        problems += [text for name, value in bound for text in self._check(name, value)]
        if problems:
            raise ArgumentsRefused("; ".join(problems))
        return encode_body(args, kwargs)

    def decode(self, body: bytes) -> tuple[list[Any], dict[str, Any]]:
        """Read a body and convert each argument to its type; raises ``ArgumentsRefused``."""
        plain = read_body(body)
        if not plain.kwargs and self._as_they_are(plain.args):
            return plain.args, plain.kwargs
        bound = self._bind(plain.args, plain.kwargs)
        converted: dict[int | str, Any] = {}
        faults: list[tuple[str, str]] = []
        for place, (name, value) in enumerate(bound):
            try:
                converted[place if place < len(plain.args) else name] = self._convert(name, value)
            except Exception as error:  # converting runs user code (__post_init__, validators)
                faults.append((name, _said(error)))
        if faults:
            text = "; ".join(f"{name}: {said}" for name, said in faults)
            raise ArgumentsRefused(text, faults=dict(faults))
        args = [converted[place] for place in range(len(plain.args))]
        return args, {name: converted[name] for name in plain.kwargs}

    @property
    def by_name(self) -> Mapping[str, inspect.Parameter]:
        """The parameters that travel, by name; those that take the rest among them."""
        return self._signature.parameters

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What each parameter of a call is, by name, defaults included."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def inject(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], make: Callable[[type[Any]], Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Add the injected parameters to the arguments of a call, each at its place."""
        named = {name: make(kind) for name, kind in self.injected.items() if name not in kwargs}
        left = list(args)
        placed: list[Any] = []
        for name in self._order:
            if not left:
                break
            placed.append(named.pop(name) if name in named else left.pop(0))
        return [*placed, *left], {**kwargs, **named}

    def _as_they_are(self, args: list[Any]) -> bool:
        """Whether these fit and need no converting, as plain values by position mostly do."""
        if not self._simple or not self._required <= len(args) <= len(self._positional):
            return False
        for kind, value in zip(self._kinds, args, strict=False):
            if kind is not Any and not (type(value) is kind and kind in _AS_IS):
                return False
        return True

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
        if self._simple and not kwargs and self._required <= len(args) <= len(self._positional):
            return list(zip(self._positional, args, strict=False))
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:  # it tells the first fault only
            said = "; ".join(self._misfits(args, kwargs)) or str(error)
            raise ArgumentsRefused(
                f"expected the arguments of {self.name}{self._signature}; {said}"
            ) from None
        rest = ((self._rest_name(), value) for value in args[len(self._positional) :])
        return [*zip(self._positional, args, strict=False), *rest, *kwargs.items()]

    def _misfits(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[str]:
        """Everything that keeps a call from fitting the signature, in the words of Python."""
        given = set(self._positional[: len(args)])
        parameters = self._signature.parameters
        kinds = {one.kind for one in parameters.values()}
        named = {name for name, one in parameters.items() if one.kind in _NAMED}
        if len(args) > len(self._positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
            yield f"too many positional arguments: {len(args)}, not {len(self._positional)}"
        for name in kwargs:
            if name in given & named:
                yield f"multiple values for argument {name!r}"
            elif name not in named and inspect.Parameter.VAR_KEYWORD not in kinds:
                yield f"got an unexpected keyword argument {name!r}"
        for name, one in parameters.items():
            required = one.default is one.empty and one.kind not in _VARIADIC
            if required and name not in given and not (name in kwargs and name in named):
                yield f"missing a required argument: {name!r}"

    def _rest_name(self) -> str:
        return next(
            p.name for p in self._signature.parameters.values() if p.kind is p.VAR_POSITIONAL
        )

    def _type_of(self, name: str) -> Any:
        if name in self._types:
            return self._types[name]
        variable = [p for p in self._signature.parameters.values() if p.kind is p.VAR_KEYWORD]
        return self._types[variable[0].name] if variable else Any

    def _convert(self, name: str, value: Any) -> Any:
        kind = self._type_of(name)
        if kind is Any or (type(value) is kind and kind in _AS_IS):
            return value
        return msgspec.convert(value, kind, strict=True, dec_hook=from_plain)

    def _check(self, name: str, value: Any) -> list[str]:
        kind = self._type_of(name)
        if type(value) is kind and kind in _AS_IS:
            # JSON has no word for these: they would arrive as null.
            endless = kind is float and not math.isfinite(value)
            return [f"{name}: expected a finite number, got {value}"] if endless else []
        if kind is Any:
            return []
        try:
            plain = msgspec.json.decode(_encoder.encode(value))
            msgspec.convert(plain, kind, strict=True, dec_hook=from_plain)
        except Exception as error:  # encoding and converting run user code
            plainly = f"{name}: expected {_show(kind)}, got {type(value).__name__}"
            said = _said(error)
            # About the value itself msgspec says the same again; about a part of it, it says where.
            return [plainly if _MISMATCH.fullmatch(said) else f"{plainly}; {said}"]
        return []


def encode_body(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Encode arguments that no signature is known for; raises ``ArgumentsRefused``."""
    try:
        return _encoder.encode(Body(list(args), dict(kwargs)))
    except Exception as error:  # encoding runs user code (model_dump)
        raise ArgumentsRefused(f"the arguments cannot be encoded: {_said(error)}") from None


def read_body(body: bytes) -> Body:
    """Read a body strictly; ``ArgumentsRefused`` when it is not ``{"args": [], "kwargs": {}}``."""
    try:
        found = _decoder.decode(body)
        refuse_repeated_keys(body, found.args, found.kwargs)
        return found
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError) as error:
        raise ArgumentsRefused(
            f'expected a JSON body {{"args": [...], "kwargs": {{...}}}}; {error}'
        ) from None


def encode_result(value: Any) -> bytes:
    """Encode what a job returned; raises ``ArgumentsRefused`` for what JSON cannot hold."""
    try:
        return _encoder.encode(value)
    except Exception as error:  # encoding runs user code (model_dump)
        raise ArgumentsRefused(f"the return value cannot be stored: {_said(error)}") from None


def decode_result(data: bytes, kind: Any) -> Any:
    """Read a stored result as ``kind``; plain data when the type is unknown."""
    plain = msgspec.json.decode(data)
    if kind is Any or kind is None:
        return plain
    return msgspec.convert(plain, kind, strict=False, dec_hook=from_plain)


def _is_injected(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Injected)


def _said(error: Exception) -> str:
    if isinstance(error, msgspec.MsgspecError | TypeError | ValueError | RecursionError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _show(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
