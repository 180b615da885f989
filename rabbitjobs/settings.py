"""The configuration as one frozen value: ``config/rabbitjobs.yaml`` and ``config/topology.yaml``.

Each room reads its own part; here they are only put together. Every fault of both files is
reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rabbitjobs.broker.url import check_management_url, parse_urls, with_tls_files
from rabbitjobs.errors import ConfigError, Problem, RabbitJobsError, UrlRefused
from rabbitjobs.secret import Secret
from rabbitjobs.store.url import check_url

if TYPE_CHECKING:
    from rabbitjobs.fields import Field
    from rabbitjobs.message.signing import SigningOptions
    from rabbitjobs.notify.options import NotifyOptions
    from rabbitjobs.review.options import DeskOptions
    from rabbitjobs.review.web_options import WebOptions
    from rabbitjobs.topology.model import TopologySpec

FILE: Final = "rabbitjobs.yaml"
TOPOLOGY_FILE: Final = "topology.yaml"
NO_STORE: Final = "none"
PIKA: Final = "pika"
AIO_PIKA: Final = "aio-pika"
_KEY_PREFIX: Final = "RABBITJOBS_KEY_"
_KEEP = timedelta(days=7)
_GRACE = timedelta(seconds=30)
_DEADLINE = timedelta(seconds=10)
_SECOND, _DAY, _YEARS = timedelta(seconds=1), timedelta(days=1), timedelta(days=3660)


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Files for TLS to the broker, all PEM: authorities to trust, our certificate and its key.

    They hold for every URL of the broker that does not name its own; all must be ``amqps://``.
    ``where`` is their place in the config, for errors.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    where: str = field(default="", compare=False)

    def into(self, url: str) -> str:
        """The URL with these files in it; raises ``UrlRefused`` beside one that sends in plain."""
        return with_tls_files(
            url, where=self._place, cacertfile=self.ca, certfile=self.cert, keyfile=self.key
        )

    def refuse_private_node(self) -> None:
        """Raise ``UrlRefused`` if there are any: a private node, used without a URL, has no TLS."""
        if self:
            raise UrlRefused(
                f"{self._place}expected an amqps:// URL beside the files for TLS, got no URL at "
                "all; set broker.url or RABBITJOBS_URL, or take ca, cert and key "
                "away for a private node"
            )

    def __bool__(self) -> bool:
        return bool(self.ca or self.cert or self.key)

    @property
    def _place(self) -> str:
        return f"{self.where}: broker: " if self.where else ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one app is configured to do. ``None``: not configured, the default is derived later.

    ``wire`` is the client library that work runs over, "pika" or "aio-pika".
    ``note_queued`` records each send in the store, so that others can read its status.
    ``topology`` is ``None`` without a topology file: then it follows from the registered jobs.
    ``keep`` is how long results are kept, ``grace`` how long a stopping worker waits for running
    jobs, ``deadline`` how long a publish may take.
    """

    app: str | None = None
    include: tuple[str, ...] = ()
    broker_url: Secret | None = None
    wire: str = PIKA
    broker_files: BrokerFiles = BrokerFiles()
    management_url: Secret | None = None
    store_url: Secret | None = None
    no_store: bool = False
    keep: timedelta = _KEEP
    grace: timedelta = _GRACE
    deadline: timedelta = _DEADLINE
    note_queued: bool = False
    notify: NotifyOptions | None = None
    review: DeskOptions | None = None
    web: WebOptions | None = None
    signing: SigningOptions | None = None
    topology: TopologySpec | None = None
    folder: Path | None = None


