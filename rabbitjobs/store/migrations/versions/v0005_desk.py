"""The desk: groups, leases, snoozes, deadlines, a chained audit, and bulk actions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CASE_INDEXES = {
    "rj_cases_by_queue": ["namespace", "queue", "state", "id"],
    "rj_cases_by_job": ["namespace", "job", "state", "id"],
    "rj_cases_by_error": ["namespace", "error_type", "state", "id"],
    "rj_cases_by_group": ["namespace", "fingerprint", "state", "id", "opened", "seen"],
    "rj_cases_by_owner": ["namespace", "owner", "state", "id"],
    "rj_cases_by_update": ["namespace", "state", "updated", "id"],
    "rj_cases_by_deadline": ["namespace", "state", "deadline", "id"],
    "rj_cases_by_age": ["namespace", "state", "opened"],
}


def upgrade() -> None:
    """Add the columns and tables; runs inside the transaction that holds the migration lock."""
    for column in _case_columns():
        op.add_column("rj_cases", column)
    # What failed before this release was last seen when it was last touched.
    op.execute("UPDATE rj_cases SET seen = updated")
    for name, columns in _CASE_INDEXES.items():
        op.create_index(name, "rj_cases", columns)
    for added in ("via", "hash"):
        op.add_column("rj_audit", sa.Column(added, sa.Text))
    _words()
    _bulk()
    _bulk_items()


def _case_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("fingerprint", sa.Text, nullable=False, server_default=""),
        sa.Column("seen", sa.Double, nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="1"),
        sa.Column("lease_until", sa.Double),
        sa.Column("snoozed_until", sa.Double),
        sa.Column("deadline", sa.Double),
        sa.Column("deadline_do", sa.Text),
        sa.Column("severity", sa.Integer, nullable=False, server_default="0"),
        sa.Column("audit_hash", sa.Text),
    )


def _words() -> None:
    # A search reads all that begins so: a language's own order of signs would not serve.
    by_bytes = sa.Text(collation="C")
    op.create_table(
        "rj_case_words",
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("word", sa.Text().with_variant(by_bytes, "postgresql"), nullable=False),
        sa.Column("case_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "word", "case_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("rj_case_words_case", "rj_case_words", ["case_id"])


def _bulk() -> None:
    op.create_table(
        "rj_bulk",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("next_at", sa.Double, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
    )
    op.create_index("rj_bulk_listed", "rj_bulk", ["namespace", "id"])


def _bulk_items() -> None:
    op.create_table(
        "rj_bulk_items",
        sa.Column("bulk_id", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("case_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("release_id", sa.Text),
        sa.Column("at", sa.Double),
        sa.PrimaryKeyConstraint("bulk_id", "place"),
    )
    op.create_index("rj_bulk_items_state", "rj_bulk_items", ["bulk_id", "state", "place"])
