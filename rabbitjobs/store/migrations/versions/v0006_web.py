"""The web pages of the desk: who is logged in, and the tokens of the HTTP API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; runs inside the transaction that holds the migration lock."""
    op.create_table(
        "rj_web_sessions",
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("id_hash", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("login", sa.Text, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "id_hash"),
        sqlite_with_rowid=False,
    )
    op.create_index("rj_web_sessions_expires", "rj_web_sessions", ["expires"])
    op.create_table(
        "rj_web_tokens",
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("seen", sa.Double),
        sa.Column("expires", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "id"),
        sqlite_with_rowid=False,
    )
    op.create_index("rj_web_tokens_hash", "rj_web_tokens", ["token_hash"], unique=True)
