"""HTTP over a connection that is kept: servers close it when they like."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from rabbitjobs.broker.http import HttpConnection
from rabbitjobs.broker.management import Management
from rabbitjobs.errors import ManagementError
from rabbitjobs.secret import Secret

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}'
Server = Callable[..., str]


@pytest.fixture
def server() -> Iterator[Server]:
    """Makes a server that takes one connection after another, and answers each as it is told."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def start(*connections: tuple[bytes, ...], asked: list[bytes] | None = None) -> str:
        def serve() -> None:
            for answers in connections:
                connection, _ = listener.accept()
                with connection:
                    for answer in answers:
                        heard = connection.recv(65536)
                        if asked is not None:
                            asked.append(heard)
                        connection.sendall(answer)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/prefix/"

    yield start
    for thread in threads:
        thread.join(20)
    listener.close()


def connection(url: str, timeout: float = 20.0) -> HttpConnection:
    return HttpConnection(url, user="us er", password=Secret("s:t"), timeout=timeout)


def test_requests_share_a_connection(server: Server) -> None:
    """With the login and the path before each."""
    asked: list[bytes] = []
    http = connection(server((ANSWER, ANSWER), asked=asked))
    assert http.request("GET", "api/x").json() == {"a": 1}
    assert http.request("DELETE", "api/y").is_success
    http.close()
    assert [request.split(b" HTTP")[0] for request in asked] == [
        b"GET /prefix/api/x",
        b"DELETE /prefix/api/y",
    ]
    assert all(b"Authorization: Basic dXMgZXI6czp0\r\n" in request for request in asked)


def test_a_connection_that_was_closed_meanwhile_is_opened_again(server: Server) -> None:
    """A server closes one that was quiet; nobody is told."""
    http = connection(server((ANSWER,), (ANSWER,)))
    assert http.request("GET", "x").status == 200
    assert http.request("GET", "x").status == 200
    http.close()


def test_a_server_that_never_answers_is_asked_once(server: Server) -> None:
    """A first connection that is cut is an error, not a loop."""
    http = connection(server((b"",)))
    with pytest.raises(ConnectionError):
        http.request("GET", "x")


@pytest.mark.parametrize("answer", [b"what?\r\n\r\n", ANSWER[:-3]])
def test_what_is_no_http_is_an_error_of_the_management_api(server: Server, answer: bytes) -> None:
    """Another program on that port, or an answer that was cut."""
    with Management(server((answer,))) as management, pytest.raises(ManagementError) as error:
        management.overview()
    assert error.value.status == 0


def test_a_server_that_hangs_is_an_error_after_the_timeout() -> None:
    """It accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Management(url, timeout=0.1) as management, pytest.raises(ManagementError) as error:
            management.overview()
    assert "timed out" in str(error.value)
