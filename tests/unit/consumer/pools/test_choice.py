"""Which pool a job runs in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rabbitjobs.consumer.pools.choice import GROUP, Pools, fault_of, known_pools
from rabbitjobs.consumer.pools.local import LocalPool
from rabbitjobs.consumer.pools.protocol import PoolOptions
from rabbitjobs.consumer.pools.solo import SoloPool
from rabbitjobs.errors import RegistrationError, WorkerError
from rabbitjobs.job.definition import Definition, define


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that adds a pool."""
    about = tmp_path / "other_pools-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-pools\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\nother = {SoloPool.__module__}:SoloPool\n")
    monkeypatch.syspath_prepend(tmp_path)


def job(pool: str | None = None, *, is_async: bool = False) -> Definition:
    return Definition(name="job", queue="q", pool=pool, is_async=is_async)


def pools(usual: str | None = None) -> Pools:
    return Pools(lambda _name: PoolOptions(size=1), usual=usual)


def test_a_job_s_own_word_comes_before_its_queue_s() -> None:
    found = pools("solo")
    assert isinstance(found.of(job()), SoloPool)
    assert isinstance(found.of(job("threads")), LocalPool)
    found.stop()


def test_coroutines_and_functions_share_what_is_no_process() -> None:
    """And each pool is made once."""
    found = pools()
    local = found.of(job())
    assert found.of(job("threads")) is found.of(job("asyncio", is_async=True)) is local
    assert found.of(job("solo")) is found.of(job("solo"))
    found.stop()


@pytest.mark.usefixtures("installed")
def test_other_packages_add_pools() -> None:
    assert known_pools() == ("asyncio", "threads", "processes", "solo", "other")
    found = pools("other")
    assert isinstance(found.of(job()), SoloPool)


def test_an_unknown_pool_is_told_with_those_that_are_known() -> None:
    with pytest.raises(WorkerError, match=r"expected a pool \(asyncio, .*got 'other'"):
        pools().of(job("other"))


def test_processes_need_an_app_that_can_be_imported() -> None:
    with pytest.raises(WorkerError, match="expected an app that other processes can import"):
        pools().of(job("processes"))


@pytest.mark.parametrize(
    ("name", "is_async", "fits"),
    [
        ("asyncio", True, True),
        ("asyncio", False, False),
        ("threads", True, False),
        ("threads", False, True),
        ("processes", True, True),
        ("solo", False, True),
    ],
)
def test_a_pool_takes_the_kinds_of_jobs_that_it_can_run(
    name: str, is_async: bool, fits: bool
) -> None:
    assert (fault_of(name, job(is_async=is_async)) is None) is fits


@pytest.mark.parametrize(
    ("soft", "hard", "text"),
    [
        (0, None, "expected soft_limit above zero"),
        (None, -1, "expected hard_limit above zero"),
        (2, 2, "expected soft_limit below hard_limit"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    soft: int | None, hard: int | None, text: str
) -> None:
    limits = [None if one is None else timedelta(seconds=one) for one in (soft, hard)]
    with pytest.raises(RegistrationError, match=text):
        define(
            known_pools, name="j", queue="q", retry=None, rules=(), ignore_result=False,
            soft_limit=limits[0], hard_limit=limits[1],
        )  # fmt: skip
