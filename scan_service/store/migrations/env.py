"""The Alembic environment of the scans database; `ticketing.chassis.migrations` passes it a connection."""

from alembic import context

from scan_service.store.tables import metadata

context.configure(
    connection=context.config.attributes.get("connection"),
    dialect_name="postgresql",
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
