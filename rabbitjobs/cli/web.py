"""`rabbitjobs web`: the desk in a browser, and who gets in."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import click

from rabbitjobs import clock
from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.options import CliContext
from rabbitjobs.cli.review_options import who_of, who_option
from rabbitjobs.cli.review_print import as_json, print_json, print_rows, wants_json
from rabbitjobs.cli.store import existing_store
from rabbitjobs.errors import WebRefused
from rabbitjobs.monitor.logs import escape
from rabbitjobs.review.moment import moment
from rabbitjobs.review.options import ROLES
from rabbitjobs.review.web_options import OPEN

_TOKEN_HEADINGS = ("ID", "NAME", "WHO", "ROLE", "EXPIRES", "LAST USE")


@click.group(invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True)
@click.pass_context
def web(ctx: click.Context, host: str, port: int) -> None:
    """Serve the review desk to browsers and programs, until it is stopped.

    Off this machine it refuses to start unless people may log in (web.people in the config).
    """
    if ctx.invoked_subcommand is not None:
        return
    obj: CliContext = ctx.obj
    obj.log()
    _need_extra()
    from rabbitjobs.web.serving import check_address, serve

    app = obj.app()
    check_address(host, app.settings.web or OPEN)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"the desk of {app.namespace} is at http://{shown}:{port}/", err=True)
    try:
        serve(app, host=host, port=port)
    finally:
        app.close()


@web.command()
@click.argument("who")
@click.option("--stdin", is_flag=True, help="Read the password from standard input.")
def password(who: str, stdin: bool) -> None:
    """Ask for a password, and print what stands in the config for it."""
    _need_extra()
    from rabbitjobs.web.passwords import hash_password, weakness

    if stdin:
        text = sys.stdin.readline().rstrip("\n")
    else:
        text = click.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    fault = weakness(text)
    if fault:
        raise click.ClickException(f"expected {fault}")
    click.echo(f"# config/rabbitjobs.yaml: web: people:\n{_key(who)}: ", nl=False)
    click.echo(f'{{password: "{hash_password(text)}"}}')


@web.command()
@click.argument("who")
@click.pass_context
def logout(ctx: click.Context, who: str) -> None:
    """Log somebody out of every browser."""
    from rabbitjobs.web.sessions import Sessions

    store = existing_store(ctx)
    ended = Sessions(lambda: store, OPEN, clock.now).end_all(who)
    click.echo(f"ended {ended} sessions of {escape(who)}")


@web.group()
def token() -> None:
    """Tokens for programs that use the HTTP API."""


@token.command()
@click.argument("name")
@click.option("--for", "owner", required=True, help="Whose rights it has: of review.people.")
@click.option("--role", type=click.Choice(ROLES[1:]), default="viewer", show_default=True)
@click.option("--keep", type=DurationType(), default="90d", show_default=True)
@who_option
@as_json
@click.pass_context
def create(
    ctx: click.Context, /, *, name: str, owner: str, role: Any, keep: timedelta, who: str | None,
    json_: bool,
) -> None:  # fmt: skip
    """Make a token. It is shown once; the store has its hash only."""
    store, desk = existing_store(ctx), ctx.obj.app().desk
    from rabbitjobs.web.tokens import Tokens

    person = desk.options.person(owner)
    tokens = Tokens(lambda: store, clock.now)
    made = tokens.make(person, name=name, role=role, keep=keep, by=who_of(desk, who))
    if wants_json(ctx, json_):
        print_json(made)
    else:
        click.echo(made.text)
        click.echo(f"token {made.token.id}, until {moment(made.token.expires)}", err=True)


@token.command("list")
@as_json
@click.pass_context
def list_tokens(ctx: click.Context, json_: bool) -> None:
    """List the tokens that have not expired."""
    from rabbitjobs.web.tokens import Tokens

    store = existing_store(ctx)
    found = Tokens(lambda: store, clock.now).list()
    if wants_json(ctx, json_):
        print_json(found)
        return
    rows = [
        (one.id, escape(one.name), escape(one.who), one.role, moment(one.expires),
         moment(one.seen) if one.seen else "never")
        for one in found
    ]  # fmt: skip
    print_rows(_TOKEN_HEADINGS, rows, None)


@token.command()
@click.argument("token_id")
@click.pass_context
def revoke(ctx: click.Context, token_id: str) -> None:
    """End a token now."""
    from rabbitjobs.web.tokens import Tokens

    store = existing_store(ctx)
    Tokens(lambda: store, clock.now).revoke(token_id)
    click.echo(f"revoked {escape(token_id)}")


def _key(who: str) -> str:
    """A name as YAML takes it for a key."""
    return who if who.isidentifier() else '"' + who.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _need_extra() -> None:
    try:
        import argon2
        import starlette
        import uvicorn  # noqa: F401  # all three come with the extra
    except ImportError as error:
        raise WebRefused(
            f"expected the packages of the web pages, got no {error.name}; "
            "run: pip install 'rabbitjobs[web]'"
        ) from None
    del argon2, starlette
