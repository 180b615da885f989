"""What the processes of a fleet share: rates, and who holds a concurrency key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; runs inside the transaction that holds the migration lock."""
    op.create_table(
        "rj_rates",
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("next_at", sa.Double, nullable=False),
        sa.Column("tail_at", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rj_leases",
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("rj_leases_job", "rj_leases", ["job_id", "namespace"])
    op.create_index("rj_leases_until", "rj_leases", ["until"])
