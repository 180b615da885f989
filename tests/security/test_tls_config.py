"""TLS as a user sets it up: files in the config, for work, for commands and for the HTTP API."""

from __future__ import annotations

import http.server
import json
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from rabbitjobs import RabbitJobs
from rabbitjobs.broker.management import Management, management_of
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.cli.root import cli
from rabbitjobs.errors import ManagementError, UrlRefused
from rabbitjobs.secret import Secret
from tests.certificates import Authority, Certified

CONFIG = """
broker:
  url: "%s"
  management_url: "%s"
  ca: %s
  cert: %s
  key: %s
store: {url: "sqlite:///%s/store.db"}
"""
TOPOLOGY = "version: 1\nnamespace: shop\nqueues: {emails: {}}\n"


@pytest.fixture
def own(authority: Authority, tmp_path: Path) -> Certified:
    """The certificate of our processes."""
    return authority.certify(f"client-{tmp_path.name}", "jobs.test")


@pytest.fixture
def config(mutual_node: Node, authority: Authority, own: Certified, tmp_path: Path) -> Path:
    """A config folder for a broker that speaks TLS and asks for a certificate."""
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    url = f"{mutual_node.tls_url('/')}"
    files = (authority.cert, own.cert, own.key)
    text = CONFIG % (url, mutual_node.management_url, *files, tmp_path)
    (tmp_path / "rabbitjobs.yaml").write_text(text)
    return tmp_path


def test_an_app_and_the_commands_work_over_tls(config: Path) -> None:
    """Declaring, sending, consuming by a worker's checks, doctor: all with the config's files."""
    runner = CliRunner()
    for command in (["topology", "apply"], ["doctor"], ["queue", "list"]):
        ran = runner.invoke(cli, ["--config", str(config), *command])
        assert ran.exit_code == 0, ran.output
    assert "amqps://" in runner.invoke(cli, ["--config", str(config), "doctor"]).output
    app = RabbitJobs(config=config)
    try:
        app.remote("welcome", queue="emails").send()
        app.parts.verify("emails")
    finally:
        app.close()


def test_without_the_files_doctor_says_what_to_do(config: Path, authority: Authority) -> None:
    """Instead of a worker that tries for ever without a word."""
    path = config / "rabbitjobs.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "cert:" not in line and "key:" not in line))
    ran = CliRunner().invoke(cli, ["--config", str(config), "doctor", "--json"])
    assert ran.exit_code == 1
    (check,) = [check for check in json.loads(ran.stdout) if check["name"] == "broker"]
    assert "broker.cert and broker.key" in check["text"]


class _Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"rabbitmq_version": "4.3.6"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def https(authority: Authority, server_certificate: Certified) -> Iterator[int]:
    """The port of an HTTPS server that asks for a certificate."""
    context = server_certificate.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.cert)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # then the refusal comes in the handshake
    server = http.server.HTTPServer(("127.0.0.1", 0), _Api)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_management_api_is_held_to_the_same_files(
    https: int, authority: Authority, stranger: Authority, own: Certified
) -> None:
    """As the broker's URL names them."""
    url = f"https://127.0.0.1:{https}"
    address = parse_urls(
        f"amqps://u:p@127.0.0.1/?cacertfile={authority.cert}&certfile={own.cert}&keyfile={own.key}"
    )[0]
    with management_of(address, url) as found:
        assert found.version() == "4.3.6"
    for cafile, do in (
        (None, r"broker\.ca"),
        (stranger.cert, r"broker\.ca"),
        (authority.cert, r"broker\.cert"),
    ):
        name = None if cafile is None else str(cafile)
        with (
            Management(url, user="u", password=Secret("p"), cafile=name) as other,
            pytest.raises(ManagementError, match=do),
        ):
            other.version()


def test_the_management_api_is_held_to_the_name_that_the_brokers_url_gives(
    https: int, authority: Authority, own: Certified
) -> None:
    """On the same host; another one has a certificate, and so a name, of its own."""
    files = f"cacertfile={authority.cert}&certfile={own.cert}&keyfile={own.key}"
    url = f"https://localhost:{https}"
    named = parse_urls(f"amqps://u:p@localhost/?{files}&server_name_indication=broker.test")[0]
    with management_of(named, url) as found:
        assert found.version() == "4.3.6"
    plain, wrong = (
        parse_urls(f"amqps://u:p@{rest}")[0]
        for rest in (f"localhost/?{files}", f"localhost/?{files}&server_name_indication=other.test")
    )
    elsewhere = parse_urls(f"amqps://u:p@other/?{files}&server_name_indication=broker.test")[0]
    for address in (plain, wrong, elsewhere):
        with (
            management_of(address, url) as other,
            pytest.raises(ManagementError, match="server_name_indication"),
        ):
            other.version()


def test_a_management_url_may_name_its_own_options(
    https: int, authority: Authority, stranger: Authority, own: Certified
) -> None:
    """They win over those of the broker's URL."""
    address = parse_urls(f"amqps://u:p@elsewhere/?cacertfile={stranger.cert}")[0]
    options = f"cacertfile={authority.cert}&certfile={own.cert}&keyfile={own.key}"
    url = f"https://localhost:{https}/?{options}&server_name_indication=broker.test"
    with management_of(address, url) as found:
        assert found.url == f"https://localhost:{https}"
        assert found.version() == "4.3.6"


FILES = "broker: {ca: /ca.pem}\n"


@pytest.mark.parametrize("url", ["amqp://u:p@127.0.0.1:1/", "amqps://u:p@one/,amqp://u:p@two/"])
def test_files_for_tls_beside_a_plain_url_of_the_command_line_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """They were dropped without a word, and the password went in plain."""
    monkeypatch.delenv("RABBITJOBS_URL", raising=False)
    (tmp_path / "rabbitjobs.yaml").write_text(FILES)
    place = rf"rabbitjobs\.yaml:1: broker: expected amqps://.*amqp:// in 1 of {url.count('amqp')}"
    ran = CliRunner().invoke(cli, ["--config", str(tmp_path), "--url", url, "queue", "list"])
    assert isinstance(ran.exception, UrlRefused)
    assert re.search(place, str(ran.exception))
    with pytest.raises(UrlRefused, match=place):
        RabbitJobs(config=tmp_path, url=url).url  # noqa: B018
    doctor = CliRunner().invoke(cli, ["--config", str(tmp_path), "--url", url, "doctor"])
    assert doctor.exit_code == 1 and "rabbitjobs.yaml:1" in doctor.output


def test_files_for_tls_without_a_url_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a private node would be used, or started, instead: it has no TLS."""
    monkeypatch.delenv("RABBITJOBS_URL", raising=False)
    monkeypatch.setattr("rabbitjobs.broker.running_url", lambda: "amqp://u:p@127.0.0.1/")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rabbitjobs.yaml").write_text(FILES)
    (tmp_path / "jobs.py").write_text("from rabbitjobs import RabbitJobs\napp = RabbitJobs()\n")
    app = RabbitJobs(config=tmp_path)
    with pytest.raises(UrlRefused, match=r"rabbitjobs\.yaml:1: broker: .*no URL at all"):
        app.url  # noqa: B018
    ran = CliRunner().invoke(cli, ["--app", "jobs:app", "--config", str(tmp_path), "dev"])
    assert isinstance(ran.exception, UrlRefused) and "no URL at all" in str(ran.exception)
    with app.overridden(url="amqp://memory", store_url=f"sqlite:///{tmp_path}/store.db"):
        assert app.url == "amqp://memory"
