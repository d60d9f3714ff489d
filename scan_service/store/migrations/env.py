"""The Alembic environment of the scans database; `ticketing.chassis.migrations` passes it an open transaction."""

from alembic import context

from scan_service.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
