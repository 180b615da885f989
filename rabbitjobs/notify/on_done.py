"""Webhooks on completion: which caller-given URLs may be called, and the call itself."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from rabbitjobs.errors import NotifyRefused, NotifyUnavailable
from rabbitjobs.notify.note import Completion
from rabbitjobs.notify.options import OnDoneOptions
from rabbitjobs.notify.webhook import Post, host_of
from rabbitjobs.notify.wording import completion

_log = logging.getLogger("rabbitjobs.notify")
DEFAULT_PORTS = {"http": 80, "https": 443}


def check_url(url: str, options: OnDoneOptions) -> None:
    """Refuse a URL that the config does not allow; used before sending a job and before posting.

    Raises ``NotifyRefused``, saying what to do: only http and https, no user name in it, and a
    host that stands in ``notify.on_done.allow`` (empty: no URL at all).
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise NotifyRefused(f"expected on_done to be a URL, got {error}; mend it") from error
    # The parser drops tabs and newlines silently: what was checked must be what is called.
    if not url.isprintable() or " " in url or "\\" in url:
        raise NotifyRefused("expected on_done without spaces or control characters; mend it")
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise NotifyRefused("expected on_done to begin with https:// or http://; mend it")
    if parts.username is not None or parts.password is not None:
        raise NotifyRefused("expected on_done without a user name or password; take it out")
    if not any(_matches(entry.lower(), host, port) for entry in options.allow):
        raise NotifyRefused(
            f"expected on_done to a host that notify.on_done.allow names, got {host_of(url)}; "
            "add it there, or send without on_done"
        )


def _matches(entry: str, host: str, port: int | None) -> bool:
    name, given, number = entry.rpartition(":")
    if not given or not number.isdigit():
        name, number = entry, ""
    if str(port) != number if number else port not in (None, 80, 443):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name.strip("[]")


async def post(note: Completion, options: OnDoneOptions, sender: Post, now: float) -> None:
    """Post one completion; returns when it was taken, or when it never will be.

    What never will be (refused, not allowed, older than ``give_up``) is logged as an error with
    the job's id: the job's own outcome stands in the results as ever. Raises
    ``NotifyUnavailable`` when a later try can help. ``now`` is unix seconds.
    """
    about = {"job": note.job, "queue": note.queue, "job_id": note.job_id, "status": note.status}
    try:
        check_url(note.url, options)
        await sender.send(note.url, note.key, completion(note), options.secret)
    except NotifyRefused as error:
        _log.error("completion webhook given up: %s", error.text, extra=about)
    except NotifyUnavailable as error:
        if now - note.ended < options.give_up.total_seconds():
            raise
        _log.error("completion webhook given up, too old: %s", error.text, extra=about)
