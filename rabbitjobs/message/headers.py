"""The names of our headers: the wire format, version 1 (docs/wire-format.md)."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1

V: Final = "x-rj-v"
ID: Final = "x-rj-id"
QUEUE: Final = "x-rj-queue"
ATTEMPT: Final = "x-rj-attempt"
ENQUEUED: Final = "x-rj-enqueued"  # milliseconds since 1970 UTC, as every time in a header
DUE: Final = "x-rj-due"
EXPIRES: Final = "x-rj-expires"
HISTORY: Final = "x-rj-history"  # JSON text
TRACE: Final = "x-rj-trace"
ON_DONE: Final = "x-rj-on-done"
UNIQUE: Final = "x-rj-unique"
AGAIN: Final = "x-rj-again"  # a message of this id and attempt may have been sent before
TAG: Final = "x-rj-tag"
UNKNOWN: Final = "x-rj-unknown"  # how often this attempt was passed on by workers without its job
WAITS: Final = "x-rj-waits"  # how often this attempt was put off: its rate or its key was taken
RELEASE: Final = "x-rj-release"
CASE: Final = "x-rj-case"
SIGNATURE: Final = "x-rj-signature"
FAILURE: Final = "x-rj-failure"  # JSON text, on messages to the fail exchange only
REASON: Final = "x-rj-reason"
RULE: Final = "x-rj-rule"
RAW: Final = "x-rj-raw"  # the bytes of a header frame that could not be decoded
PROPERTIES: Final = "x-rj-properties"  # JSON text, on what could not be read: what it came with
DAMAGE: Final = "x-rj-damage"
STATUS: Final = "x-rj-status"  # on completion notes only
ENDED: Final = "x-rj-ended"
