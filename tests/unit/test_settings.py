"""The configuration: every fault at once, and which URL wins."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rabbitjobs import settings
from rabbitjobs.errors import ConfigError
from rabbitjobs.settings import Settings, load

TOPOLOGY = "version: 1\nnamespace: shop\nqueues:\n  emails: {}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty config folder beside an empty working directory."""
    (tmp_path / "work").mkdir()
    (tmp_path / "config").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "config"


def read(folder: Path, text: str | None = None, **env: str) -> Settings:
    """The settings with this text as the file."""
    if text is not None:
        (folder / settings.FILE).write_text(text, encoding="utf-8")
    return load(folder, env)


def test_without_anything_there_are_defaults(folder: Path) -> None:
    """No config folder, no environment."""
    found = load(None, {})
    assert found == Settings()
    assert (found.keep, found.grace, found.deadline) == (
        timedelta(days=7),
        timedelta(seconds=30),
        timedelta(seconds=10),
    )


def test_every_fault_of_every_file_is_told_at_once(folder: Path) -> None:
    """With file, line, what was expected and what was found; a missing URL file too."""
    (folder / settings.TOPOLOGY_FILE).write_text("version: 1\nqueus: {}\n")
    text = "apq: shop\nresults: {keep: 7}\nworker: {grace: soon, grase: 1s}\nstore: {url: []}\n"
    with pytest.raises(ConfigError) as wrong:
        read(folder, text, RABBITJOBS_URL_FILE="/nowhere/url")
    said = [str(problem) for problem in wrong.value.problems]
    for part in (
        "topology.yaml:2: queus",
        "rabbitjobs.yaml:1: apq",
        "rabbitjobs.yaml:2: results.keep",
        "rabbitjobs.yaml:3: worker.grace",
        "worker.grase",
        "rabbitjobs.yaml:4: store.url",
        "RABBITJOBS_URL_FILE",
    ):
        assert any(part in one for one in said), (part, said)


def test_a_file_gives_all_that_can_be_set(folder: Path) -> None:
    """Durations carry their unit."""
    found = read(
        folder,
        "app: shop:app\ninclude: [shop.mail, shop.images]\n"
        "broker: {url: amqp://a/, management_url: http://a:1}\n"
        "store: {url: sqlite:///x.db}\nresults: {url: store, keep: 1d}\n"
        "worker: {grace: 5s}\npublisher: {deadline: 250ms}\n",
    )
    assert (found.app, found.include) == ("shop:app", ("shop.mail", "shop.images"))
    assert (found.keep, found.grace) == (timedelta(days=1), timedelta(seconds=5))
    assert found.deadline == timedelta(milliseconds=250)
    assert found.management_url is not None
    assert found.management_url.reveal() == "http://a:1"
    assert found.folder == folder


def broker_url(found: Settings) -> str | None:
    """The broker's URL as text."""
    return found.broker_url.reveal() if found.broker_url else None


def test_the_file_wins_over_the_environment_and_the_url_over_its_file(folder: Path) -> None:
    """Config, ``RABBITJOBS_URL``, ``RABBITJOBS_URL_FILE``."""
    secret = folder / "url"
    secret.write_text("amqp://c/\n")
    env = {"RABBITJOBS_URL": "amqp://b/", "RABBITJOBS_URL_FILE": str(secret)}
    assert broker_url(read(folder, "broker: {url: amqp://a/}", **env)) == "amqp://a/"
    assert broker_url(read(folder, 'broker: {url: "${RABBITJOBS_URL}"}', **env)) == "amqp://b/"
    assert broker_url(read(folder, "app: a", **env)) == "amqp://b/"
    only_file = {"RABBITJOBS_URL_FILE": str(secret)}
    assert broker_url(read(folder, "app: a", **only_file)) == "amqp://c/"
    assert (
        broker_url(read(folder, 'broker: {url: "${RABBITJOBS_URL}"}', **only_file)) == "amqp://c/"
    )
    assert broker_url(read(folder, 'broker: {url: "${RABBITJOBS_URL}"}')) is None
    assert broker_url(load(None, only_file)) == "amqp://c/"


@pytest.mark.parametrize(
    ("text", "env", "url", "none"),
    [
        ("app: a", {}, None, False),
        ("app: a", {"RABBITJOBS_STORE_URL": "sqlite:///e"}, "sqlite:///e", False),
        ("store: {url: sqlite:///f}", {"RABBITJOBS_STORE_URL": "none"}, "sqlite:///f", False),
        ("store: {url: none}", {}, None, True),
        ("app: a", {"RABBITJOBS_STORE_URL": "none"}, None, True),
        (None, {"RABBITJOBS_STORE_URL": "none"}, None, True),
        (None, {"RABBITJOBS_STORE_URL": "sqlite:///e"}, "sqlite:///e", False),
    ],
)
def test_the_store_is_named_by_file_or_environment(
    folder: Path, text: str | None, env: dict[str, str], url: str | None, none: bool
) -> None:
    """And can be left out in both."""
    found = read(folder, text, **env)
    assert (found.store_url.reveal() if found.store_url else None) == url
    assert found.no_store is none


