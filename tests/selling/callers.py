"""The callers of use cases."""

from ticketing.chassis.callers import Caller, Role

ALICE, BOB = (Caller(name, frozenset({Role.USER})) for name in ("alice", "bob"))
OLGA, OSCAR = (Caller(name, frozenset({Role.ORGANIZER})) for name in ("olga", "oscar"))
