"""The ending of a job by a person, inside the transaction that also changes his case.

The same settlement and the same rows as an attempt's own ending, with one difference: nothing is
published from within a transaction. What follows is promised in the outbox, which a relay
publishes confirmed once the transaction is committed.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from rabbitjobs.backend import ended_rows
from rabbitjobs.ending.settlement import Keeping, Outcome, kept, wants_note
from rabbitjobs.policy.decision import Decision
from rabbitjobs.store import inbox, outbox


def settle_by_hand(
    connection: Connection,
    namespace: str,
    outcome: Outcome,
    decision: Decision | None,
    keeping: Keeping,
    *,
    shown_as: int,
) -> None:
    """Write that the job of ``outcome`` has ended; ``decision`` is ``None`` for a success.

    Unlike a worker's ending it holds even if the attempt is recorded already (as in review, say).
    ``shown_as`` is the attempt that the result row gets: what is final in it is replaced by a later
    attempt only. The inbox has the envelope's own: a copy of that message which still comes is
    dropped. Raises ``StoreUnavailable``; nothing is written then.
    """
    envelope = outcome.envelope
    own = ended_rows.with_storable_ids(kept(outcome, decision, keeping))
    # The case is the person's to change: no release of it ends here.
    own = msgspec.structs.replace(own, case=None, release=None)
    # In the order of a worker's ending, so that the two never lock each other out.
    inbox.enter(connection, namespace, [ended_rows.entry_of(own)])
    ended_rows.write(connection, namespace, [msgspec.structs.replace(own, attempt=shown_as)])
    if wants_note(envelope, own.status):
        ended_as = own.status.value
        outbox.put(connection, namespace, envelope, ended_as=ended_as, ended=outcome.ended)
