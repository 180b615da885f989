"""Signatures: who may send a job is whoever holds a key, not whoever can reach the exchange.

HMAC-SHA256 (RFC 2104, FIPS 198-1) over what a job is; docs/wire-format.md spells the form out.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from rabbitjobs.errors import SignatureRefused
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.secret import Secret

FORM: Final = "rabbitjobs-signature-2"
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class SigningOptions:
    """The keys by their ids, the id of the one that signs, and whether unsigned jobs are refused.

    Every key of ``keys`` verifies; so a key is replaced by adding the new one everywhere, signing
    with it, and taking the old one away once nothing signed by it is on its way any more.
    """

    keys: Mapping[str, Secret]
    sign_with: str
    require: bool = True


class Signing:
    """Signs and checks envelopes of one namespace."""

    def __init__(self, options: SigningOptions, *, namespace: str) -> None:
        self._keys = {name: key.reveal().encode() for name, key in options.keys.items()}
        self._sign_with = options.sign_with
        self._require = options.require
        self._namespace = namespace

    def sign(self, envelope: Envelope) -> Envelope:
        """The envelope with a signature by the key that signs, in place of any that it had."""
        digest = self._digest(self._sign_with, envelope)
        return msgspec.structs.replace(envelope, signature=f"{self._sign_with}:{digest}")

    def renew(self, envelope: Envelope) -> Envelope:
        """Sign what was signed before it was changed; the earlier signature must have been checked.

        What came without a signature, because none is required, goes on without one.
        """
        return self.sign(envelope) if envelope.signature is not None else envelope

    def check(self, envelope: Envelope) -> None:
        """Raise ``SignatureRefused`` unless a key of ours signed exactly this.

        The comparison takes the same time wherever two signatures differ.
        """
        if envelope.signature is None:
            if self._require:
                raise _refused("expected a signature in x-rj-signature, got none", envelope)
            return
        key_id, _, found = envelope.signature.partition(":")
        if key_id not in self._keys:
            known = ", ".join(sorted(self._keys))
            shown = repr(key_id[:_SHOWN])
            raise _refused(
                f"expected a signature by one of the keys {known}, got {shown}", envelope
            )
        expected = self._digest(key_id, envelope)
        if not hmac.compare_digest(expected.encode(), found.encode("utf-8", "surrogatepass")):
            raise _refused(
                f"expected the signature of this job by the key {key_id}, got another: its body, "
                "or one of the properties and headers that are signed, is not what it was",
                envelope,
            )

    def _digest(self, key_id: str, envelope: Envelope) -> str:
        message = canonical(envelope, namespace=self._namespace, key_id=key_id)
        return hmac.digest(self._keys[key_id], message, "sha256").hex()


def canonical(envelope: Envelope, *, namespace: str, key_id: str) -> bytes:
    """The bytes that are signed: netstrings, so that no two jobs have the same form.

    All that the sender or the desk decides is among them: with another case or release somebody's
    case would be closed, with another unique key a second job let in, with another attempt a copy
    pass for a new one. Not among them is what workers change on the way without a key's word
    (due, history, again, unknown, waits), and what decides nothing (enqueued, priority, trace).
    """
    expires = "" if envelope.expires is None else str(round(envelope.expires * 1000))
    texts = (
        FORM,
        key_id,
        namespace,
        envelope.queue,
        envelope.job,
        envelope.id,
        str(envelope.attempt),
        expires,
        envelope.content_type,
        envelope.content_encoding or "",
        envelope.correlation_id or "",
        envelope.reply_to or "",
        envelope.app_id or "",
        envelope.on_done or "",
        envelope.unique or "",
        envelope.release or "",
        envelope.case or "",
        # Only where there is one: the number of netstrings says so, and what was signed before
        # there were tags still holds.
        *((envelope.tag,) if envelope.tag is not None else ()),
    )
    parts = [*(text.encode("utf-8", "surrogatepass") for text in texts), envelope.body]
    return b"".join(b"%d:%b," % (len(part), part) for part in parts)


def _refused(text: str, envelope: Envelope) -> SignatureRefused:
    return SignatureRefused(text, queue=envelope.queue, job=envelope.job, job_id=envelope.id)
