"""Run Alembic on the tickets database, in the transaction that `ticketing.chassis.migrations` has opened."""

from alembic import context

from ticket_service.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
