"""Runs migrations over the connection that `paiid.core.migrate` hands in; there is no other way in."""

from alembic import context

from paiid.core.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    render_as_batch=False,
)
with context.begin_transaction():
    context.run_migrations()