def test_signing_takes_its_keys_from_the_environment_or_from_files(folder: Path) -> None:
    """The variable wins over its file; one key needs no ``sign_with``; signatures are required."""
    (folder / "k1").write_text("1" * 32 + "\n")
    text = (
        'signing: {keys: {k2: "${RABBITJOBS_KEY_K2}", k1: "${RABBITJOBS_KEY_K1}"}, sign_with: k2}'
    )
    env = {"RABBITJOBS_KEY_K2": "2" * 32, "RABBITJOBS_KEY_K1_FILE": str(folder / "k1")}
    found = read(folder, text, **env).signing
    assert found is not None
    assert {name: key.reveal() for name, key in found.keys.items()} == {
        "k2": "2" * 32,
        "k1": "1" * 32,
    }
    assert (found.sign_with, found.require) == ("k2", True)
    both = env | {"RABBITJOBS_KEY_K1": "3" * 32}
    found = read(folder, text, **both).signing
    assert found is not None and found.keys["k1"].reveal() == "3" * 32
    one = read(folder, f'signing: {{keys: {{only: "{"o" * 32}"}}, require: false}}').signing
    assert one is not None
    assert (one.sign_with, one.require) == ("only", False)
    assert read(folder, "app: a").signing is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("signing: {}", "the key keys"),
        ("app: a\nsigning:\n", r":2: signing: .*got nothing"),
        ("app: a\nsigning: null\n", r":2: signing: .*got nothing"),
        ("signing: ~\nstore: {}\n", r":1: signing: .*got nothing"),
        ("signing: {keys: {}}", "at least one key"),
        ("signing: {keys: {k1: }}", "a key as text"),
        ('signing: {keys: {k1: "' + "1" * 32 + '"}, sign_with: k2}', "one of the keys k1, got k2"),
        ('signing: {keys: {a: "' + "1" * 32 + '", b: "' + "1" * 32 + '"}}', "got nothing"),
        ('signing: {keys: {k1: "${RABBITJOBS_KEY_K1}"}}', "RABBITJOBS_KEY_K1 in the environment"),
    ],
)
def test_signing_that_would_not_sign_is_refused(folder: Path, text: str, said: str) -> None:
    """A half-written section must not pass for one that is switched off."""
    with pytest.raises(ConfigError, match=said):
        read(folder, text)


def test_passwords_are_not_shown(folder: Path) -> None:
    """Neither of the broker nor of the store."""
    found = load(
        None, {"RABBITJOBS_URL": "amqp://u:pass@h/", "RABBITJOBS_STORE_URL": "x://u:pass@h/"}
    )
    assert "pass" not in repr(found)


def test_the_folder_is_the_named_one_else_the_variables_else_the_usual(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands for its folder; one that is not there is an error."""
    (folder / settings.TOPOLOGY_FILE).write_text(TOPOLOGY)
    assert settings.find(folder, {}) == folder
    assert settings.find(folder / settings.TOPOLOGY_FILE, {}) == folder
    assert settings.find(None, {"RABBITJOBS_CONFIG": str(folder)}) == folder
    assert settings.find(None, {}) is None
    monkeypatch.chdir(folder.parent)
    assert settings.find(None, {}) == Path("config")
    found = load(None, {})
    assert found.topology is not None
    assert list(found.topology.queues) == ["emails"]
    with pytest.raises(ConfigError):
        settings.find(folder / "missing", {})


def test_the_wire_is_chosen_by_its_name(folder: Path) -> None:
    """pika without a word of it; a name that is none is refused."""
    assert read(folder, "broker: {url: amqp://here}").wire == "pika"
    assert read(folder, "broker: {wire: aio-pika}").wire == "aio-pika"
    with pytest.raises(ConfigError, match=r"broker\.wire: expected"):
        read(folder, "broker: {wire: pigeon}")


def test_files_for_tls_belong_to_the_broker(folder: Path) -> None:
    """They go into every amqps:// URL."""
    text = "broker: {url: 'amqps://u:p@one/', ca: /ca.pem, cert: /cert.pem, key: /key.pem}\n"
    found = read(folder, text)
    assert found.broker_url is not None
    url = found.broker_files.into(found.broker_url.reveal())
    assert url == "amqps://u:p@one/?cacertfile=%2Fca.pem&certfile=%2Fcert.pem&keyfile=%2Fkey.pem"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("broker: {key: /key.pem}\n", "the certificate that belongs to broker.key"),
        ("broker: {ca: /ca.pem}\n", r"rabbitjobs\.yaml:1: broker: expected amqps:// in every URL"),
        ("broker: {ca: /ca.pem, url: 'amqps://u:p@a/, amqp://u:p@b/'}\n", "in 1 of 2"),
        ("broker: {verify: false}\n", "verify"),
    ],
)
def test_tls_that_would_not_protect_is_a_fault(folder: Path, text: str, said: str) -> None:
    """A key without its certificate, authorities beside a URL that sends in plain, a switch off."""
    with pytest.raises(ConfigError, match=said):
        read(folder, text, RABBITJOBS_URL="amqp://u:p@one/")


def test_files_for_tls_hold_for_urls_in_capitals(folder: Path) -> None:
    """A scheme has no letter case (RFC 3986)."""
    found = read(folder, "broker: {url: 'AMQPS://u:p@one/', ca: /ca.pem}\n")
    assert found.broker_url is not None
    assert "cacertfile" in found.broker_files.into(found.broker_url.reveal())
