"""The caller of an RPC and its roles. Processes that only describe callers load no library of tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from ticketing.chassis.failures import unauthenticated

# The allowance for clocks that differ.
LEEWAY = timedelta(seconds=30)


class Role(StrEnum):
    """A role that a policy may admit to an RPC."""

    USER = "user"
    ORGANIZER = "organizer"
    SCANNER = "scanner"
    SERVICE = "service"
    DEVICE = "device"
    PEER = "peer"
    OPERATOR = "operator"


# The other service proves itself by its secret or certificate, a device by a token that its service issued. A JWT that
# claims one of these roles does not get it.
CLAIMABLE = frozenset(Role) - {Role.PEER, Role.DEVICE}


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of an RPC, as its credential describes it."""

    subject: str
    roles: frozenset[Role]
    email: str = ""
    # The expiry of the credential, at which streams end too; None: it does not expire.
    expire_time: datetime | None = None
    # The owner of a device, and the ids to which the device is restricted; empty: all ids of its owner are allowed.
    owner: str = ""
    bound_to: frozenset[UUID] = frozenset()

    def is_any(self, *roles: Role) -> bool:
        """Return whether the caller has one of `roles`."""
        return not self.roles.isdisjoint(roles)

    def has_expired(self, now: datetime) -> bool:
        """Return whether the credential has expired; LEEWAY allows for clocks that differ."""
        return self.expire_time is not None and now >= self.expire_time + LEEWAY

    def check_expiry(self, now: datetime) -> None:
        """Refuse the next message of a stream whose credential has expired, as UNAUTHENTICATED."""
        if self.has_expired(now):
            raise unauthenticated("the token has expired")


PEER = Caller("peer", frozenset({Role.PEER}))
