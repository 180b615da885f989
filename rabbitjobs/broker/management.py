"""A client for RabbitMQ's management HTTP API: what AMQP cannot ask or set. Blocking calls."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

from rabbitjobs.broker.http import Answer, HttpConnection
from rabbitjobs.broker.tls import advice, client_context
from rabbitjobs.broker.url import Address, check_management_url, management_options
from rabbitjobs.errors import ManagementError, UrlRefused
from rabbitjobs.secret import Secret

_PORT: Final = 15672
_TLS_PORT: Final = 15671
_GONE: Final = 404


class Management:
    """One node's management API, as one user.

    ``url`` is ``https://``, or ``http://`` on loopback; ``user`` and ``password`` may stand in
    it instead. ``cafile``, ``certfile``, ``keyfile`` and ``server_name`` are as in `Address`; the
    options ``cacertfile``, ``certfile``, ``keyfile`` and ``server_name_indication`` in the URL win.
    ``plain_host`` names one more host where plain HTTP will do: the one that an ``amqp://`` URL
    sends the same password to anyway. ``timeout`` is in seconds, for each request.
    Every method raises `ManagementError` when the API refuses or cannot be reached. Close it, or
    use it as a context manager.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: Secret | None = None,
        timeout: float = 10.0,
        cafile: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        server_name: str | None = None,
        plain_host: str | None = None,
    ) -> None:
        check_management_url(url)
        parts = urlsplit(url)
        _check_plain(parts.scheme, parts.hostname or "", plain_host)
        self.user = unquote(parts.username) if parts.username else user or "guest"
        in_url = Secret(unquote(parts.password)) if parts.password else None
        self._password = in_url or password or Secret("guest")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = f":{parts.port}" if parts.port else ""
        self.url = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
        self._timeout = timeout
        options = management_options(parts.query, tls=parts.scheme == "https")
        if options.keys() & {"certfile", "keyfile"}:  # they belong together
            certfile = keyfile = None
        self._files = (
            options.get("cacertfile", cafile),
            options.get("certfile", certfile),
            options.get("keyfile", keyfile),
        )
        self._server_name = options.get("server_name_indication", server_name)
        self._connection: HttpConnection | None = None

    def __repr__(self) -> str:
        return f"Management({self.url!r}, user={self.user!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- the broker as a whole ---------------------------------------------------------------

    def overview(self) -> dict[str, Any]:
        """Cluster name, versions, totals."""
        return dict(self._get("overview"))

    def version(self) -> str:
        """The server's version, such as "4.3.6"."""
        return str(self.overview().get("rabbitmq_version", ""))

    def whoami(self) -> frozenset[str]:
        """The tags of this user: "administrator", "policymaker", ..."""
        tags = self._get("whoami").get("tags", ())
        return frozenset(tags.split(",") if isinstance(tags, str) else tags)

    def alarms(self) -> tuple[str, ...]:
        """The memory and disk alarms in force; publishers are blocked while there is one."""
        response = self._request("GET", "health/checks/alarms", accept=(503,))
        if response.status < 300:
            return ()
        found = response.json()
        listed = [f"{a.get('resource')} alarm on {a.get('node')}" for a in found.get("alarms", ())]
        return tuple(listed) or (str(found.get("reason", "an alarm")),)

    # --- what stands on a vhost --------------------------------------------------------------

    def queues(self, vhost: str, *, totals: bool = False) -> list[dict[str, Any]]:
        """Every queue with its arguments and policy; with ``totals`` those too, if they are known.

        Without statistics: with them a new queue shows its policy seconds late. The effective
        definition and the operator policy stand in it on RabbitMQ 4.3 only. Totals are asked for
        apart: a node that has just started lists no queue at all with them, for about a second
        after it lets clients in, though all of them stand [measured on 4.3.6].
        """
        path = f"queues/{_part(vhost)}?disable_stats=true"
        found = list(self._get(path))
        if not totals:
            return found
        counted = {q["name"]: q for q in self._get(f"{path}&enable_queue_totals=true")}
        return [{**counted.get(q["name"], {}), **q} for q in found]

    def queue(self, vhost: str, name: str) -> dict[str, Any] | None:
        """One queue with its statistics (which may be seconds late), or ``None``."""
        response = self._request("GET", f"queues/{_part(vhost)}/{_part(name)}", accept=(_GONE,))
        return None if response.status == _GONE else dict(response.json())

    def purge(self, vhost: str, name: str) -> None:
        """Destroy every ready message of a queue; on 4.3 those held for dead lettering too."""
        self._request("DELETE", f"queues/{_part(vhost)}/{_part(name)}/contents")

    def exchanges(self, vhost: str) -> list[dict[str, Any]]:
        """Every exchange, the built-in ones included."""
        return list(self._get(f"exchanges/{_part(vhost)}"))

    def bindings(self, vhost: str) -> list[dict[str, Any]]:
        """Every binding, those of the default exchange included."""
        return list(self._get(f"bindings/{_part(vhost)}"))

    # --- policies ----------------------------------------------------------------------------

    def policies(self, vhost: str) -> list[dict[str, Any]]:
        """Every policy of the vhost (operator policies are not among them)."""
        return list(self._get(f"policies/{_part(vhost)}"))

    def operator_policies(self, vhost: str) -> list[dict[str, Any]]:
        """Every operator policy: they override ours. Empty if this user may not see them."""
        response = self._request("GET", f"operator-policies/{_part(vhost)}", accept=(401, 403))
        return list(response.json()) if response.is_success else []

    def set_policy(
        self,
        vhost: str,
        name: str,
        *,
        pattern: str,
        definition: Mapping[str, Any],
        priority: int,
        apply_to: str = "queues",
    ) -> None:
        """Create or replace a policy; needs the tag "policymaker"."""
        body = {
            "pattern": pattern,
            "definition": dict(definition),
            "priority": priority,
            "apply-to": apply_to,
        }
        self._request("PUT", f"policies/{_part(vhost)}/{_part(name)}", body)

    def delete_policy(self, vhost: str, name: str) -> None:
        """Delete a policy; it may be gone already."""
        self._request("DELETE", f"policies/{_part(vhost)}/{_part(name)}", accept=(_GONE,))

    # --- vhosts, users and permissions -------------------------------------------------------

    def vhosts(self) -> list[str]:
        """The names of all vhosts that this user sees."""
        return [str(vhost["name"]) for vhost in self._get("vhosts")]

    def create_vhost(self, name: str) -> None:
        """Create a vhost; it may be there already. Needs the tag "administrator"."""
        self._request("PUT", f"vhosts/{_part(name)}", {})

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost WITH everything in it; it may be gone already."""
        self._request("DELETE", f"vhosts/{_part(name)}", accept=(_GONE,))

    def users(self) -> list[dict[str, Any]]:
        """Every user: name and tags."""
        return list(self._get("users"))

    def put_user(self, name: str, *, password: Secret, tags: tuple[str, ...] = ()) -> None:
        """Create a user, or give an old one this password and these tags."""
        body = {"password": password.reveal(), "tags": ",".join(tags)}
        self._request("PUT", f"users/{_part(name)}", body)

    def add_tags(self, name: str, tags: tuple[str, ...]) -> None:
        """Give a user tags beside those it has; its password stays."""
        user = dict(self._get(f"users/{_part(name)}"))
        there = user.get("tags", ())
        there = there.split(",") if isinstance(there, str) else there
        wanted = ",".join(dict.fromkeys((*filter(None, there), *tags)))
        kept = {key: user[key] for key in ("password_hash", "hashing_algorithm") if key in user}
        self._request("PUT", f"users/{_part(name)}", {**kept, "tags": wanted})

    def delete_user(self, name: str) -> None:
        """Delete a user; it may be gone already."""
        self._request("DELETE", f"users/{_part(name)}", accept=(_GONE,))

    def permissions(self, vhost: str) -> list[dict[str, Any]]:
        """Who may do what on a vhost."""
        return list(self._get(f"vhosts/{_part(vhost)}/permissions"))

    def set_permissions(
        self, vhost: str, user: str, *, configure: str, write: str, read: str
    ) -> None:
        """Grant a user three patterns on a vhost, in place of what it had there."""
        body = {"configure": configure, "write": write, "read": read}
        self._request("PUT", f"permissions/{_part(vhost)}/{_part(user)}", body)

    # --- HTTP --------------------------------------------------------------------------------

    def _get(self, path: str) -> Any:
        return self._request("GET", path).json()

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        accept: tuple[int, ...] = (),
    ) -> Answer:
        where = f"{method} {self.url}/api/{path}"
        try:
            answer = self._connected().request(method, f"api/{path}", body)
        except (OSError, HTTPException) as error:
            raise ManagementError(
                f"expected RabbitMQ's management API at {self.url}, got "
                f"{error or type(error).__name__}"
                + (
                    advice(error)
                    or "; enable the plugin rabbitmq_management, or set RABBITJOBS_MANAGEMENT_URL"
                )
            ) from error
        if answer.is_success or answer.status in accept:
            return answer
        raise ManagementError(_refusal(answer, where, self.user), status=answer.status)

    def _connected(self) -> HttpConnection:
        if self._connection is None:
            tls = self.url.startswith("https:")
            self._connection = HttpConnection(
                self.url,
                user=self.user,
                password=self._password,
                timeout=self._timeout,
                context=client_context(*self._files) if tls else None,
                server_name=self._server_name,
            )
        return self._connection


def management_of(address: Address, url: str | None = None) -> Management:
    """The management API that belongs to a broker's AMQP address, as the same user.

    ``url`` says where it is; without one it is the same host on RabbitMQ's usual port: 15672, or
    15671 with TLS when AMQP has TLS. The address's files for TLS hold here too, and its server name
    if the host is the same. Nothing is sent yet. Raises `UrlRefused` for plain HTTP to a host that
    the AMQP password does not go to in plain already.
    """
    plain = None if address.tls else address.host
    host = f"[{address.host}]" if ":" in address.host else address.host
    usual = f"https://{host}:{_TLS_PORT}" if address.tls else f"http://{host}:{_PORT}"
    same_host = urlsplit(url or usual).hostname == urlsplit(usual).hostname
    return Management(
        url or usual,
        user=address.user,
        password=address.password,
        cafile=address.cafile,
        certfile=address.certfile,
        keyfile=address.keyfile,
        server_name=address.server_name if same_host else None,
        plain_host=plain,
    )


def _check_plain(scheme: str, host: str, plain_host: str | None) -> None:
    if scheme == "http" and host != plain_host and not _is_loopback(host):
        raise UrlRefused(
            f"expected an https:// management URL for {host}, got http://, which would show the "
            "password on the network; use TLS, or a tunnel to loopback"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(answer: Answer, where: str, user: str) -> str:
    try:
        found = answer.json()
        reason = found.get("reason") or found.get("error") or answer.text
    except (ValueError, AttributeError):
        reason = answer.text[:200]
    reason = " ".join(str(reason).split())
    hint = ""
    if answer.status in (401, 403):
        hint = f"; user {user!r} needs the password, a tag (policymaker) and rights for this"
    return f"{where}: expected success, got {answer.status} {reason}{hint}"


def _part(name: str) -> str:
    return quote(name, safe="")
