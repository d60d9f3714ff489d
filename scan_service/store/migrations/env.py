"""Where Alembic meets the scans database; `ticketing.chassis.migrations` opens the transaction and hands it over."""

from alembic import context

from scan_service.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
