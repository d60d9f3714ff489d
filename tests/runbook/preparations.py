"""The situation in which an operator opens each recipe: a function per recipe that returns the variables of its shell."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import grpc
import psycopg2
import pytest

from dev.clients import GateClient
from tests.environment.waiting import eventually
from tests.runbook.site import Site, new_id
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_service_pb2
from ticketing.tickets.v1 import event_service_pb2, ticket_service_pb2

Prepare = Callable[[Site], dict[str, str]]
PREPARATIONS: dict[str, Prepare] = {}


def before(recipe: str) -> Callable[[Prepare], Prepare]:
    """Register the preparation of a recipe."""

    def register(prepare: Prepare) -> Prepare:
        PREPARATIONS[recipe] = prepare
        return prepare

    return register


def later(**fields: Any) -> dict[str, Any]:
    """Return the fields of an event whose doors open in May 2030."""
    times = {
        "doors_open_time": datetime(2030, 5, 1, 17, tzinfo=UTC),
        "start_time": datetime(2030, 5, 1, 18, tzinfo=UTC),
        "end_time": datetime(2030, 5, 1, 22, tzinfo=UTC),
    }
    return {name: timestamp(value) for name, value in times.items()} | fields


@before("See who scans where")
def two_gates(site: Site) -> dict[str, str]:
    event = site.on_sale()
    [ticket] = site.buy(event).tickets
    for name in ("Turnstile 3", "Handheld 12"):
        _, token = site.enroll(name)
        gate = GateClient(site.client_with(token), event.event_id)
        if name == "Turnstile 3":
            gate.close()
    gate.scan(ticket.token)
    site.pair.stack.callback(gate.close)
    devices = f"SELECT count(*) FROM devices WHERE gate_event_id = '{event.event_id}'"
    eventually(lambda: site.value("SCANS", f"{devices} AND connected_until > now()"), 1)
    eventually(lambda: site.value("SCANS", devices), 2)
    return {"EVENT": event.event_id}


@before("Find out why a scan was denied")
def denied_guest(site: Site) -> dict[str, str]:
    event = site.on_sale()
    [ticket] = site.buy(event).tickets
    with closing(GateClient(site.client("scanner", "door"), event.event_id)) as gate:
        gate.scan(ticket.code)
        gate.scan(ticket.code)
    return {"EVENT": event.event_id, "CODE": ticket.code}


@before("Find a purchase")
def known_purchase(site: Site) -> dict[str, str]:
    event = site.on_sale()
    site.buy(
        event,
        external_payment_id="bank-4711",
        email="anna@example.com",
        metadata={"holder_name": "Anna Holm"},
    )
    return {"EVENT": event.event_id}


@before("See who changed something")
def changed_ticket(site: Site) -> dict[str, str]:
    event = site.on_sale()
    [ticket] = site.buy(event).tickets
    with closing(GateClient(site.client("scanner", "door"), event.event_id)) as gate:
        scan = gate.scan(ticket.token)
    alice = site.client("organizer", "alice")
    alice.ask(alice.scans.AnnulScan, scan_service_pb2.AnnulScanRequest(scan_id=scan.scan_id))
    request = ticket_service_pb2.SetTicketBlockedRequest(ticket_id=ticket.ticket_id, blocked=True)
    alice.ask(alice.tickets.SetTicketBlocked, request)
    return {"TICKET": ticket.ticket_id}


@before("Block a ticket, and release it")
def sold_ticket(site: Site) -> dict[str, str]:
    [ticket] = site.buy(site.on_sale()).tickets
    return {"TICKET": ticket.ticket_id}


@before("Move an event, or stop its sale")
def sold_event(site: Site) -> dict[str, str]:
    event = site.on_sale(max_participants=500, **later())
    site.buy(event, 3)
    return {"EVENT": event.event_id}


@before("Cancel an event")
def event_to_cancel(site: Site) -> dict[str, str]:
    event = site.on_sale()
    purchase = site.buy(event, 3)
    with closing(GateClient(site.client("scanner", "door"), event.event_id)) as gate:
        gate.scan(purchase.tickets[0].token)
    query = f"SELECT count(*) FROM tickets WHERE event_id = '{event.event_id}' AND check_in_time IS NOT NULL"
    eventually(lambda: site.value("TICKETS", query), 1)
    return {"EVENT": event.event_id}


@before("Retry a refund, or settle it by hand")
def refused_refunds(site: Site) -> dict[str, str]:
    event = site.on_sale()
    site.stripe.refuses_refunds = "the balance is too low"
    alice = site.client("organizer", "alice")
    found = []
    for _ in range(2):
        [ticket] = site.buy_by_card(event).tickets
        request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.ticket_id)
        found.append(alice.ask(alice.tickets.CancelTicket, request).cancellation.cancellation_id)
    query = f"SELECT count(*) FROM cancellations WHERE event_id = '{event.event_id}' AND status = 'REFUND_FAILED'"
    eventually(lambda: site.value("TICKETS", query), 2)
    site.stripe.refuses_refunds = ""
    return {"EVENT": event.event_id, "CANCELLATION": found[0], "OTHER": found[1]}


@before("Send notifications again")
def dead_letter(site: Site) -> dict[str, str]:
    site.webhook.status = 500
    purchase = site.buy(site.on_sale())
    query = f"SELECT count(*) FROM deliveries WHERE purchase_id = '{purchase.purchase_id}' AND dead_time IS NOT NULL"
    eventually(lambda: site.value("TICKETS", query), 1)
    site.webhook.status = 204
    query = f"SELECT notification_id::text FROM notifications WHERE purchase_id = '{purchase.purchase_id}'"
    return {"PURCHASE": purchase.purchase_id, "NOTIFICATION": site.value("TICKETS", query)}


@before("Repair a receiver that is down")
def disabled_receiver(site: Site) -> dict[str, str]:
    site.webhook.status = 410
    site.buy(site.on_sale())
    query = "SELECT count(*) FROM receiver_states WHERE disabled_time IS NOT NULL"
    eventually(lambda: site.value("TICKETS", query), 1)
    site.webhook.status = 204
    return {}


@before("Correct an address")
def wrong_address(site: Site) -> dict[str, str]:
    purchase = site.buy(site.on_sale(), email="ana@example.com")
    return {"PURCHASE": purchase.purchase_id}


@before("Change the signing keys")
@before("Check the books")
@before("See whether there are enough processes")
@before("Add a process, or drain one")
@before("Free a full disk")
@before("Delete old scans")
def nothing(site: Site) -> dict[str, str]:
    return {}


@before("Revoke a lost device")
def lost_device(site: Site) -> dict[str, str]:
    device_id, _ = site.enroll("Handheld 12")
    return {"DEVICE": device_id}


@before("End a session that locks an event")
def stuck_event(site: Site) -> dict[str, str]:
    event = site.on_sale()
    url = site.url("TICKETS").set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(url, application_name="psql")
    connection.cursor().execute(f"SELECT * FROM events WHERE event_id = '{event.event_id}' FOR UPDATE")
    site.pair.stack.callback(connection.close)
    return {"PID": str(connection.info.backend_pid)}


@before("Find one call in the logs")
def failed_call(site: Site) -> dict[str, str]:
    bob = site.client("user", "bob")
    metadata = (("authorization", f"Bearer {site.keys.token('user', 'bob')}"), ("x-request-id", "night-7"))
    with pytest.raises(grpc.RpcError):
        bob.tickets.GetTicket(ticket_service_pb2.GetTicketRequest(ticket_id=new_id()), metadata=metadata, timeout=10)
    process = site.pair.running["ticket_service"]
    eventually(lambda: "night-7" in process.log())
    (site.folder / "ticket_service.log").write_text(process.log())
    return {}


@before("See whether the gates have a change")
@before("See how many places are left")
def event_on_sale(site: Site) -> dict[str, str]:
    event = site.on_sale(max_participants=500)
    site.buy(event, 3)
    alice, request = site.client("organizer", "alice"), event_service_pb2.GetGateReplicaRequest(event_id=event.event_id)
    # The replica of a pair that has just started was never complete.
    eventually(lambda: alice.ask(alice.events.GetGateReplica, request).HasField("complete_time"))
    return {"EVENT": event.event_id}


@before("Erase a person")
def person(site: Site) -> dict[str, str]:
    site.buy(site.on_sale(), user_id="eve", email="eve@example.com")
    return {}
