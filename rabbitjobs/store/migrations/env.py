"""Alembic's entry: runs the chain on the connection that ``rabbitjobs.store.migrate`` holds."""

from __future__ import annotations

from alembic import context

from rabbitjobs.store.fresh import VERSION_TABLE
from rabbitjobs.store.schema import metadata

# The caller holds the transaction and the lock, so every step of the chain commits or none does.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
