from collections.abc import Mapping
from typing import Any

import pytest

from scan_service.convert import enums
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import event_pb2, ticket_pb2

# The feed sends USED as ACTIVE, and EXPIRED is derived when the ticket service reads a ticket.
NOT_REPLICATED = {ticket_pb2.TICKET_STATUS_USED, ticket_pb2.TICKET_STATUS_EXPIRED}


@pytest.mark.parametrize(
    ("members", "contract"),
    [
        (enums.EVENT_STATUSES, event_pb2.EventStatus),
        (enums.ADMISSION_POLICIES, event_pb2.AdmissionPolicy),
        (enums.TICKET_TYPES, event_pb2.TicketType),
        (enums.SCAN_TYPES, scan_pb2.ScanType),
        (enums.VERDICTS, scan_pb2.Verdict),
        (enums.DENIAL_REASONS, scan_pb2.DenialReason),
        (enums.INCIDENT_KINDS, scan_pb2.IncidentKind),
    ],
)
def test_the_domain_has_every_value_of_the_contract(members: Mapping[Any, int], contract: Any) -> None:
    # UNSPECIFIED has no member.
    assert sorted(members.values()) == sorted(set(contract.values()) - {0})


def test_the_domain_has_every_status_that_the_feed_sends() -> None:
    assert set(enums.TICKET_STATUSES.values()) == set(ticket_pb2.TicketStatus.values()) - {0} - NOT_REPLICATED
