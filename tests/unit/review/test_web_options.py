"""``web:`` in the config: who may log in, how the pages are reached; faults with file and line."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path

import pytest

from rabbitjobs.errors import ConfigError
from rabbitjobs.review.web_options import WebOptions
from rabbitjobs.settings import load

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo"
PEOPLE = "review: {people: {ann: {role: admin}}}\n"


def read(folder: Path, text: str) -> WebOptions | None:
    (folder / "rabbitjobs.yaml").write_text(text)
    return load(folder, {}).web


def test_everything_is_read(tmp_path: Path) -> None:
    """And the hash of a password does not show itself."""
    text = f"""{PEOPLE}
web:
  people:
    ann: {{password: "{HASH}"}}
  hosts: [Desk.shop.example, "[fd00::1]"]
  proxies: [127.0.0.1, 10.1.0.0/16]
  idle: 30m
  session: 8h
"""
    found = read(tmp_path, text)
    assert found is not None
    assert found.people["ann"].reveal() == HASH
    assert HASH not in repr(found)
    assert found.hosts == ("desk.shop.example", "[fd00::1]")
    assert found.proxies == tuple(map(ipaddress.ip_network, ("127.0.0.1", "10.1.0.0/16")))
    assert (found.idle, found.session) == (timedelta(minutes=30), timedelta(hours=8))


def test_nothing_is_read_where_nothing_stands(tmp_path: Path) -> None:
    """The pages have their defaults then."""
    assert read(tmp_path, PEOPLE) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web: {peeple: {}}", "2: web.peeple: expected people"),
        (f"web: {{people: {{bob: {{password: '{HASH}'}}}}}}", "expected bob in review.people"),
        ("web: {people: {ann: {}}}", "web.people.ann: expected the key password"),
        ("web: {people: {ann: {password: hunter2}}}", "expected a hash as `rabbitjobs web passw"),
        ("web: {people: {ann: {password: $2b$12$abcdefgh}}}", "got another text"),
        ("web: {hosts: ['https://desk.shop']}", "expected the name of a host"),
        ("web: {hosts: ['desk.shop:8080']}", "expected the name of a host"),
        ("web: {hosts: ['*']}", "expected the name of a host"),
        ("web: {proxies: [nginx]}", "expected an address or network"),
        ("web: {proxies: [10.1.0.1/16]}", "expected an address or network"),
        ("web: {idle: 1s}", "web.idle: expected a duration from 1m"),
        ("web: {session: 99d}", "web.session: expected a duration"),
    ],
)
def test_faults_are_told_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    """A password in plain is not repeated."""
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, PEOPLE + text)
    assert said in str(wrong.value)
    assert "hunter2" not in str(wrong.value)
