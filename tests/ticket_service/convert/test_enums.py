import pytest

from ticket_service.convert.cancellations import TICKET_OUTCOMES
from ticket_service.convert.enums import ADMISSION_POLICIES, EVENT_STATUSES, EVENT_TYPES, TICKET_TYPES
from ticket_service.convert.purchases import PURCHASE_STATUSES
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2


@pytest.mark.parametrize(
    ("ours", "contract"),
    [
        (EVENT_TYPES, event_pb2.EventType),
        (EVENT_STATUSES, event_pb2.EventStatus),
        (TICKET_TYPES, event_pb2.TicketType),
        (ADMISSION_POLICIES, event_pb2.AdmissionPolicy),
        (PURCHASE_STATUSES, purchase_pb2.PurchaseStatus),
        (TICKET_OUTCOMES, event_service_pb2.TicketOutcome),
    ],
)
def test_the_domain_has_every_value_of_the_contract(ours, contract):
    # UNSPECIFIED has no member.
    assert sorted(ours.values()) == sorted(set(contract.values()) - {0})