def find(config: Path | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """The config folder: as given, else ``RABBITJOBS_CONFIG``, else ``./config`` if it is one.

    A file stands for its folder. Raises ``ConfigError`` when what was named is not there.
    """
    named = config or (Path(env["RABBITJOBS_CONFIG"]) if env.get("RABBITJOBS_CONFIG") else None)
    if named is None:
        usual = Path("config")
        return usual if any((usual / name).is_file() for name in (FILE, TOPOLOGY_FILE)) else None
    if not named.exists():
        raise ConfigError((Problem(str(named), 0, "(the file)", "a config folder", "nothing"),))
    return named if named.is_dir() else named.parent


def load(config: Path | None = None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read the configuration; raises ``ConfigError`` with every fault of all files."""
    folder = find(config, env)
    problems: list[Problem] = []
    settings = _of_environment(env, problems)
    if folder is not None:
        topology = _topology(folder / TOPOLOGY_FILE, env, problems)
        settings = replace(settings, topology=topology, folder=folder)
        if (folder / FILE).is_file():
            filled = _with_key_files(env, problems)
            settings = _of_file(folder / FILE, filled, problems, settings)
    if problems:
        raise ConfigError(tuple(problems))
    return settings


def _topology(path: Path, env: Mapping[str, str], problems: list[Problem]) -> TopologySpec | None:
    if not path.is_file():
        return None
    from rabbitjobs.topology.config import load as load_topology

    try:
        return load_topology(path, env=env)
    except ConfigError as error:
        problems.extend(error.problems)
        return None


def _of_environment(env: Mapping[str, str], problems: list[Problem]) -> Settings:
    store_url = env.get("RABBITJOBS_STORE_URL")
    return Settings(
        broker_url=_broker_url(env, problems),
        management_url=_secret(env.get("RABBITJOBS_MANAGEMENT_URL")),
        store_url=_secret(None if store_url == NO_STORE else store_url),
        no_store=store_url == NO_STORE,
    )


def _of_file(
    path: Path, env: Mapping[str, str], problems: list[Problem], known: Settings
) -> Settings:
    """What the file says, and ``known`` where it says nothing."""
    from rabbitjobs.fields import root
    from rabbitjobs.yaml import read

    document = read(
        path,
        env,
        optional=("RABBITJOBS_URL", "RABBITJOBS_STORE_URL", "RABBITJOBS_MANAGEMENT_URL"),
    )
    top = root(document).keys(
        "app", "include", "broker", "store", "results", "worker", "publisher", "notify",
        "review", "web", "signing",
    )  # fmt: skip
    broker = top.child("broker").keys("url", "management_url", "wire", "ca", "cert", "key")
    store = top.child("store").keys("url")
    results = top.child("results").keys("url", "keep", "queued")
    results.child("url").choice(("store",), "store")
    store_url = _url(store.child("url"), _check_store)
    settings = replace(
        known,
        app=top.child("app").text() or None,
        include=top.child("include").texts(),
        broker_url=_secret(_url(broker.child("url"), parse_urls)) or known.broker_url,
        wire=broker.child("wire").choice((PIKA, AIO_PIKA), PIKA),
        broker_files=_files(broker),
        management_url=_secret(_url(broker.child("management_url"), check_management_url))
        or known.management_url,
        store_url=_secret(None if store_url == NO_STORE else store_url) or known.store_url,
        no_store=store_url == NO_STORE if store_url else known.no_store,
        keep=results.child("keep").duration(_KEEP, least=_SECOND, most=_YEARS),
        grace=_part(top, "worker", "grace").duration(_GRACE, least=timedelta(), most=_DAY),
        deadline=_part(top, "publisher", "deadline").duration(
            _DEADLINE, least=_SECOND / 10, most=_DAY
        ),
        note_queued=results.child("queued").flag(),
        notify=_notify(top.child("notify")),
        review=_review(top.child("review")),
        web=_web(top.child("web"), top.child("review")),
        signing=_signing(top.child("signing")),
    )
    if settings.broker_files and settings.broker_url:
        _check_tls(broker, settings.broker_url.reveal())
    problems.extend(document.ordered())
    return settings


def _url(place: Field, check: Callable[[str], object]) -> str:
    """A URL as it stands, if it stands there; the fault that ``check`` raises is the place's."""
    text = place.text()
    if text:
        try:
            check(text)
        except RabbitJobsError as error:
            # Their texts are "expected X, got Y; do Z", and never quote a URL.
            expected, _, got = error.text.removeprefix("expected ").partition(", got ")
            place.fail(expected, got)
    return text


def _check_store(text: str) -> None:
    if text != NO_STORE:
        check_url(text)


def _check_tls(broker: Field, text: str) -> None:
    try:
        plain = [not address.tls for address in parse_urls(text)]
    except UrlRefused:  # told where it stands, or at its use if the environment has it
        return
    if any(plain):
        broker.fail(
            "amqps:// in every URL beside the files for TLS",
            f"amqp:// in {sum(plain)} of {len(plain)}, which sends in plain",
        )


def _files(broker: Field) -> BrokerFiles:
    ca, cert, key = (broker.child(name).text() or None for name in ("ca", "cert", "key"))
    if key and not cert:
        broker.child("cert").fail("the certificate that belongs to broker.key", "nothing")
    return BrokerFiles(ca, cert, key, where=f"{broker.document.file}:{broker.line}")


def _part(top: Field, room: str, key: str) -> Field:
    return top.child(room).keys(key).child(key)


def _notify(place: Field) -> NotifyOptions | None:
    if not place.given:
        return None
    from rabbitjobs.notify.reading import read as read_notify

    return read_notify(place)


def _review(place: Field) -> DeskOptions | None:
    if not place.given:
        return None
    from rabbitjobs.review.options import read as read_review

    return read_review(place)


def _web(place: Field, review: Field) -> WebOptions | None:
    if not place.given:
        return None
    from rabbitjobs.review.web_options import read as read_web

    people = review.child("people").node
    names = people.value if people and isinstance(people.value, dict) else ()
    return read_web(place, tuple(names))


def _signing(place: Field) -> SigningOptions | None:
    if place.node is None:
        return None
    from rabbitjobs.message.signing_options import read as read_signing

    return read_signing(place)


def _with_key_files(env: Mapping[str, str], problems: list[Problem]) -> Mapping[str, str]:
    """The environment and what ``RABBITJOBS_KEY_..._FILE`` name, where a key itself is not set."""
    contents: dict[str, str] = {}
    for name, path in env.items():
        key = name.removesuffix("_FILE")
        if name.startswith(_KEY_PREFIX) and key != name and path and not env.get(key):
            found = _content(name, path, "a file with a signing key", problems)
            if found is not None:
                contents[key] = found
    return {**env, **contents} if contents else env


def _secret(text: str | None) -> Secret | None:
    return Secret(text) if text else None


def _broker_url(env: Mapping[str, str], problems: list[Problem]) -> Secret | None:
    if env.get("RABBITJOBS_URL"):
        return Secret(env["RABBITJOBS_URL"])
    name = env.get("RABBITJOBS_URL_FILE")
    if not name:
        return None
    return _secret(_content("RABBITJOBS_URL_FILE", name, "a file with the broker's URL", problems))


def _content(variable: str, path: str, expected: str, problems: list[Problem]) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        got = error.strerror or "nothing"
    except UnicodeError:  # its text would show bytes of the file
        got = "bytes that are not UTF-8"
    problems.append(Problem(path, 0, variable, expected, got))
    return None
