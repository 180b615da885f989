"""TLS in broker URLs: RabbitMQ's own option names, and nothing that weakens a check."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rabbitjobs.broker.tls import advice
from rabbitjobs.broker.url import Address, parse_urls, with_tls_files
from rabbitjobs.errors import ConnectionLost, UrlRefused


def test_the_options_of_rabbitmq_s_uri_specification_are_read() -> None:
    """Paths percent-encoded or not."""
    (address,) = parse_urls(
        "amqps://u:p@broker.test/shop?cacertfile=/etc/ca.pem&certfile=%2Fetc%2Fa%2Cb.pem"
        "&keyfile=/etc/key.pem&server_name_indication=other.test&verify=verify_peer&heartbeat=5"
    )
    assert (address.tls, address.port, address.vhost, address.heartbeat) == (True, 5671, "shop", 5)
    assert (address.cafile, address.certfile, address.keyfile, address.server_name) == (
        "/etc/ca.pem", "/etc/a,b.pem", "/etc/key.pem", "other.test",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("no_verify_ssl=1", "no_verify_ssl; certificate checks cannot be switched off"),
        ("cacertfile=/ca.pem&no_verify_ssl=0", "no_verify_ssl"),
        ("verify=verify_none", "verify=verify_peer"),
        ("verify=", "verify=verify_peer"),
        ("verify=verify_peer&verify=verify_none", "twice"),
        ("cacertfile=/a.pem&cacertfile=/b.pem", "twice"),
        ("cacertfile=", "a value for cacertfile"),
        ("ssl_options={'cert_reqs':0}", "ssl_options"),
        ("cert_reqs=0", "cert_reqs"),
        ("check_hostname=false", "check_hostname"),
        ("fail_if_no_peer_cert=false", "fail_if_no_peer_cert"),
        ("capath=/etc", "capath"),
        ("cadata=x", "cadata"),
        ("auth=EXTERNAL", "auth"),
        ("auth_mechanism=external", "auth_mechanism"),
        ("password=x", "password"),
        ("connection_attempts=1", "connection_attempts"),
        ("Verify=verify_peer", "Verify"),
    ],
)
def test_unknown_and_unsafe_options_are_refused(options: str, said: str) -> None:
    """By name, with the options that there are."""
    with pytest.raises(UrlRefused, match=said):
        parse_urls(f"amqps://u:p@broker.test/?{options}")


@pytest.mark.parametrize(
    "option",
    ["cacertfile=/ca.pem", "certfile=/c.pem", "server_name_indication=x", "verify=verify_peer"],
)
def test_options_for_tls_without_tls_are_refused(option: str) -> None:
    """Somebody meant amqps, and would send the password in plain."""
    with pytest.raises(UrlRefused, match="write amqps://"):
        parse_urls(f"amqp://u:p@broker.test/?{option}")


def test_files_of_the_config_go_into_urls_that_name_none() -> None:
    """Each node of a cluster; what a URL says itself wins, a pair of files as a pair."""
    files = {"cacertfile": "/a,b?&.pem", "certfile": "/cert.pem", "keyfile": "/key.pem"}
    text = with_tls_files(
        "amqps://u:p@one/, amqps://u:p@two/?heartbeat=5,amqps://u:p@three/?certfile=/own.pem",
        **files,
    )
    one, two, three = parse_urls(text)
    for address in (one, two):
        assert (address.cafile, address.certfile, address.keyfile) == tuple(files.values())
    assert two.heartbeat == 5
    assert (three.cafile, three.certfile, three.keyfile) == ("/a,b?&.pem", "/own.pem", None)


@pytest.mark.parametrize(
    ("text", "count"),
    [("amqp://u:p@127.0.0.1/", "1 of 1"), ("amqps://u:p@one/,amqp://u:p@two/", "1 of 2")],
)
def test_files_for_tls_beside_a_plain_url_are_refused(text: str, count: str) -> None:
    """One of a list would be enough to show the password; the text shows none."""
    with pytest.raises(UrlRefused, match=count) as refused:
        with_tls_files(text, where="rabbitjobs.yaml:3: ", cacertfile="/ca.pem")
    assert str(refused.value).startswith("rabbitjobs.yaml:3: expected amqps://")
    assert "u:p" not in str(refused.value)


def test_without_files_urls_stay_as_they_are() -> None:
    """Plain ones too: a private node on loopback has no TLS."""
    assert with_tls_files("amqp://u:p@127.0.0.1/", cacertfile=None) == "amqp://u:p@127.0.0.1/"
    assert with_tls_files("amqps://u:p@one/", cacertfile=None) == "amqps://u:p@one/"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionLost("connection reset"),
        ConnectionLost("SSLEOFError(8, 'EOF occurred in violation of protocol (_ssl.c:2427)')"),
    ],
)
def test_a_line_that_is_cut_in_the_handshake_is_about_our_certificate(error: Exception) -> None:
    """A broker may cut it before its alert is read; without TLS it means nothing of the kind."""
    secure = Address(tls=True)
    assert "broker.cert and broker.key" in advice(error, secure)
    assert "refuses our client certificate" in advice(error, replace(secure, certfile="a.pem"))
    assert advice(error, Address()) == ""
