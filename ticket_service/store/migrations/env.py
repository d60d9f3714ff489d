"""Run Alembic on the tickets database, on the connection of `ticketing.chassis.migrations`, each migration in a transaction."""

from alembic import context

from ticket_service.store.tables import metadata

context.configure(
    connection=context.config.attributes.get("connection"),
    dialect_name="postgresql",
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
