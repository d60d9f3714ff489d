"""The policy of the ticket service, derived from the contract."""

from typing import Final

from ticketing.chassis.interceptor import Policy
from ticketing.chassis.policy import policy_of
from ticketing.tickets.v1 import (
    change_service_pb2,
    erasure_service_pb2,
    event_service_pb2,
    purchase_service_pb2,
    ticket_feed_service_pb2,
    ticket_service_pb2,
)

POLICY: Final[Policy] = policy_of(
    module.DESCRIPTOR
    for module in (
        event_service_pb2,
        purchase_service_pb2,
        ticket_service_pb2,
        change_service_pb2,
        erasure_service_pb2,
        ticket_feed_service_pb2,
    )
)
