"""`rabbitjobs web`: one uvicorn, on this machine unless people may log in."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from rabbitjobs.errors import WebRefused
from rabbitjobs.review.web_options import OPEN, WebOptions
from rabbitjobs.web.app import web_app
from rabbitjobs.web.arrival import LOOPBACK_HOSTS

if TYPE_CHECKING:
    from rabbitjobs.app.application import RabbitJobs

_GRACE_SECONDS = 5


def serve(app: RabbitJobs, *, host: str, port: int) -> None:
    """Serve until a signal comes; raises ``WebRefused`` before anything is bound."""
    check_address(host, app.settings.web or OPEN)
    config = uvicorn.Config(
        web_app(app, hosts=_names(host)),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        # The guard believes proxies by itself, and only those that the config names.
        proxy_headers=False,
        ws="none",
        lifespan="off",
        limit_concurrency=500,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _Server(config).run()


class _Server(uvicorn.Server):
    """Returns after a signal: uvicorn's own raises it once more, which ends the process by it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear SIGINT and SIGTERM while it serves."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def check_address(host: str, options: WebOptions) -> None:
    """Raise ``WebRefused`` for an address that others reach, where nobody can log in."""
    if is_loopback(host):
        return
    if not options.people:
        raise WebRefused(
            f"expected people who may log in beside {host}, which others reach, got none; give "
            "each a role in review.people and a password in web.people (`rabbitjobs web password` "
            "prints what stands there), or serve 127.0.0.1"
        )
    if not options.hosts and _is_wildcard(host):
        raise WebRefused(
            f"expected the names that browsers reach this by beside {host}, got none; set "
            "web.hosts, such as [desk.shop.example]"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host.lower() in LOOPBACK_HOSTS:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def _names(host: str) -> tuple[str, ...]:
    """The bound address as browsers write it."""
    return () if _is_wildcard(host) else (f"[{host}]" if ":" in host else host.lower(),)
