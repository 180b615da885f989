"""The tables, as SQLAlchemy Core sees them; the migrations are what really makes them.

Every table carries the namespace, so that several apps may share one PostgreSQL database. All
times are unix seconds. Names start with ``rj_``, because the outbox may stand in the user's own
database.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

metadata = MetaData()

_AUTO = BigInteger().with_variant(Integer, "sqlite")

# The job id leads its keys: with the namespace first, PostgreSQL reads a whole namespace for one
# job as long as its statistics do not know that namespace yet (seen: 40,000 rows for one).
jobs = Table(
    "rj_jobs",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("result", LargeBinary),
    Column("error_type", Text),
    Column("error", Text),
    Column("traceback", Text),
    Column("progress", LargeBinary),
    Column("enqueued", Double, nullable=False),
    Column("started", Double),
    Column("ended", Double),
    Column("worker", Text, nullable=False),
    Column("expires", Double),
    PrimaryKeyConstraint("job_id", "namespace"),
    Index("rj_jobs_expires", "expires"),
    sqlite_with_rowid=False,
)
"""What is known of each job, one row each: the newest attempt. ``expires`` null: kept."""

inbox = Table(
    "rj_inbox",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("decision", LargeBinary, nullable=False),
    Column("release_id", Text),
    Column("ended", Double, nullable=False),
    PrimaryKeyConstraint("job_id", "namespace", "attempt"),
    Index("rj_inbox_ended", "ended"),
    sqlite_with_rowid=False,
)
"""One row for each recorded attempt: the deduplication key and what was decided."""

unique_keys = Table(
    "rj_unique",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("job_id", Text, nullable=False),
    Column("until", Double, nullable=False),
    sqlite_with_rowid=False,
)
"""Who holds a ``unique=`` key, and until when at most."""

outbox = Table(
    "rj_outbox",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("namespace", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("delay", Double),
    Column("envelope", LargeBinary, nullable=False),
    Column("created", Double, nullable=False),
    Column("leased_until", Double, nullable=False),
    Column("lease", Text),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    Column("release_id", Text),
    Column("case_id", Text),
    Column("ended_as", Text),
    Column("ended", Double),
    Index("rj_outbox_due", "namespace", "leased_until", "id"),
    sqlite_autoincrement=True,
)
"""Messages that a committed transaction promised and that are not confirmed yet."""

cases = Table(
    "rj_cases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome", Text),
    Column("opened", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("closed", Double),
    Column("job_id", Text),
    Column("attempt", BigInteger, nullable=False),
    Column("job", Text),
    Column("queue", Text),
    Column("message_id", Text),
    Column("correlation_id", Text),
    Column("trace", Text),
    Column("reason", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("source_queue", Text, nullable=False),
    Column("app_id", Text),
    Column("published", Double),
    Column("priority", Integer),
    Column("kind", Text, nullable=False),
    Column("error_type", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("classes", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("deaths", Text, nullable=False),
    Column("envelope", LargeBinary),
    Column("properties", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("payload_hash", Text, nullable=False),
    Column("search", Text, nullable=False),
    Column("release_id", Text),
    Column("release_attempt", BigInteger),
    Column("owner", Text),
    Column("tags", Text, nullable=False),
    Column("parent_id", Text),
    Column("child_id", Text),
    Column("fingerprint", Text, nullable=False, server_default=""),
    Column("seen", Double, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="1"),
    Column("lease_until", Double),
    Column("snoozed_until", Double),
    Column("deadline", Double),
    Column("deadline_do", Text),
    Column("severity", Integer, nullable=False, server_default="0"),
    Column("audit_hash", Text),
    Index("rj_cases_listed", "namespace", "state", "id"),
    Index("rj_cases_job", "namespace", "job_id"),
    Index("rj_cases_release", "release_id"),
    Index("rj_cases_by_queue", "namespace", "queue", "state", "id"),
    Index("rj_cases_by_job", "namespace", "job", "state", "id"),
    Index("rj_cases_by_error", "namespace", "error_type", "state", "id"),
    Index("rj_cases_by_group", "namespace", "fingerprint", "state", "id", "opened", "seen"),
    Index("rj_cases_by_owner", "namespace", "owner", "state", "id"),
    Index("rj_cases_by_update", "namespace", "state", "updated", "id"),
    Index("rj_cases_by_deadline", "namespace", "state", "deadline", "id"),
    Index("rj_cases_by_age", "namespace", "state", "opened"),
)
"""The review desk's items. ``seen`` is when it last failed, ``failures`` how often it did,
``audit_hash`` the hash of its newest audit row."""

case_words = Table(
    "rj_case_words",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("word", Text().with_variant(Text(collation="C"), "postgresql"), nullable=False),
    Column("case_id", Text, nullable=False),
    PrimaryKeyConstraint("namespace", "word", "case_id"),
    Index("rj_case_words_case", "case_id"),
    sqlite_with_rowid=False,
)
"""The words of each case, by which a search finds it without reading all of them."""

failures = Table(
    "rj_failures",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("failure_id", Text, primary_key=True),
    Column("case_id", Text, nullable=False),
    Column("taken", Double, nullable=False),
    Index("rj_failures_case", "case_id"),
)
"""Every failure that intake has taken in, once: what makes a second delivery harmless."""

audit = Table(
    "rj_audit",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("case_id", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("before_hash", Text),
    Column("after_hash", Text),
    Column("version", BigInteger, nullable=False),
    Column("via", Text),
    Column("hash", Text),
    Index("rj_audit_case", "case_id", "id"),
    sqlite_autoincrement=True,
)
"""What was done to each case, by whom: rows are only ever added, each with a hash over itself and
the row before (``store.audit``)."""

bulk = Table(
    "rj_bulk",
    metadata,
    Column("id", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("total", Integer, nullable=False),
    Index("rj_bulk_listed", "namespace", "id"),
)
"""Bulk actions of the desk. ``params`` is JSON; before ``next_at`` no further item is begun."""

bulk_items = Table(
    "rj_bulk_items",
    metadata,
    Column("bulk_id", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("case_id", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("release_id", Text),
    Column("at", Double),
    PrimaryKeyConstraint("bulk_id", "place"),
    Index("rj_bulk_items_state", "bulk_id", "state", "place"),
)
"""The cases that a bulk action was frozen to, each with the version it had then, and what became
of each."""

told = Table(
    "rj_told",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Index("rj_told_at", "at"),
    sqlite_with_rowid=False,
)
"""What the notifier has told, by channel and failure: a crash before an ack tells nothing twice."""

cancelled = Table(
    "rj_cancelled",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("namespace", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("grace", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Index("rj_cancelled_log", "namespace", "id"),
    Index("rj_cancelled_value", "namespace", "kind", "value"),
    Index("rj_cancelled_until", "until"),
    sqlite_autoincrement=True,
)
"""Jobs and tags that somebody asked to end: a log, read by the numbers of its rows."""
rates = Table(
    "rj_rates",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("next_at", Double, nullable=False),
    Column("tail_at", Double, nullable=False),
    sqlite_with_rowid=False,
)
"""Where each fleet-wide rate stands: when its next start is free, and the next place to wait."""

leases = Table(
    "rj_leases",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("attempt", BigInteger, nullable=False),
    Column("token", Text, nullable=False),
    Column("until", Double, nullable=False),
    Index("rj_leases_job", "job_id", "namespace"),
    Index("rj_leases_until", "until"),
    sqlite_with_rowid=False,
)
"""Who holds a concurrency key, and until when if he does not renew it; ``token`` is his taking."""

web_sessions = Table(
    "rj_web_sessions",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("id_hash", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("login", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Column("expires", Double, nullable=False),
    PrimaryKeyConstraint("namespace", "id_hash"),
    Index("rj_web_sessions_expires", "expires"),
    sqlite_with_rowid=False,
)
"""Who is logged in at the web pages: ``id_hash`` is of the cookie, ``login`` of the password's hash
that let him in, so that a new password ends what the old one began."""

web_tokens = Table(
    "rj_web_tokens",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("token_hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("seen", Double),
    Column("expires", Double, nullable=False),
    PrimaryKeyConstraint("namespace", "id"),
    Index("rj_web_tokens_hash", "token_hash", unique=True),
    sqlite_with_rowid=False,
)
"""Tokens of the HTTP API, by hash. Each acts as ``who``, with ``role`` at most."""

LIVE_STATES = ("open", "releasing", "released")
"""States of a case in which something may still happen to its job."""

RELEASED_STATES = ("releasing", "released")
"""States of a case whose job is on its way by a person's word."""
