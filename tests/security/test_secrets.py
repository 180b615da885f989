"""Passwords and keys: in no repr, log, error or process list; and no URL that weakens TLS."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rabbitjobs import RabbitJobs, settings
from rabbitjobs.broker.management import management_of
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.errors import ConfigError, UrlRefused
from rabbitjobs.secret import Secret
from tests.brokers import Vhost
from tests.docs.reader import ROOT, Reader, end

# Many processes, one after another: on a busy machine each start takes many seconds.
pytestmark = pytest.mark.timeout(360)

PASSWORD = "hunter2hunter2hunter2hunter2hunter2"
USER = "security-test"


@pytest.mark.parametrize(
    "option", ["no_verify_ssl=1", "no_verify_ssl=0", "cert_reqs=CERT_NONE", "verify=no", "ssl=x"]
)
def test_no_verify_ssl_and_its_like_are_refused_in_a_url(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the reader of URLs, and so by everything that connects; the text names the option."""
    url = f"amqps://u:{PASSWORD}@127.0.0.1:1/v?{option}"
    with pytest.raises(UrlRefused, match=option.partition("=")[0]) as refused:
        parse_urls(url)
    assert PASSWORD not in str(refused.value)
    monkeypatch.chdir(tmp_path)
    app = RabbitJobs(url=url)
    with pytest.raises(UrlRefused):
        app.remote("job", queue="default").send()


def test_a_password_is_in_no_repr(tmp_path: Path) -> None:
    """Of anything that holds one."""
    (tmp_path / "rabbitjobs.yaml").write_text(
        f'signing: {{keys: {{k1: "{PASSWORD}"}}}}\n'
        "notify: {channels: [{webhook: {url: https://hooks.example/, secret: "
        f"{PASSWORD}}}}}]}}\n"
    )
    env = {
        "RABBITJOBS_URL": f"amqp://u:{PASSWORD}@h/",
        "RABBITJOBS_STORE_URL": f"postgresql://u:{PASSWORD}@h/d",
        "RABBITJOBS_MANAGEMENT_URL": f"http://u:{PASSWORD}@h/",
    }
    found = settings.load(tmp_path, env)
    address = parse_urls(env["RABBITJOBS_URL"])[0]
    app = RabbitJobs(url=env["RABBITJOBS_URL"], config=tmp_path)
    holders: list[object] = [
        found,
        found.signing,
        found.notify,
        address,
        app,
        app.parts,
        app.publisher,
    ]
    holders += [management_of(address, "http://127.0.0.1:1"), Secret(PASSWORD)]
    for holder in holders:
        assert holder is not None
        for text in (repr(holder), str(holder), f"{holder}", repr(vars(app))):
            assert PASSWORD not in text


