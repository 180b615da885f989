"""A real SMTP server on loopback with the manners of real ones.

It greylists (451 at the first try of a recipient), refuses mailboxes that are gone (550), refuses
some content (554 after DATA), and keeps every accepted mail as a line of ``mails.jsonl`` before it
says 250. It can be killed at any time and started again: what it promised is on disk.

    python -m examples.shop.mail_server --port 0 --spool DIR     (prints "ready PORT")
"""

from __future__ import annotations

import argparse
import asyncio
import json
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from examples.shop.orders import GONE, GREYLISTING, STRICT

MAILS = "mails.jsonl"
SEEN = "greylist.txt"


class Postmaster:
    """Decides on recipients and contents; aiosmtpd calls it for each SMTP command."""

    def __init__(self, spool: Path) -> None:
        seen = spool / SEEN
        self._seen = set(seen.read_text().split()) if seen.exists() else set[str]()
        self._seen_file = seen.open("a", buffering=1)
        self._mails_file = (spool / MAILS).open("a", buffering=1)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer RCPT TO: 250 to take the recipient, 451 for later, 550 for never."""
        domain = address.rpartition("@")[2]
        if domain == GONE:
            return "550 5.1.1 no such mailbox here"
        if domain == GREYLISTING and address not in self._seen:
            self._seen.add(address)
            self._seen_file.write(f"{address}\n")
            return "451 4.7.1 greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Answer the end of DATA: 250 once the mail is written down, 554 if it is not wanted."""
        if any(address.endswith(f"@{STRICT}") for address in envelope.rcpt_tos):
            return "554 5.7.1 content refused by policy"
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content)
        for address in envelope.rcpt_tos:
            line = {"to": address, "id": mail["Message-ID"], "order": int(mail["X-Order"])}
            self._mails_file.write(json.dumps(line) + "\n")
        return "250 2.0.0 accepted"


async def serve(port: int, spool: Path) -> None:
    """Serve until the process is ended; port 0 takes a free one."""
    postmaster = Postmaster(spool)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(postmaster, hostname="mail.post.example"), "127.0.0.1", port
    )
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def received(spool: Path) -> list[int]:
    """The order numbers of the mails received so far, one for each mail: repeats are repeats."""
    file = spool / MAILS
    lines = file.read_text().splitlines() if file.exists() else []
    return [int(json.loads(line)["order"]) for line in lines]


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--spool", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.spool))


if __name__ == "__main__":
    main()
