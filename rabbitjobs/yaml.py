"""Config files: YAML 1.2 with the line of every value, all faults collected, nothing executed.

Refused: duplicate keys, tags, merge keys, keys that are not text. ``${NAME}`` inside a value is
replaced from the environment, ``${NAME:-text}`` gives a default, ``$${`` is a plain ``${``.
Values that still look like another type after that are read again by YAML's rules, unless quoted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rabbitjobs.errors import ConfigError, Problem

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DIGITS: Final = 40
_DEPTH: Final = 50


@dataclass(frozen=True, slots=True)
class Node:
    """One value and the line (from 1) on which it starts; containers hold nodes again."""

    value: Any
    line: int


@dataclass(slots=True)
class Document:
    """One config file: its ``node`` and every problem found so far, in reading and in checking.

    `rabbitjobs.fields.root` gives the place to start checking from.
    """

    file: str
    node: Node
    problems: list[Problem] = field(default_factory=list)

    def report(self, line: int, path: str, expected: str, got: str) -> None:
        """Add a problem; reading and checking go on."""
        self.problems.append(Problem(self.file, line, path or "(the file)", expected, got))

    def plain(self) -> Any:
        """The data without lines."""
        return plain(self.node)

    def raise_problems(self) -> None:
        """Raise `ConfigError` with all problems, in the order of the file, if there are any."""
        if self.problems:
            raise ConfigError(self.ordered())

    def ordered(self) -> tuple[Problem, ...]:
        """All problems, each once, in the order of the file."""
        return tuple(sorted(dict.fromkeys(self.problems), key=lambda problem: problem.line))


def read(path: Path, env: Mapping[str, str], *, optional: Collection[str] = ()) -> Document:
    """Read a YAML file; faults are in ``problems`` of the result, so that checking can go on.

    ``env`` fills ``${NAME}``. A value that is nothing but a missing variable named in
    ``optional`` is ``None``; every other missing variable is a problem. A file that is not there
    or that cannot be parsed at all gives an empty document with that one problem.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path), env, optional=optional)
    except UnicodeDecodeError as error:
        fault = ("a file in UTF-8", f"byte {error.object[error.start]:#x} at {error.start}")
    except OSError as error:
        fault = ("a file that can be read", error.strerror or str(error))
    document = Document(str(path), Node(None, 0))
    document.report(0, "", *fault)
    return document


