"""The cancellations: the jobs and tags that somebody asked to end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; runs inside the transaction that holds the migration lock."""
    op.create_table(
        "rj_cancelled",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("grace", sa.Double, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("rj_cancelled_log", "rj_cancelled", ["namespace", "id"])
    op.create_index("rj_cancelled_value", "rj_cancelled", ["namespace", "kind", "value"])
    op.create_index("rj_cancelled_until", "rj_cancelled", ["until"])
