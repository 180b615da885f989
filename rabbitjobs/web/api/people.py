"""People and the tokens that act for them."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import cast

from rabbitjobs.errors import NotAllowed
from rabbitjobs.monitor.logs import escape
from rabbitjobs.web.api import asked, given
from rabbitjobs.web.api.operation import Call, Operation
from rabbitjobs.web.tokens import NewToken

log = logging.getLogger("rabbitjobs.web")


def _me(call: Call) -> given.Me:
    how = cast("given.How", call.visitor.how)
    return given.Me(person=call.person, how=how, csrf=call.visitor.csrf)


def _people(call: Call) -> given.People:
    _admin(call, "the list of people")
    options = call.service.people
    others = options.others if options.people else "admin"
    return given.People(people=tuple(options.people.values()), others=others)


def _tokens(call: Call) -> given.TokenList:
    who = call.query.who
    if who not in (None, call.who):
        _admin(call, "the tokens of others")
    return given.TokenList(tokens=call.service.doors.tokens.list(who or call.who))


def _make(call: Call) -> NewToken:
    body: asked.MakeToken = call.body
    if call.visitor.how == "token":
        raise NotAllowed("expected a person who makes a token, got a token; log in")
    person = call.person
    if body.who not in (None, call.who):
        _admin(call, "a token for somebody else")
        person = call.service.people.person(str(body.who))
    made = call.service.doors.tokens.make(
        person, name=body.name, role=body.role, keep=timedelta(seconds=body.seconds), by=call.who
    )
    log.info("token %s was made for %s by %s", made.token.id, escape(person.name), call.who)
    return made


def _revoke(call: Call) -> None:
    whose = None if call.person.role == "admin" else call.who
    call.service.doors.tokens.revoke(call.path["token_id"], who=whose)


def _admin(call: Call, what: str) -> None:
    if call.person.role != "admin":
        raise NotAllowed(f"expected an admin for {what}, got {call.who}")


OPERATIONS = (
    Operation("GET", "/me", "getMe", "Who you are", _me, given.Me, tag="people"),
    Operation(
        "GET", "/people", "listPeople", "Who may do what; for admins", _people, given.People,
        tag="people",
    ),
    Operation(
        "GET", "/tokens", "listTokens", "Your tokens, without their texts", _tokens,
        given.TokenList, asked.TokensQuery, tag="people",
    ),
    Operation(
        "POST", "/tokens", "makeToken", "Make a token; its text is shown this once", _make,
        NewToken, body=asked.MakeToken, status=201, errors=(409,), tag="people",
    ),
    Operation(
        "DELETE", "/tokens/{token_id}", "revokeToken", "End a token now", _revoke, status=204,
        tag="people",
    ),
)  # fmt: skip
