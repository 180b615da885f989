"""A failpoint ends the process at its place, and only there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rabbitjobs import failpoints


def _run(code: str, place: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({failpoints.VARIABLE: place} if place else {})}
    return subprocess.run(
        [sys.executable, "-c", f"from rabbitjobs import failpoints\n{code}"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("place", failpoints.PLACES)
def test_the_named_place_ends_the_process_without_any_cleaning_up(place: str) -> None:
    code = f"import atexit\natexit.register(print, 'cleaned')\nfailpoints.reach({place!r})"
    done = _run(code, place)
    assert (done.returncode, done.stdout) == (failpoints.EXIT_CODE, "")


def test_other_places_and_no_variable_at_all_do_nothing() -> None:
    code = "failpoints.reach('after-mail'); print('alive')"
    assert _run(code, "after-publish-confirm").stdout == "alive\n"
    assert _run(code, None).stdout == "alive\n"


def test_a_place_that_does_not_exist_is_refused_with_the_names_that_do() -> None:
    done = _run("", "after-mial")
    assert done.returncode == 1
    assert "expected one of after-forward-confirm, after-publish-confirm, after-mail" in done.stderr
