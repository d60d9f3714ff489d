"""What an operator gets: the objects of every organizer, and nothing that admits a person, pays, or acts for a device."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from scan_service.policy import POLICY as SCANS
from scan_service.store import tables as scan_tables
from tests.contract.matrix_requests import REQUESTS
from tests.contract.matrix_world import FOREIGN, OWN, RPCS, SHOP, Metadata, World, call_by_path
from tests.environment.databases import execute
from tests.environment.refusals import refusal
from tests.selling.shop import Shop, money, new_id
from ticket_service.policy import POLICY as TICKETS
from ticketing.chassis.callers import Role
from ticketing.chassis.policy import method_path
from ticketing.scans.v1 import scan_service_pb2
from ticketing.tickets.v1 import (
    change_pb2,
    change_service_pb2,
    event_pb2,
    event_service_pb2,
    purchase_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
)
from ticketing.tickets.v1.change_service_pb2_grpc import ChangeServiceStub
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

OPERATED: Final = {name: rpc for name, rpc in RPCS.items() if Role.OPERATOR in {**TICKETS, **SCANS}[method_path(rpc)]}
# The names by which fields that may open a gate, pay, or act for a device are found.
SUSPICIOUS: Final = re.compile(r"code|token|secret|pass|qr|key|content|digest|credential|url|cookie|signature")
# Every such field of an answer to an operator: always empty, shortened, or no secret at all.
EMPTY, SHORT, PUBLIC = "empty", "short", "public"
FIELDS: Final = {
    "tickets.v1.Ticket.code": EMPTY,
    "tickets.v1.Ticket.token": EMPTY,
    "tickets.v1.Ticket.qr_code_url": EMPTY,
    "tickets.v1.Payment.client_secret": EMPTY,
    "scans.v1.Scan.code": SHORT,
    "tickets.v1.Payment.decline_code": PUBLIC,
    "tickets.v1.Money.currency_code": PUBLIC,
    "tickets.v1.Event.image_url": PUBLIC,
    # The metadata of a purchase, a scan or an event belongs to its callers.
    "google.protobuf.Struct.FieldsEntry.key": PUBLIC,
}
CREDENTIALS: Final = {
    "a code": re.compile(rb"TKT-[0-9A-F]{16}"),
    "a token": re.compile(rb"T1[A-Z2-7]{40}"),
    "a picture": re.compile(rb"data:image|PNG"),
    "a client secret": re.compile(rb"_secret_"),
    "a device token": re.compile(rb"device_[A-Za-z0-9_-]{20}"),
    "an enrollment code": re.compile(rb"[A-Z2-7]{4}-[A-Z2-7]{4}-[A-Z2-7]{4}-[A-Z2-7]{4}"),
}


def fields_of(descriptor: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Yield the fields of a message and of the messages inside it, each message once."""
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field
        if field.message_type is not None:
            yield from fields_of(field.message_type, seen)


