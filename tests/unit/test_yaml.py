"""Config files: what YAML means here, what is refused, and that all faults come at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rabbitjobs.errors import ConfigError
from rabbitjobs.yaml import parse, read


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a: 1", 1),
        ("a: 010", 10),
        ("a: 0o17", 15),
        ("a: 0x1f", 31),
        ("a: 1e3", 1000.0),
        ("a: .5", 0.5),
        ("a: 1_000", "1_000"),
        ("a: yes", "yes"),
        ("a: off", "off"),
        ("a: true", True),
        ("a: ~", None),
        ("a:", None),
        ('a: "5"', "5"),
        ("a: 5s", "5s"),
        ("a: 12:30:00", "12:30:00"),
        ("a: 2026-11-21", "2026-11-21"),
        ("a: |\n  주문\n", "주문\n"),
        ("a: [1, {b: c}]", [1, {"b": "c"}]),
        ("base: &b {x: 1}\na: *b", {"x": 1}),
        ("a: " + "9" * 50, "9" * 50),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, meaning: Any) -> None:
    """No dates, no sexagesimal numbers, no yes and no."""
    document = parse(text, "f.yaml", {})
    assert document.problems == []
    assert document.plain()["a"] == meaning


@pytest.mark.parametrize(
    ("text", "line", "expected", "got"),
    [
        ("a: 1\nb: 2\na: 3", 3, "each key once", "'a' again (first on line 1)"),
        ("a: !!python/name:os.system x", 1, "a value without a tag", "python/name"),
        ("a: !!str 5", 1, "a value without a tag", "str"),
        ("a: {<<: {b: 1}}", 1, "a key that is text", "a merge key"),
        ("404: x", 1, 'such as "404" in quotes', "404"),
        ("? [a]\n: 2", 1, "a key that is text", "no text"),
        ("a: *b", 1, "an anchor", "*b"),
        ("a: &b [*b]", 1, "an anchor that ends before its alias", "*b"),
        ("a: 1\n---\nb: 2", 2, "one document", "a second one"),
        ("%YAML 1.1\n---\na: 1", 2, "YAML 1.2", "1.1"),
        ("a: [1\nb: 2", 2, "YAML 1.2", "expected ',' or ']'"),
        ("\ta: 1", 1, "YAML 1.2", "cannot start any token"),
        ("a: \x07", 0, "YAML 1.2", "special characters"),
        ("[" * 3000 + "]" * 3000, 1, "at most 50 levels", "more"),
        ("a: 1\nb: ${NOBODY_SET_THIS}", 2, "NOBODY_SET_THIS in the environment", "nothing"),
    ],
)
def test_faults_are_told_with_their_line(text: str, line: int, expected: str, got: str) -> None:
    """Duplicate keys, tags, merges, aliases to come, broken syntax."""
    (problem,) = parse(text, "f.yaml", {}).problems
    assert (problem.file, problem.line) == ("f.yaml", line)
    assert expected in problem.expected
    assert got in problem.got


def test_all_faults_of_a_file_come_at_once_in_its_order() -> None:
    """Reading goes on after a fault."""
    document = parse("a: ${X}\na: !t 1\n7: ${Y}\n", "f.yaml", {})
    with pytest.raises(ConfigError) as error:
        document.raise_problems()
    assert [problem.line for problem in error.value.problems] == [1, 2, 2, 3, 3]


def test_variables_come_from_the_environment() -> None:
    """Plain values are read again by YAML's rules, quoted ones stay text, $${ escapes."""
    text = "a: ${N}\nb: '${N}'\nc: x${N}y${N}\nd: ${M:-7}\ne: $${N}\nf: ${M:-}\ng: $N\n"
    document = parse(text, "f.yaml", {"N": "5"})
    assert document.problems == []
    assert document.plain() == {
        "a": 5, "b": "5", "c": "x5y5", "d": 7, "e": "${N}", "f": None, "g": "$N",
    }  # fmt: skip


def test_a_variable_cannot_bring_structure_in() -> None:
    """What stands in the environment is a value, never YAML."""
    document = parse("a: ${N}", "f.yaml", {"N": "{b: [1]}\nc: 2"})
    assert document.plain() == {"a": "{b: [1]}\nc: 2"}


def test_an_optional_variable_may_be_missing() -> None:
    """Then the value counts as left out; inside a text it is still a fault."""
    document = parse("a: ${U}\nb: x${U}", "f.yaml", {}, optional=["U"])
    assert document.plain()["a"] is None
    assert [problem.line for problem in document.problems] == [2]


def test_files_that_cannot_be_read_are_problems_too(tmp_path: Path) -> None:
    """Missing, a folder, or not UTF-8."""
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"a: \xff")
    for path, got in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a dir"),
        (bad, "0xff"),
    ):
        (problem,) = read(path, {}).problems
        assert got in problem.got
