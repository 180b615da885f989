"""The app: cheap to make, held against its config, the same for every thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rabbitjobs import RabbitJobs, rules
from rabbitjobs.broker.version import from_version
from rabbitjobs.errors import BrokerError, ConfigError, NoResult, RegistrationError, StoreError
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire

TOPOLOGY = """
version: 1
namespace: shop
retry:
  gentle: {attempts: 3, backoff: fixed, delay: 1s}
queues:
  emails: {retry: gentle}
  images: {}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "topology.yaml").write_text(TOPOLOGY)
    return tmp_path / "config"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No config at all."""
    monkeypatch.chdir(tmp_path)


def job() -> None:
    """A job."""


def test_code_and_config_that_fit_give_only_warnings(folder: Path) -> None:
    """A queue without a job here may have its jobs elsewhere."""
    app = RabbitJobs("shop")
    app.job("a", queue="emails", retry="gentle", on=[rules.retry("gentle")])(job)
    (warning,) = app.check()
    assert "images" in warning
    assert app.namespace == "shop"


def test_every_mismatch_is_told_at_once(folder: Path) -> None:
    """With the file and line of the job, and what was probably meant."""
    app = RabbitJobs("stop")
    app.job("a", queue="email")(job)
    app.job("b", queue="emails", retry="gentel")(lambda: None)
    app.job("c", queue="emails", on=[rules.notify(then=rules.retry("harsh"))])(lambda: 1)
    with pytest.raises(ConfigError) as wrong:
        app.check()
    said = [str(problem) for problem in wrong.value.problems]
    assert len(said) == 4
    assert "'shop'" in said[0]
    assert "config/topology.yaml:3: namespace: " in said[0]
    assert "did you mean 'emails'?" in said[1]
    assert "did you mean 'gentle'?" in said[2]
    assert "'harsh'" in said[3]
    assert all(__file__ in one for one in said[1:])


def test_another_apps_config_is_refused_with_the_line_of_its_namespace(folder: Path) -> None:
    """At the first look at the topology; the default namespace of a file has its first line."""
    with pytest.raises(ConfigError, match=r"topology\.yaml:3: namespace: expected 'stop'"):
        _ = RabbitJobs("stop").spec
    (folder / "topology.yaml").write_text("version: 1\nqueues: {emails: {}}\n")
    with pytest.raises(ConfigError, match=r"topology\.yaml:1: namespace: .* got 'rabbitjobs'"):
        _ = RabbitJobs("stop").spec


def test_a_policy_that_nobody_defined_is_an_error_without_a_config_too(bare: None) -> None:
    """It would be found out at the first failure, when it is too late."""
    app = RabbitJobs()
    app.job("a", retry="gentle")(job)
    with pytest.raises(ConfigError, match="gentle"):
        app.check()


def test_without_a_config_the_topology_follows_from_the_jobs(bare: None) -> None:
    """As they are registered, remote ones too."""
    app = RabbitJobs("shop")
    assert list(app.spec.queues) == ["default"]
    app.job("a", queue="emails")(job)
    assert list(app.spec.queues) == ["emails"]
    app.remote("far", queue="far")
    assert list(app.spec.queues) == ["emails", "far"]
    assert app.check() == []


def test_a_remote_job_goes_to_the_queue_that_is_named(bare: None) -> None:
    """Even if its code is here, for another queue."""
    app = RabbitJobs("shop")
    app.job("a", queue="emails")(job)
    assert app.remote("a", queue="other").call().options.queue == "other"
    with pytest.raises(RegistrationError):
        app.remote("x" * 256, queue="q")


def test_bare_and_called_decorators_register_the_same(bare: None) -> None:
    """Under the function's dotted name, or the one that is given."""
    app = RabbitJobs()

    @app.job
    def one() -> None: ...

    @app.job()
    def two() -> None: ...

    @app.job("three", ignore_result=True)
    def three() -> None: ...

    names = [definition.name.rpartition(".")[2] for definition in app.registry]
    assert names == ["one", "two", "three"]
    assert three.definition.ignore_result


def test_no_broker_to_be_found_says_what_to_do(
    bare: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Set a URL or start a node."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(BrokerError, match="RABBITJOBS_URL"):
        _ = RabbitJobs().url
    assert RabbitJobs(url="amqp://a/").url == "amqp://a/"


def test_no_store_is_said_by_whoever_needs_one(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Desk, unique keys, results; sending does not need one."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", "none")
    app = RabbitJobs("shop")
    with pytest.raises(StoreError):
        _ = app.desk
    with pytest.raises(NoResult):
        app.handle("1").result()


class Counting(RabbitJobs):
    """An app that counts how often it declares its topology."""

    applied = 0
    broken = 0

    def apply(self) -> None:
        """Declare on the broker in memory."""
        self.applied += 1
        if self.broken:
            self.broken -= 1
            raise BrokerError("not now")
        plan = compile_plan(self.spec, from_version(MEMORY.version))
        declare_plan(MEMORY, plan)


MEMORY = MemoryBroker()


def test_apply_at_first_use_declares_once_and_before_anything_is_sent(
    bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that failed is tried again."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", "none")
    app = Counting("memory", url="amqp://127.0.0.1/", apply=True, wire=lambda: MemoryWire(MEMORY))
    sent: Any = app.job("a")(job)
    app.broken = 1
    with pytest.raises(BrokerError, match="not now"):
        sent.send()
    sent.send()
    sent.send()
    assert app.applied == 2
    app.close()
    sent.send()  # it can be used again, and connects anew
    app.close()
    assert MEMORY.depth("memory.q.default") == (3, 0)