def set_fields(message: Message) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of every field that is set, also inside other messages."""
    for field, value in message.ListFields():
        values = value if field.is_repeated and hasattr(value, "__iter__") else [value]
        for one in values:
            yield field.full_name.removeprefix("ticketing."), one
            if isinstance(one, Message):
                yield from set_fields(one)


def test_every_field_that_may_be_a_secret_is_known_to_this_test() -> None:
    found = {
        field.full_name.removeprefix("ticketing.")
        for rpc in OPERATED.values()
        for field in fields_of(rpc.output_type, set())
        if field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
        and SUSPICIOUS.search(field.name)
        and field.name != "next_page_token"
    }
    assert found == set(FIELDS)


def test_an_operator_reaches_no_call_that_returns_a_credential() -> None:
    refused = {
        *("EventService/CreateEvent", "EventService/PublishEvent", "PurchaseService/PurchaseTickets"),
        *("PurchaseService/ConfirmPurchase", "PurchaseService/CorrectEmail", "TicketService/RenderTicket"),
        *("TicketService/TransferTicket", "ErasureService/Erase", "ScanService/ScanTicket", "ScanService/StreamScans"),
        *("ScanService/ValidateTicket", "ScanService/WatchAdmissions", "ScanService/LookUpTickets"),
        *("ScanService/GetHolder", "DeviceService/CreateDevice"),
    }
    assert refused <= set(RPCS)
    assert refused.isdisjoint(OPERATED)


async def secrets_in(answer: bytes, rpc: MethodDescriptor) -> list[str]:
    """Return the credentials in an answer, by their forms and by the fields that have to be empty."""
    found = [name for name, form in CREDENTIALS.items() if form.search(answer)]
    message = GetMessageClass(rpc.output_type)()
    message.ParseFromString(answer)
    for name, value in set_fields(message):
        if FIELDS.get(name) == EMPTY:
            found.append(name)
        if FIELDS.get(name) == SHORT and not str(value).endswith(("…", ")")):
            found.append(name)
    return found


async def planted(world: World, side: str) -> dict[str, tuple[MethodDescriptor, Message]]:
    """Make the objects that have secrets; return further calls about them."""
    held = await world.hold(side)
    secret = f"UPDATE purchases SET client_secret = 'pi_1_secret_2' WHERE purchase_id = '{held}'"
    execute(world.tickets_url, secret)
    scan_id, shown = await world.scan(side), await world.shown(side)
    keys = {"event_id": shown.event_id, "kind": "INVALID_ADMISSION", "subject": shown.ticket_id}
    world.copy.insert(
        scan_tables.incidents,
        **keys,
        incident_id=new_id(),
        ticket_id=shown.ticket_id,
        create_time=world.shop.now,
        reported=False,
    )
    world.copy.insert(scan_tables.incident_scans, **keys, scan_id=scan_id)
    full: Any = {"view": ticket_pb2.TICKET_VIEW_FULL}
    event_id, at_gate = await world.event(side), str(shown.event_id)
    return {
        "a held purchase": (
            RPCS["PurchaseService/GetPurchase"],
            purchase_service_pb2.GetPurchaseRequest(purchase_id=held),
        ),
        "a full ticket": (
            RPCS["TicketService/GetTicket"],
            ticket_service_pb2.GetTicketRequest(ticket_id=await world.ticket(side), **full),
        ),
        "full tickets": (
            RPCS["TicketService/ListTickets"],
            ticket_service_pb2.ListTicketsRequest(event_id=event_id, **full),
        ),
        "the scans": (RPCS["ScanService/ListScans"], scan_service_pb2.ListScansRequest(event_id=at_gate)),
        "the incidents": (RPCS["ScanService/ListIncidents"], scan_service_pb2.ListIncidentsRequest(event_id=at_gate)),
    }


async def answer_of(world: World, rpc: MethodDescriptor, request: Message, metadata: Metadata) -> bytes:
    channel = world.scans if ".scans." in rpc.full_name else world.tickets
    return await call_by_path(channel, rpc, request, metadata)


# The whole installation serves one test of some seconds.
@pytest.mark.slow
async def test_no_answer_to_an_operator_contains_a_credential(world: World) -> None:
    """The operator has the subject of the buyer, so that every object is the operator's own in name."""
    operator = world.issuer.metadata("operator", "alice")
    found, without = dict[str, list[str]](), set[str]()
    for name, ask in REQUESTS.items():
        rpc = RPCS[name.partition(" ")[0]]
        if rpc not in OPERATED.values() or name == "EventService/UpdateEvent":
            continue
        answer = await answer_of(world, rpc, await ask(world, OWN), operator)
        found[name] = await secrets_in(answer, rpc)
        world.made.clear()
        if not answer:
            without.add(name)
    calls = await planted(world, OWN)
    for name, (rpc, request) in calls.items():
        found[name] = await secrets_in(await answer_of(world, rpc, request, operator), rpc)
        # The same answer to a service proves that there was something to find.
        by = world.issuer.metadata(*(("scanner", "sam") if ".scans." in rpc.full_name else SHOP))
        assert await secrets_in(await answer_of(world, rpc, request, by), rpc) != [], name
    assert {name: secrets for name, secrets in found.items() if secrets} == {}
    assert without <= {
        *("TicketService/ConfirmRefund", "ScanService/ListIncidents"),
        *("EventService/PreviewEventCancellation", "EventService/GetEventSales"),
    }
    await a_second_role_opens_nothing(world)
    await the_own_event_of_an_organizer_stays_open(world)
    await an_operator_moves_an_event_and_changes_no_price(world)
    await searches_for_persons_are_recorded(world)


async def a_second_role_opens_nothing(world: World) -> None:
    """A caller who is an operator and a user gets, transfers and corrects only what is the user's."""
    by = world.issuer.metadata(subject="alice", roles=["operator", "user"])
    tickets, foreign = TicketServiceStub(world.tickets), await world.ticket(FOREIGN)
    got = await tickets.GetTicket(ticket_service_pb2.GetTicketRequest(ticket_id=foreign), metadata=by)
    assert (got.ticket.ticket_id, got.ticket.code, got.ticket.token) == (foreign, "", "")
    transfer = ticket_service_pb2.TransferTicketRequest(ticket_id=foreign, user_id="alice", request_id=new_id())
    assert (await refusal(tickets.TransferTicket(transfer, metadata=by))).reason == "TICKET_NOT_FOUND"
    drawn = ticket_service_pb2.RenderTicketRequest(ticket_id=foreign)
    assert (await refusal(tickets.RenderTicket(drawn, metadata=by))).reason == "TICKET_NOT_FOUND"
    corrected = purchase_service_pb2.CorrectEmailRequest(
        request_id=new_id(), ticket_id=foreign, email="mallory@example.com"
    )
    assert (await refusal(world.shop.purchases.CorrectEmail(corrected, metadata=by))).reason == "TICKET_NOT_FOUND"
    own = ticket_service_pb2.GetTicketRequest(ticket_id=await world.ticket(OWN))
    assert (await tickets.GetTicket(own, metadata=by)).ticket.code.startswith("TKT-")