def parse(
    text: str, file: str, env: Mapping[str, str], *, optional: Collection[str] = ()
) -> Document:
    """Read YAML from a text, as `read` does from a file; ``file`` is for the problems' texts."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    document = Document(file, Node(None, 0))
    try:
        events, too_deep = _collect(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        got = error.problem or error.context or "a syntax error"
        document.report(line, "", _wanted(text, line), got)
    except YAMLError as error:
        document.report(0, "", "YAML 1.2", " ".join(str(error).split()))
    else:
        if too_deep:
            document.report(too_deep, "", f"at most {_DEPTH} levels", "more")
        else:
            document.node = _Builder(document, env, optional).build(iter(events))
    return document


def _wanted(text: str, line: int) -> str:
    lines = text.splitlines()
    if "${" in "".join(lines[max(line - 2, 0) : line]):
        return "YAML 1.2 (inside { } and [ ] a ${NAME} stands in quotes)"
    return "YAML 1.2"


def _collect(events: Iterable[Any]) -> tuple[list[Any], int]:
    """All events; or those up to where the file nests too deeply to be walked, and that line."""
    found: list[Any] = []
    depth = 0
    for event in events:
        kind = _kind(event)
        depth += kind in ("MappingStart", "SequenceStart")
        depth -= kind in ("MappingEnd", "SequenceEnd")
        if depth > _DEPTH:
            return found, int(event.start_mark.line) + 1
        found.append(event)
    return found, 0


# --- building: from YAML's events to nodes -------------------------------------------------------


class _Builder:
    def __init__(
        self, document: Document, env: Mapping[str, str], optional: Collection[str]
    ) -> None:
        self._document = document
        self._env = env
        self._optional = optional
        self._anchors: dict[str, Node] = {}

    def build(self, events: Iterator[Any]) -> Node:
        root, documents = Node(None, 1), 0  # of a file with nothing in it
        for event in events:
            if _kind(event) == "DocumentStart":
                documents += 1
                if event.version and tuple(event.version) != (1, 2):
                    version = ".".join(map(str, event.version))
                    self._fault(event, (), "YAML 1.2", f"%YAML {version}")
                node = self._node(next(events), events, ())
                root = root if documents > 1 else node
                if documents > 1:
                    self._fault(event, (), "one document", "a second one after ---")
        return root

    def _node(self, event: Any, events: Iterator[Any], path: tuple[str | int, ...]) -> Node:
        if _kind(event) == "Alias":
            return self._alias(event, path)
        if event.tag is not None:
            self._fault(event, path, "a value without a tag", str(event.tag))
        node = Node(self._value(event, events, path), event.start_mark.line + 1)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _value(self, event: Any, events: Iterator[Any], path: tuple[str | int, ...]) -> Any:
        match _kind(event):
            case "MappingStart":
                return self._mapping(events, path)
            case "SequenceStart":
                items = _until(events, "SequenceEnd")
                return [self._node(e, events, (*path, i)) for i, e in enumerate(items)]
            case _:
                return self._scalar(event, path)

    def _alias(self, event: Any, path: tuple[str | int, ...]) -> Node:
        found = self._anchors.get(event.anchor)
        if found is None:
            self._fault(event, path, "an anchor that ends before its alias", f"*{event.anchor}")
        return found or Node(None, event.start_mark.line + 1)

    def _mapping(self, events: Iterator[Any], path: tuple[str | int, ...]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for event in _until(events, "MappingEnd"):
            key = self._key(event, events, path)
            node = self._node(next(events), events, (*path, key))
            if key in found:
                first = f"{key!r} again (first on line {found[key].line})"
                self._fault(event, (*path, key), "each key once", first)
            else:
                found[key] = Node(node.value, event.start_mark.line + 1)
        return found

    def _key(self, event: Any, events: Iterator[Any], path: tuple[str | int, ...]) -> str:
        text = str(getattr(event, "value", "?"))
        plain = _kind(event) == "Scalar" and not event.tag
        if not plain:
            self._node(event, events, (*path, "?"))
        if not plain or text == "<<":
            self._fault(event, path, "a key that is text", "a merge key" if plain else "no text")
        elif not event.style and not isinstance(resolve(text), str):
            self._fault(event, path, f'a key that is text, such as "{text}" in quotes', text)
        return text

    def _scalar(self, event: Any, path: tuple[str | int, ...]) -> Any:
        missing: list[str] = []

        def fill(match: re.Match[str]) -> str:
            name, default = match.groups()
            if name is None:
                return "${"
            if name not in self._env and default is None:
                missing.append(name)
            return self._env.get(name) or default or ""

        text = _VARIABLE.sub(fill, event.value)
        if missing and missing[0] in self._optional and _VARIABLE.fullmatch(event.value):
            return None
        for name in missing:
            self._fault(event, path, f"{name} in the environment", "nothing")
        return text if event.style else resolve(text)

    def _fault(self, event: Any, path: Sequence[str | int], expected: str, got: str) -> None:
        self._document.report(event.start_mark.line + 1, dotted(path), expected, got)


def resolve(text: str) -> Any:
    """What an unquoted scalar means in YAML 1.2's core schema (``on`` and ``no`` are text)."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _DIGITS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _kind(event: Any) -> str:
    return type(event).__name__.removesuffix("Event")


def _until(events: Iterator[Any], end: str) -> Iterator[Any]:
    for event in events:
        if _kind(event) == end:
            return
        yield event


def plain(node: Node) -> Any:
    """The data of a node without lines."""
    if isinstance(node.value, dict):
        return {key: plain(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [plain(value) for value in node.value]
    return node.value


def dotted(path: Sequence[str | int]) -> str:
    """A path for texts: ``queues.emails.on[0].error``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
