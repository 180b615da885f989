"""The schema of a fresh SQLite store in SQL: what the chain of migrations makes of an empty file.

Alembic and SQLAlchemy take a fifth of a second to import, which a worker need not wait for when
there is nothing to migrate. A test holds that both ways make the same tables.
"""

from __future__ import annotations

from typing import Final

VERSION_TABLE: Final = "rj_version"

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision of the schema, oldest first; a test keeps it equal to the migrations."""

_TABLES: Final = """
CREATE TABLE rj_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT rj_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE rj_jobs (
    namespace TEXT NOT NULL, job_id TEXT NOT NULL, job TEXT NOT NULL,
    queue TEXT NOT NULL, status TEXT NOT NULL, attempt BIGINT NOT NULL, result BLOB,
    error_type TEXT, error TEXT, traceback TEXT, progress BLOB,
    enqueued DOUBLE NOT NULL, started DOUBLE, ended DOUBLE, worker TEXT NOT NULL,
    expires DOUBLE, PRIMARY KEY (job_id, namespace)
) WITHOUT ROWID;
CREATE INDEX rj_jobs_expires ON rj_jobs (expires);
CREATE TABLE rj_inbox (
    namespace TEXT NOT NULL, job_id TEXT NOT NULL, attempt BIGINT NOT NULL,
    decision BLOB NOT NULL, release_id TEXT, ended DOUBLE NOT NULL,
    PRIMARY KEY (job_id, namespace, attempt)
) WITHOUT ROWID;
CREATE INDEX rj_inbox_ended ON rj_inbox (ended);
CREATE TABLE rj_unique (
    namespace TEXT NOT NULL, "key" TEXT NOT NULL, job_id TEXT NOT NULL,
    until DOUBLE NOT NULL, PRIMARY KEY (namespace, "key")
) WITHOUT ROWID;
CREATE TABLE rj_outbox (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL,
    queue TEXT NOT NULL, delay DOUBLE, envelope BLOB NOT NULL, created DOUBLE NOT NULL,
    leased_until DOUBLE NOT NULL, lease TEXT, tries INTEGER NOT NULL, error TEXT,
    release_id TEXT, case_id TEXT, ended_as TEXT, ended DOUBLE
);
CREATE INDEX rj_outbox_due ON rj_outbox (namespace, leased_until, id);
CREATE TABLE rj_cases (
    id TEXT NOT NULL, namespace TEXT NOT NULL, version BIGINT NOT NULL,
    state TEXT NOT NULL, outcome TEXT, opened DOUBLE NOT NULL, updated DOUBLE NOT NULL,
    closed DOUBLE, job_id TEXT, attempt BIGINT NOT NULL, job TEXT, queue TEXT,
    message_id TEXT, correlation_id TEXT, trace TEXT, reason TEXT NOT NULL,
    exchange TEXT NOT NULL, routing_key TEXT NOT NULL, source_queue TEXT NOT NULL,
    app_id TEXT, published DOUBLE, priority INTEGER, kind TEXT NOT NULL,
    error_type TEXT NOT NULL, error TEXT NOT NULL, classes TEXT NOT NULL,
    traceback TEXT NOT NULL, rule TEXT NOT NULL, deaths TEXT NOT NULL, envelope BLOB,
    properties BLOB NOT NULL, payload BLOB NOT NULL, payload_hash TEXT NOT NULL,
    search TEXT NOT NULL, release_id TEXT, release_attempt BIGINT, owner TEXT,
    tags TEXT NOT NULL, parent_id TEXT, child_id TEXT,
    fingerprint TEXT DEFAULT '' NOT NULL, seen DOUBLE DEFAULT '0' NOT NULL,
    failures INTEGER DEFAULT '1' NOT NULL, lease_until DOUBLE, snoozed_until DOUBLE,
    deadline DOUBLE, deadline_do TEXT, severity INTEGER DEFAULT '0' NOT NULL,
    audit_hash TEXT, PRIMARY KEY (id)
);
CREATE INDEX rj_cases_job ON rj_cases (namespace, job_id);
CREATE INDEX rj_cases_listed ON rj_cases (namespace, state, id);
CREATE INDEX rj_cases_release ON rj_cases (release_id);
CREATE INDEX rj_cases_by_queue ON rj_cases (namespace, queue, state, id);
CREATE INDEX rj_cases_by_job ON rj_cases (namespace, job, state, id);
CREATE INDEX rj_cases_by_error ON rj_cases (namespace, error_type, state, id);
CREATE INDEX rj_cases_by_group ON rj_cases (namespace, fingerprint, state, id, opened, seen);
CREATE INDEX rj_cases_by_owner ON rj_cases (namespace, owner, state, id);
CREATE INDEX rj_cases_by_update ON rj_cases (namespace, state, updated, id);
CREATE INDEX rj_cases_by_deadline ON rj_cases (namespace, state, deadline, id);
CREATE INDEX rj_cases_by_age ON rj_cases (namespace, state, opened);
CREATE TABLE rj_case_words (
    namespace TEXT NOT NULL, word TEXT NOT NULL, case_id TEXT NOT NULL,
    PRIMARY KEY (namespace, word, case_id)
) WITHOUT ROWID;
CREATE INDEX rj_case_words_case ON rj_case_words (case_id);
CREATE TABLE rj_failures (
    namespace TEXT NOT NULL, failure_id TEXT NOT NULL, case_id TEXT NOT NULL,
    taken DOUBLE NOT NULL, PRIMARY KEY (namespace, failure_id)
);
CREATE INDEX rj_failures_case ON rj_failures (case_id);
CREATE TABLE rj_audit (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, case_id TEXT NOT NULL,
    at DOUBLE NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL,
    before_hash TEXT, after_hash TEXT, version BIGINT NOT NULL, via TEXT, hash TEXT
);
CREATE INDEX rj_audit_case ON rj_audit (case_id, id);
CREATE TABLE rj_told (
    namespace TEXT NOT NULL, "key" TEXT NOT NULL, at DOUBLE NOT NULL,
    PRIMARY KEY (namespace, "key")
) WITHOUT ROWID;
CREATE INDEX rj_told_at ON rj_told (at);
CREATE TABLE rj_cancelled (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL,
    kind TEXT NOT NULL, value TEXT NOT NULL, at DOUBLE NOT NULL, until DOUBLE NOT NULL,
    grace DOUBLE NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL
);
CREATE INDEX rj_cancelled_log ON rj_cancelled (namespace, id);
CREATE INDEX rj_cancelled_value ON rj_cancelled (namespace, kind, value);
CREATE INDEX rj_cancelled_until ON rj_cancelled (until);
CREATE TABLE rj_rates (
    namespace TEXT NOT NULL, "key" TEXT NOT NULL, next_at DOUBLE NOT NULL,
    tail_at DOUBLE NOT NULL, PRIMARY KEY (namespace, "key")
) WITHOUT ROWID;
CREATE TABLE rj_leases (
    namespace TEXT NOT NULL, "key" TEXT NOT NULL, job_id TEXT NOT NULL,
    attempt BIGINT NOT NULL, token TEXT NOT NULL, until DOUBLE NOT NULL,
    PRIMARY KEY (namespace, "key", job_id)
) WITHOUT ROWID;
CREATE INDEX rj_leases_job ON rj_leases (job_id, namespace);
CREATE INDEX rj_leases_until ON rj_leases (until);
CREATE TABLE rj_bulk (
    id TEXT NOT NULL, namespace TEXT NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
    params TEXT NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL, created DOUBLE NOT NULL,
    updated DOUBLE NOT NULL, next_at DOUBLE NOT NULL, total INTEGER NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX rj_bulk_listed ON rj_bulk (namespace, id);
CREATE TABLE rj_bulk_items (
    bulk_id TEXT NOT NULL, place INTEGER NOT NULL, case_id TEXT NOT NULL,
    version BIGINT NOT NULL, state TEXT NOT NULL, outcome TEXT NOT NULL, release_id TEXT,
    at DOUBLE, PRIMARY KEY (bulk_id, place)
);
CREATE INDEX rj_bulk_items_state ON rj_bulk_items (bulk_id, state, place);
CREATE TABLE rj_web_sessions (
    namespace TEXT NOT NULL, id_hash TEXT NOT NULL, who TEXT NOT NULL, login TEXT NOT NULL,
    via TEXT NOT NULL, created DOUBLE NOT NULL, seen DOUBLE NOT NULL, expires DOUBLE NOT NULL,
    PRIMARY KEY (namespace, id_hash)
) WITHOUT ROWID;
CREATE INDEX rj_web_sessions_expires ON rj_web_sessions (expires);
CREATE TABLE rj_web_tokens (
    namespace TEXT NOT NULL, id TEXT NOT NULL, token_hash TEXT NOT NULL, name TEXT NOT NULL,
    who TEXT NOT NULL, role TEXT NOT NULL, made_by TEXT NOT NULL, created DOUBLE NOT NULL,
    seen DOUBLE, expires DOUBLE NOT NULL, PRIMARY KEY (namespace, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX rj_web_tokens_hash ON rj_web_tokens (token_hash);
"""

STATEMENTS: Final = (
    *(statement.strip() for statement in _TABLES.split(";") if statement.strip()),
    f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{REVISIONS[-1]}')",
)
"""What makes an empty SQLite file a store of this release; for one transaction."""
