"""The policy of the ticket service, derived from the contract."""

from typing import Final

from ticketing.chassis.interceptor import Policy
from ticketing.chassis.policy import changing_methods, policy_of
from ticketing.tickets.v1 import (
    change_service_pb2,
    erasure_service_pb2,
    event_service_pb2,
    purchase_service_pb2,
    ticket_feed_service_pb2,
    ticket_service_pb2,
)

_FILES: Final = [
    module.DESCRIPTOR
    for module in (
        event_service_pb2,
        purchase_service_pb2,
        ticket_service_pb2,
        change_service_pb2,
        erasure_service_pb2,
        ticket_feed_service_pb2,
    )
]
_FEED: Final = "/ticketing.tickets.v1.TicketFeedService"
POLICY: Final[Policy] = policy_of(_FILES)
# The RPCs that are refused while the database is recovered: those that change something, and those that would send the
# restored state to the scan service, which knows more.
REFUSED_IN_RECOVERY: Final = changing_methods(_FILES) | {f"{_FEED}/WatchTickets", f"{_FEED}/GetSigningKeys"}
