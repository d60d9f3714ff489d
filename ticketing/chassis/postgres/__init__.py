"""A real PostgreSQL in a directory, shared by the processes that hold a lease on it.

A service takes a `Lease`; a keeper process of its own runs the server while any lease is held and stops it after the
last. Every claim is a lock of the kernel's, so `kill -9` of anyone counts as leaving. Linux; macOS has no
way to end a server with its keeper, so there a server whose keeper was killed must be stopped by hand.
"""

from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.lease import Lease

__all__ = ["EmbeddedPostgresError", "Lease"]
