"""`rabbitjobs web`: passwords, tokens and sessions by command."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result

from rabbitjobs import clock
from rabbitjobs.cli.web import web
from rabbitjobs.errors import NotAllowed, TokenNotFound
from rabbitjobs.review.options import DeskOptions, Person
from rabbitjobs.review.web_options import WebOptions
from rabbitjobs.secret import Secret
from rabbitjobs.store.engine import Store
from rabbitjobs.web.sessions import Sessions
from rabbitjobs.web.tokens import Tokens

Run = Callable[..., Result]


@pytest.fixture
def options() -> DeskOptions:
    """Two people."""
    ann, vic = Person(name="ann", role="admin"), Person(name="vic", role="viewer")
    return DeskOptions(people={"ann": ann, "vic": vic})


def test_a_password_becomes_what_the_config_takes() -> None:
    """As YAML; a short one is refused, and none is ever printed."""
    done = CliRunner().invoke(web, ["password", "ann@desk-1", "--stdin"], input="correct horse x\n")
    assert done.exit_code == 0, done.output
    comment, line = done.output.splitlines()
    assert comment.startswith("# config/rabbitjobs.yaml: web: people:")
    assert line.startswith('"ann@desk-1": {password: "$argon2id$')
    assert PasswordHasher().verify(line.split('"')[3], "correct horse x")
    asked = CliRunner().invoke(web, ["password", "ann"], input="short\nshort\n")
    assert asked.exit_code == 1
    assert "expected a password of 12 characters or more" in asked.output
    unlike = CliRunner().invoke(web, ["password", "ann"], input="correct horse x\nanother one\n")
    assert unlike.exit_code == 1


def test_a_token_is_made_listed_and_revoked(run: Run, store: Store) -> None:
    """It is printed once."""
    text = run("token", "create", "ci", "--for", "ann", group=web).output.splitlines()[0]
    tokens = Tokens(lambda: store, clock.now)
    token = tokens.find(text)
    assert token is not None
    assert (token.who, token.role, token.name) == ("ann", "viewer", "ci")
    listed = run("token", "list", "--json", group=web).output
    assert json.loads(listed)[0]["id"] == token.id
    assert text not in listed
    assert "never" not in run("token", "list", group=web).output  # find has used it
    run("token", "revoke", token.id, group=web)
    assert tokens.find(text) is None
    with pytest.raises(TokenNotFound):
        run("token", "revoke", token.id, group=web)


def test_a_token_has_no_more_than_its_person(run: Run) -> None:
    """A viewer's is no admin's; nobody's is none at all."""
    for owner in ("vic", "zoe"):
        with pytest.raises(NotAllowed):
            run("token", "create", "ci", "--for", owner, "--role", "admin", group=web)
    made = run("token", "create", "ci", "--for", "vic", "--keep", "1h", "--json", group=web)
    assert json.loads(made.output)["token"]["who"] == "vic"


def test_somebody_is_logged_out_everywhere(run: Run, store: Store) -> None:
    """In every browser at once."""
    people = {name: Secret(f"the hash of {name}") for name in ("ann", "vic")}
    sessions = Sessions(lambda: store, WebOptions(people=people), clock.now)
    cookies = [sessions.begin("ann", via="web") for _ in range(2)]
    kept = sessions.begin("vic", via="web")
    assert run("logout", "ann", group=web).output == "ended 2 sessions of ann\n"
    assert [sessions.find(cookie) for cookie in cookies] == [None, None]
    assert sessions.find(kept) is not None
