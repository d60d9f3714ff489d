"""Where Alembic meets the tickets database; `ticketing.chassis.migrations` opens the transaction and hands it over."""

from alembic import context

from ticket_service.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
