"""Finding the app that a command is about."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rabbitjobs.app.finding import find_app, include, named_app
from rabbitjobs.errors import AppNotFound

APP = "from rabbitjobs import RabbitJobs\n{name} = RabbitJobs('{namespace}')\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module for each way to name an app."""
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    for module in ("by_option", "by_variable", "by_config", "by_pyproject"):
        (tmp_path / f"{module}.py").write_text(APP.format(name="app", namespace=module))
    yield tmp_path
    sys.path[:] = path
    for module in set(sys.modules) - before:
        del sys.modules[module]


def found(named: str | None = None, configured: str | None = None) -> str:
    """The namespace of the app that is found."""
    return find_app(named, configured=configured).namespace


def test_the_order_is_option_variable_config_pyproject(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wins over the next."""
    (folder / "pyproject.toml").write_text('[tool.rabbitjobs]\napp = "by_pyproject:app"\n')
    assert found() == "by_pyproject"
    assert found(configured="by_config:app") == "by_config"
    monkeypatch.setenv("RABBITJOBS_APP", "by_variable:app")
    assert found(configured="by_config:app") == "by_variable"
    assert found("by_option:app", "by_config:app") == "by_option"


def test_the_working_directory_is_importable_and_app_is_the_usual_name() -> None:
    """Without any installation."""
    assert found("by_option") == "by_option"
    assert os.getcwd() in sys.path


def test_no_name_at_all_says_where_to_put_one() -> None:
    """All four places."""
    with pytest.raises(AppNotFound) as missing:
        found()
    for place in ("--app", "RABBITJOBS_APP", "rabbitjobs.yaml", "pyproject.toml"):
        assert place in missing.value.text


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("nowhere:app", "a module 'nowhere'"),
        ("by_option.inner:app", "a module 'by_option.inner'"),
        ("by_option:sys", "by_option holds: app"),
        (":app", "module:attribute"),
        (".relative:app", "module:attribute"),
        ("sys:path", "got list"),
    ],
)
def test_a_wrong_name_is_an_error_that_helps(named: str, says: str) -> None:
    """With what is there instead."""
    with pytest.raises(AppNotFound) as missing:
        found(named)
    assert says in missing.value.text


def test_a_module_that_fails_shows_its_own_error(folder: Path) -> None:
    """The fault is in there, not in the name."""
    (folder / "needs.py").write_text("import surely_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        found("needs:app")


def test_included_modules_register_their_jobs(folder: Path) -> None:
    """One that is missing is an error."""
    (folder / "more.py").write_text(
        "from by_option import app\n@app.job(name='more')\ndef more(): ...\n"
    )
    app = find_app("by_option")
    include(["more"])
    assert app.registry.get("more") is not None
    with pytest.raises(AppNotFound):
        include(["missing"])


def test_a_name_can_be_looked_up_without_importing() -> None:
    """For commands that work without an app."""
    assert named_app(None, None) is None
    assert named_app(None, "shop:app") == "shop:app"