CONFIGS = {
    "a URL in place of a section": 'broker: "amqp://u:{}@h/v"',
    "a list": 'store: {{url: ["postgresql://u:{}@h/d"]}}',
    "with what should be escaped": 'store: ["postgresql://u:a/b?c#d{}@h/d"]',
    "a mapping": 'broker: {{url: {{is: "amqp://u:{}@h/v"}}}}',
    "keys as text": 'signing: {{keys: "{}"}}',
    "signing as text": 'signing: "{}"',
    "signing as a list": 'signing: ["{}"]',
    "a key that is a list": 'signing: {{keys: {{k1: ["{}"]}}}}',
    "a bad key id": 'signing: {{keys: {{"k 1": "{}"}}}}',
    "the key as its own id": 'signing: {{keys: {{k1: "{0}"}}, sign_with: "{0}"}}',
    "no such key": 'signing: {{keys: {{k1: "{}"}}, sign_with: k2}}',
    "two keys, none chosen": 'signing: {{keys: {{k1: "{0}", k2: "{0}"}}}}',
    "an unknown key beside": 'signing: {{keys: {{k1: "{}"}}, sign: k1}}',
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_password_is_in_no_error_about_the_config(tmp_path: Path, text: str) -> None:
    """The mistake that puts it in the wrong place is a common one."""
    (tmp_path / "rabbitjobs.yaml").write_text(text.format(PASSWORD))
    with pytest.raises(ConfigError) as wrong:
        settings.load(tmp_path, {})
    assert PASSWORD not in str(wrong.value)


def test_a_key_that_is_too_short_or_a_number_is_refused_without_being_shown(
    tmp_path: Path,
) -> None:
    """And a file that is not there, or no text, by its name."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe" + PASSWORD.encode())
    (tmp_path / "rabbitjobs.yaml").write_text(
        "signing: {keys: {k1: 99887766, k2: shorty, k3: '${RABBITJOBS_KEY_K3}', "
        "k4: '${RABBITJOBS_KEY_K4}'}, sign_with: k1}\n"
    )
    env = {
        "RABBITJOBS_KEY_K3_FILE": str(tmp_path / "none"),
        "RABBITJOBS_KEY_K4_FILE": str(tmp_path / "bytes"),
    }
    with pytest.raises(ConfigError) as wrong:
        settings.load(tmp_path, env)
    said = str(wrong.value)
    assert "signing.keys.k1: expected a key as text (in quotes), got another type" in said
    assert "signing.keys.k2: expected a key of at least 32 characters, got 6 characters" in said
    assert "RABBITJOBS_KEY_K3_FILE: expected a file with a signing key" in said
    assert "RABBITJOBS_KEY_K4_FILE: expected a file with a signing key" in said
    for piece in ("99887766", "shorty", PASSWORD):
        assert piece not in said


@pytest.fixture
def team(vhost: Vhost, tmp_path: Path) -> Iterator[Reader]:
    """A user of the broker with a password to look for, and a folder with an app that signs."""
    address = parse_urls(vhost.url)[0]
    with management_of(address, vhost.broker.management_url) as management:
        management.put_user(USER, password=Secret(PASSWORD), tags=("administrator",))
        management.set_permissions(vhost.name, USER, configure=".*", write=".*", read=".*")
        api = management.url.partition("://")[2]
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "rabbitjobs.yaml").write_text(
            'app: jobs:app\nsigning: {keys: {k1: "${RABBITJOBS_KEY_K1}"}}\n'
        )
        (tmp_path / "jobs.py").write_text(
            "from rabbitjobs import RabbitJobs\napp = RabbitJobs()\n"
            "@app.job('one', queue='one')\ndef one(n: int) -> int:\n    return n // n\n"
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RABBITJOBS_")}
        own = {
            "PYTHONPATH": f"{ROOT}:{tmp_path}",
            "RABBITJOBS_URL": f"amqp://{USER}:{PASSWORD}@127.0.0.1:{address.port}/{vhost.name}",
            "RABBITJOBS_MANAGEMENT_URL": f"http://{USER}:{PASSWORD}@{api}",
            "RABBITJOBS_STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
            "RABBITJOBS_KEY_K1": f"key-{PASSWORD}",
        }
        yield Reader(tmp_path, kept | own)
        management.delete_user(USER)


def command_lines() -> dict[int, str]:
    """Of every process of this machine, as ``ps`` shows them."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            found[int(folder.name)] = line.replace(b"\0", b" ").decode("utf-8", "replace")
    return found


def test_a_password_and_a_key_are_in_no_log_and_not_in_ps(team: Reader) -> None:
    """Of a supervisor and its workers at debug level, while jobs succeed and fail.

    A URL that is given as an option stands in the caller's own line, and goes on to no other.
    """
    url = team.environment["RABBITJOBS_URL"]
    own = {k: v for k, v in team.environment.items() if k != "RABBITJOBS_URL"}
    rabbitjobs = ("-m", "rabbitjobs", "--log-level", "debug")
    said = [team.python(*rabbitjobs, "topology", "apply")]
    supervisor = replace(team, environment=own).start(*rabbitjobs, "--url", url, "run")
    try:
        said.append(team.python(*rabbitjobs, "send", "one", "1", "--wait", "60s"))
        said.append(team.python(*rabbitjobs, "send", "one", "0"))
        deadline = time.monotonic() + 60
        while "ZeroDivisionError" not in team.log():
            assert time.monotonic() < deadline, team.log()
            time.sleep(0.05)
        lines = command_lines()
    finally:
        assert end(supervisor) == 0, team.log()
    lines.pop(supervisor.pid)
    ours = [line for line in lines.values() if " consume " in line or " intake" in line]
    assert len(ours) >= 2
    for text in (*said, *lines.values(), team.log()):
        assert PASSWORD not in text


def test_a_password_is_in_no_error_of_a_command(team: Reader) -> None:
    """One that is wrong, and one for a host that does not answer."""
    url = team.environment["RABBITJOBS_URL"]
    management = team.environment["RABBITJOBS_MANAGEMENT_URL"]
    wrong, nowhere = f"wrong-{PASSWORD}@", f"{PASSWORD}@127.0.0.1:1/"
    rejected = url.replace(f"{PASSWORD}@", wrong), management.replace(f"{PASSWORD}@", wrong)
    away = f"amqp://u:{nowhere}", f"http://u:{nowhere}"
    started = []
    for (broker, api), line in (
        (rejected, "topology apply"),
        (rejected, "doctor"),
        (rejected, "send one 1"),
        (away, "queue list"),
        (away, "doctor"),
    ):
        more = {"RABBITJOBS_URL": broker, "RABBITJOBS_MANAGEMENT_URL": api}
        reader = replace(team, environment=team.environment | more)
        command = ("-m", "rabbitjobs", "--log-level", "debug", *line.split())
        started.append(reader.start(*command))
    assert all(process.wait(90) != 0 for process in started), team.log()
    assert PASSWORD not in team.log()
    assert team.log().count("rabbitjobs: ") >= 3
