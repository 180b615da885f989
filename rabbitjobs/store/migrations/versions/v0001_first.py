"""The first schema: results, inbox, unique keys, outbox, cases with their failures and audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table; runs inside the transaction that holds the migration lock."""
    _jobs()
    _inbox()
    _unique()
    _outbox()
    _cases()
    _failures()
    _audit()


def _jobs() -> None:
    op.create_table(
        "rj_jobs",
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("result", sa.LargeBinary),
        sa.Column("error_type", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("traceback", sa.Text),
        sa.Column("progress", sa.LargeBinary),
        sa.Column("enqueued", sa.Double, nullable=False),
        sa.Column("started", sa.Double),
        sa.Column("ended", sa.Double),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("expires", sa.Double),
        sa.PrimaryKeyConstraint("job_id", "namespace"),
        sqlite_with_rowid=False,
    )
    op.create_index("rj_jobs_expires", "rj_jobs", ["expires"])


def _inbox() -> None:
    op.create_table(
        "rj_inbox",
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("decision", sa.LargeBinary, nullable=False),
        sa.Column("release_id", sa.Text),
        sa.Column("ended", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "namespace", "attempt"),
        sqlite_with_rowid=False,
    )
    op.create_index("rj_inbox_ended", "rj_inbox", ["ended"])


def _unique() -> None:
    op.create_table(
        "rj_unique",
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )


def _outbox() -> None:
    op.create_table(
        "rj_outbox",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("delay", sa.Double),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("leased_until", sa.Double, nullable=False),
        sa.Column("lease", sa.Text),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("release_id", sa.Text),
        sa.Column("case_id", sa.Text),
        sa.Column("ended_as", sa.Text),
        sa.Column("ended", sa.Double),
        sqlite_autoincrement=True,
    )
    op.create_index("rj_outbox_due", "rj_outbox", ["namespace", "leased_until", "id"])


def _cases() -> None:
    op.create_table(
        "rj_cases",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("opened", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("closed", sa.Double),
        sa.Column("job_id", sa.Text),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("job", sa.Text),
        sa.Column("queue", sa.Text),
        sa.Column("message_id", sa.Text),
        sa.Column("correlation_id", sa.Text),
        sa.Column("trace", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("exchange", sa.Text, nullable=False),
        sa.Column("routing_key", sa.Text, nullable=False),
        sa.Column("source_queue", sa.Text, nullable=False),
        sa.Column("app_id", sa.Text),
        sa.Column("published", sa.Double),
        sa.Column("priority", sa.Integer),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("error_type", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("classes", sa.Text, nullable=False),
        sa.Column("traceback", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("deaths", sa.Text, nullable=False),
        sa.Column("envelope", sa.LargeBinary),
        sa.Column("properties", sa.LargeBinary, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("payload_hash", sa.Text, nullable=False),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("release_id", sa.Text),
        sa.Column("release_attempt", sa.BigInteger),
        sa.Column("owner", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("parent_id", sa.Text),
        sa.Column("child_id", sa.Text),
    )
    op.create_index("rj_cases_job", "rj_cases", ["namespace", "job_id"])
    op.create_index("rj_cases_listed", "rj_cases", ["namespace", "state", "id"])
    op.create_index("rj_cases_release", "rj_cases", ["release_id"])


def _failures() -> None:
    op.create_table(
        "rj_failures",
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("failure_id", sa.Text, primary_key=True),
        sa.Column("case_id", sa.Text, nullable=False),
        sa.Column("taken", sa.Double, nullable=False),
    )
    op.create_index("rj_failures_case", "rj_failures", ["case_id"])


def _audit() -> None:
    op.create_table(
        "rj_audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("case_id", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("before_hash", sa.Text),
        sa.Column("after_hash", sa.Text),
        sa.Column("version", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("rj_audit_case", "rj_audit", ["case_id", "id"])
