"""The guides say what is so: their configs are read, their commands exist, their programs run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from rabbitjobs import settings
from rabbitjobs.cli.root import cli
from rabbitjobs.topology.config import loads
from tests.docs.users_pytest import passes

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])


class _Any(Mapping[str, str]):
    """An environment in which every variable is set, but none of our own."""

    def __getitem__(self, key: str) -> str:
        if key.startswith("RABBITJOBS_"):
            raise KeyError(key)
        return f"https://{key.lower().replace('_', '-')}.example"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def blocks(page: Path, mark: str, language: str) -> list[str]:
    """The code blocks of a page that carry a mark."""
    pattern = rf"<!-- {mark} -->\n```{language}\n(.*?)```"
    return re.findall(pattern, page.read_text(), re.DOTALL)


def marked(mark: str, language: str) -> list[object]:
    """All marked blocks of all pages, as pytest parameters."""
    return [
        pytest.param(text, id=f"{page.stem}-{place}")
        for page in PAGES
        for place, text in enumerate(blocks(page, mark, language))
    ]


@pytest.mark.parametrize("text", marked("topology", "yaml"))
def test_a_topology_of_the_guides_is_valid(text: str) -> None:
    """Read as `topology plan` reads it."""
    assert loads(text, "guide", env=_Any()).queues


@pytest.mark.parametrize("text", marked("settings", "yaml"))
def test_settings_of_the_guides_are_valid(text: str, tmp_path: Path) -> None:
    """Read as every command reads them."""
    (tmp_path / "rabbitjobs.yaml").write_text(text)
    assert settings.load(tmp_path, _Any()).folder == tmp_path


@pytest.mark.parametrize("text", marked("run", "python"))
def test_a_program_of_the_guides_runs(text: str, tmp_path: Path) -> None:
    """Imported as a module, as its reader would."""
    (tmp_path / "guide.py").write_text(text)
    code = "import warnings; warnings.simplefilter('error'); import guide"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""},
        check=True,
        timeout=60,
    )


def commands() -> list[Any]:
    """Every `$ rabbitjobs ...` line of every page."""
    found = []
    for page in PAGES:
        for line in re.findall(r"^\$ (rabbitjobs .*)$", page.read_text(), re.MULTILINE):
            for part in line.split("&&"):
                text = part.split("   #")[0].strip()
                found.append(pytest.param(text, id=f"{page.stem}: {text}"))
    return found


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_guides_exists(line: str) -> None:
    """With the options and arguments that the guide gives; it is parsed, not run."""
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="rabbitjobs")
    while isinstance(command, click.Group):
        context = command.make_context(context.info_name, list(words), parent=context.parent)
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command_found, words = command.resolve_command(context, rest)
        assert command_found is not None
        command, context = command_found, click.Context(command_found, context, name)
    command.make_context(context.info_name, list(words), parent=context.parent)


def test_the_tests_of_the_testing_guide_pass(tmp_path: Path) -> None:
    """Two files, side by side, and pytest."""
    page = ROOT / "docs" / "guides" / "testing.md"
    for name in ("shop_app.py", "test_shop.py"):
        (text,) = blocks(page, f"test: {name}", "python")
        (tmp_path / name).write_text(text)
    passes(tmp_path, count=3)


def links() -> list[object]:
    """Every relative link of every page."""
    return [
        pytest.param(page, target, id=f"{page.stem}: {target}")
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text())
    ]


@pytest.mark.parametrize(("page", "target"), links())
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    """To a file of this repository."""
    assert (page.parent / target).exists(), f"{page}: {target}"
