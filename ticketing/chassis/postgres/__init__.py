"""A real PostgreSQL in a directory, shared by all processes that have a lease on it.

A service acquires a `Lease`. A process of its own, the keeper, runs the server while any lease exists and stops it after
the last one. Every claim is a lock of the kernel, so `kill -9` of any process releases its claims. Only Linux ends a
server with its keeper: on macOS the operator stops the server of a killed keeper by hand.
"""

from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.lease import Lease

__all__ = ["EmbeddedPostgresError", "Lease"]
