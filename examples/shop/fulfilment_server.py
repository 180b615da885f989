"""The carrier's HTTP endpoint, on loopback, with the faults of a real one.

``PUT /shipments/NUMBER`` books a shipment; the number makes it idempotent. After some requests it
is down for a few seconds: it cuts connections, then answers 503. Now and then it answers 500, or
200 with a page that is not JSON. Each booked shipment is a line of ``shipments.jsonl`` before the
answer is sent.

    python -m examples.shop.fulfilment_server --port 0 --spool DIR     (prints "ready PORT")
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SHIPMENTS = "shipments.jsonl"
DOWN_AT = 300  # the request that finds it down
CUTTING, REFUSING = 1.0, 3.0  # seconds of cut connections, then of 503, from that request on
EVERY_500, EVERY_GARBAGE = 37, 211
GARBAGE = b"<html><body><h1>Wartungsarbeiten</h1></body></html>"


class Carrier:
    """What the endpoint knows: its faults by the number of the request, and what is booked."""

    def __init__(self, spool: Path) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._down_since: float | None = None
        self._booked: set[int] = set()
        self._file = (spool / SHIPMENTS).open("a", buffering=1)

    def mood(self, now: float) -> str:
        """How the next request is answered: ``cut``, ``503``, ``500``, ``garbage`` or ``ok``."""
        with self._lock:
            self._requests += 1
            if self._requests == DOWN_AT:
                self._down_since = now
            down = now - self._down_since if self._down_since is not None else REFUSING
            if down < REFUSING:
                return "cut" if down < CUTTING else "503"
            if self._requests % EVERY_GARBAGE == 0:
                return "garbage"
            return "500" if self._requests % EVERY_500 == 0 else "ok"

    def book(self, number: int, cds: int) -> bool:
        """Book a shipment once; ``False`` if it was booked before."""
        with self._lock:
            if number in self._booked:
                return False
            self._booked.add(number)
            self._file.write(json.dumps({"order": number, "cds": cds}) + "\n")
            return True

    def close(self) -> None:
        """Close the file of shipments."""
        self._file.close()


class Handler(BaseHTTPRequestHandler):
    """One connection to the carrier."""

    protocol_version = "HTTP/1.1"
    carrier: Carrier

    def do_PUT(self) -> None:
        """Book the shipment that the path names, or misbehave."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.carrier.mood(time.monotonic()):
            case "cut":
                self.close_connection = True
            case "503":
                self.answer(503, b"{}", ("Retry-After", "1"))
            case "500":
                self.answer(500, b"internal error")
            case "garbage":
                self.answer(200, GARBAGE)
            case _:
                number = int(self.path.rpartition("/")[2])
                new = self.carrier.book(number, body["cds"])
                self.answer(200, json.dumps({"parcel": f"P{number:07d}", "new": new}).encode())

    def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        """Send one whole answer."""
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo's screen belongs to the demo."""


def shipped(spool: Path) -> list[int]:
    """The order numbers of the shipments booked so far."""
    file = spool / SHIPMENTS
    lines = file.read_text().splitlines() if file.exists() else []
    return [int(json.loads(line)["order"]) for line in lines]


def main() -> None:
    """Read the arguments and serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--spool", type=Path, required=True)
    arguments = parser.parse_args()
    Handler.carrier = Carrier(arguments.spool)
    with ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler) as server:
        print("ready", server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
