"""An incident of offline gates reaches the webhook once, also after an outage of the ticket service."""

import asyncio
import signal
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from nacl.signing import SigningKey
from sqlalchemy.engine import URL

from tests.e2e.service_pair import NewServicePair, ServicePair, buy, new_gate, on_sale
from tests.environment.waiting import eventually, until
from tests.scanning.gates import token_of
from tests.stand_ins.webhook import SECRET, Hook, listening
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import ticket_pb2

pytestmark = pytest.mark.slow


def deliver(pair: ServicePair, event_id: str, code: str, location: str) -> None:
    """Upload an offline check-in as a device."""
    decision = scan_service_pb2.OfflineDecision(
        verdict=scan_pb2.VERDICT_ADMITTED, scan_time=timestamp(datetime.now(UTC))
    )
    scan = scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=code, offline=decision)
    sent = [
        scan_service_pb2.StreamScansRequest(open=scan_pb2.Gate(event_id=event_id, location=location)),
        scan_service_pb2.StreamScansRequest(upload=scan_service_pb2.Upload(scans=[scan])),
    ]
    _, answer = pair.caller("scanner", location).stream(iter(sent))
    assert answer.uploaded.results[0].offline


def incident_kinds(pair: ServicePair, event_id: str) -> list[int]:
    """Return the kinds of the incidents that the scan service has recorded."""
    organizer = pair.caller("organizer", "alice")
    request = scan_service_pb2.ListIncidentsRequest(event_id=event_id)
    return [incident.kind for incident in organizer.ask(organizer.scans.ListIncidents, request).incidents]


def admit_twice_offline(pair: ServicePair) -> ticket_pb2.Ticket:
    """Sell a ticket that two offline devices admit while the ticket service is down."""
    pair.start("ticket_service")
    pair.start("scan_service")
    event = on_sale(pair.caller("organizer", "alice"))
    ticket = buy(pair.caller("service", "shop"), event).tickets[0]
    new_gate(pair, event.event_id).close()
    pair.stop("ticket_service", signal.SIGKILL)
    for location in ("North", "South"):
        deliver(pair, event.event_id, ticket.token, location)
    eventually(lambda: incident_kinds(pair, event.event_id), [scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION])
    pair.start("ticket_service")
    return ticket


def forge(pair: ServicePair, event_id: str) -> None:
    """Scan a token without a valid signature twice."""
    gate, token = new_gate(pair, event_id), token_of(SigningKey.generate(), uuid.UUID(event_id), uuid.uuid4())
    for _ in range(2):
        assert gate.scan(token).denial_reason == scan_pb2.DENIAL_REASON_INVALID_SIGNATURE
    gate.close()


async def test_a_double_admission_is_reported_once_after_an_outage(
    new_pair: NewServicePair, tickets_url: URL, scans_url: URL
) -> None:
    async with listening(Hook()) as hook:
        receiver = {"TICKETS_WEBHOOK_URL": hook.url, "TICKETS_WEBHOOK_SECRET": SECRET}
        pair = new_pair(tickets_url, scans_url, TICKETS_RELAY="built-in", **receiver)

        def incidents() -> dict[str, dict[str, Any]]:
            events = [post.event for post in hook.taken]
            return {one["data"]["kind"]: one for one in events if one["type"] == "ticketing.incident"}

        ticket = await asyncio.to_thread(admit_twice_offline, pair)
        await until(lambda: "DOUBLE_ADMISSION" in incidents())
        # A third upload belongs to the same incident; a later incident is delivered later.
        await asyncio.to_thread(deliver, pair, ticket.event_id, ticket.token, "West")
        await asyncio.to_thread(forge, pair, ticket.event_id)
        await until(lambda: "FORGED_TOKEN" in incidents())
        assert hook.kinds().count("ticketing.incident") == 2
        double, forged = incidents()["DOUBLE_ADMISSION"], incidents()["FORGED_TOKEN"]
        assert (double["data"]["event_id"], double["data"]["ticket_id"]) == (ticket.event_id, ticket.ticket_id)
        assert (double["data"]["scan_count"], double["data"]["location"]) == (2, "South")
        assert double["id"] == double["data"]["incident_id"]
        assert double["partitionkey"] == double["data"]["purchase_id"]
        assert "ticket_id" not in forged["data"]