async def the_own_event_of_an_organizer_stays_open(world: World) -> None:
    """A caller who is an operator and an organizer gets the codes of the own event alone, and scans without codes."""
    by = world.issuer.metadata(subject="olga", roles=["operator", "organizer"])
    tickets, codes = TicketServiceStub(world.tickets), []
    for side in (OWN, FOREIGN):
        got = ticket_service_pb2.GetTicketRequest(ticket_id=await world.ticket(side))
        codes.append((await tickets.GetTicket(got, metadata=by)).ticket.code[:4])
    assert codes == ["TKT-", ""]
    await world.scan(FOREIGN)
    scans = RPCS["ScanService/ListScans"]
    request = scan_service_pb2.ListScansRequest(event_id=(await world.gate(FOREIGN)).event_id)
    assert await secrets_in(await answer_of(world, scans, request, by), scans) == []


async def an_operator_moves_an_event_and_changes_no_price(world: World) -> None:
    by = world.issuer.metadata("operator", "opal")
    changed = event_pb2.Event(event_id=await world.event(OWN), location="Big hall", ticket_price=money(0))
    request = event_service_pb2.UpdateEventRequest(event=changed)
    request.update_mask.paths.extend(["location", "ticket_price"])
    assert (await refusal(world.shop.events.UpdateEvent(request, metadata=by))).reason == "FORBIDDEN"
    del request.update_mask.paths[1]
    assert (await world.shop.events.UpdateEvent(request, metadata=by)).event.location == "Big hall"
    [change] = await changes(world, event_id=changed.event_id, page_size=1)
    assert (change.kind, change.caller, list(change.roles)) == (
        change_pb2.CHANGE_KIND_EVENT_UPDATED,
        "opal",
        ["operator"],
    )


async def searches_for_persons_are_recorded(world: World) -> None:
    by = world.issuer.metadata("operator", "searching-opal")
    event = await world.shop.on_sale()
    named: Any = {"metadata": {"holder_name": "Anna Søndergård"}, "email": "anna@example.com"}
    await world.shop.buy(event.event_id, SHOP, **named)
    tickets = TicketServiceStub(world.tickets)
    lists: list[Any] = [
        (tickets.ListTickets, ticket_service_pb2.ListTicketsRequest(event_id=event.event_id, holder="søndergård anna")),
        (tickets.ListTickets, ticket_service_pb2.ListTicketsRequest(email="ANNA@example.com")),
        (world.shop.purchases.ListPurchases, purchase_service_pb2.ListPurchasesRequest(email="anna@example.com")),
        (tickets.ListCancellations, ticket_service_pb2.ListCancellationsRequest(user_id="anna")),
        (tickets.ListTickets, ticket_service_pb2.ListTicketsRequest(event_id=event.event_id)),
    ]
    for call, request in lists:
        await call(request, metadata=by)
    found = await changes(world, caller="searching-opal")
    assert {change.kind for change in found} == {change_pb2.CHANGE_KIND_PERSON_SEARCHED}
    details = [(one.details["rpc"], list(one.details["by"]), one.details["results"]) for one in reversed(found)]  # type: ignore[arg-type]  # a list
    assert details == [
        ("ListTickets", ["holder"], 1),
        ("ListTickets", ["email"], 1),
        ("ListPurchases", ["email"], 1),
        ("ListCancellations", ["user_id"], 0),
    ]
    assert found[-1].event_id == event.event_id
    # An organizer does not learn which other persons an operator searches for.
    assert await changes(world, by=Shop.OLGA, caller="searching-opal") == found[-1:]
    user = ticket_service_pb2.ListTicketsRequest(event_id=event.event_id, holder="anna")
    assert (await refusal(tickets.ListTickets(user, metadata=world.shop.metadata()))).reason == "FORBIDDEN"


async def changes(world: World, by: tuple[str, str] = ("operator", "opal"), **asked: Any) -> list[change_pb2.Change]:
    request = change_service_pb2.ListChangesRequest(**asked)
    answer = await ChangeServiceStub(world.tickets).ListChanges(request, metadata=world.issuer.metadata(*by))
    return list(answer.changes)
