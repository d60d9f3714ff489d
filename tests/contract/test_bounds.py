"""The services enforce every bound of the contract, and code that needs the same number has the same number."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.matrix_requests import REQUESTS
from tests.contract.matrix_world import OWN, RPCS, World
from tests.environment.access import PEER_METADATA
from tests.environment.refusals import violations_of
from ticket_service.convert.enums import TICKET_TYPES
from ticket_service.domain.events import MAX_PRICE
from ticket_service.settings import read_settings
from ticketing.admission.scans import MAX_CODE
from ticketing.admission.tokens import MAX_ISSUE
from ticketing.chassis import authentication, paging
from ticketing.chassis.bounds import bounds_of
from ticketing.chassis.settings import Environment, SettingsError
from ticketing.options.v1 import options_pb2
from ticketing.scans.v1 import device_service_pb2, revocation_service_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_pb2, purchase_pb2, purchase_service_pb2

INT64 = 2**63 - 1
# Lists that only the size of a message bounds.
UNBOUNDED = {"Gate.allowed_ticket_types", "FindTicketsRequest.roles"}
# A text that each format refuses; any text can be searched for, and any is an id of another program.
REFUSED_BY_FORMAT = {
    options_pb2.FORMAT_NAME: "North\u202e3",
    options_pb2.FORMAT_LINES: "North\x07",
    options_pb2.FORMAT_LANGUAGE_TAG: "german",
    options_pb2.FORMAT_SEARCH: None,
    options_pb2.FORMAT_OPAQUE: None,
}
# A request without an event admits tickets of every event.
OPTIONAL = {("ScanService/ValidateTicket", "gate.event_id")}
# tests/scan_service/test_edges.py tests the messages of the stream.
STREAMED = {"ScanService/StreamScans"}


def bounds_in(field: Any) -> options_pb2.Bounds:
    bounds: options_pb2.Bounds = field.GetOptions().Extensions[options_pb2.bounds]
    return bounds


def own_fields(message: Any, seen: tuple[str, ...] = ()) -> Iterator[Any]:
    """Yield every field that a caller sets, here and in inner messages."""
    for field in message.fields:
        if bounds_in(field).output_only:
            continue
        yield field
        inner = field.message_type
        if (
            inner is not None
            and not is_map(field)
            and inner.full_name.startswith("ticketing.")
            and inner.full_name not in seen
        ):
            yield from own_fields(inner, (*seen, message.full_name))


def is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def test_every_text_number_and_list_of_a_request_is_bounded() -> None:
    loose = set()
    for rpc in RPCS.values():
        for field in own_fields(rpc.input_type):
            bounds = bounds_in(field)
            bounded = bounds.max_length or bounds.format or bounds.max_items or bounds.max_bytes
            is_number = field.cpp_type in {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}
            is_struct = field.message_type is Struct.DESCRIPTOR
            if is_number:
                bounded = bounds.HasField("minimum")
            if (
                is_number or is_struct or field.is_repeated or field.type == FieldDescriptor.TYPE_STRING
            ) and not bounded:
                loose.add(f"{field.containing_type.name}.{field.name}")
    assert loose == UNBOUNDED


def test_every_text_of_a_request_states_its_format() -> None:
    texts = {
        f"{field.containing_type.name}.{field.name}": bounds_in(field)
        for rpc in RPCS.values()
        for field in own_fields(rpc.input_type)
        if field.type == FieldDescriptor.TYPE_STRING
    }
    assert {name for name, bounds in texts.items() if not bounds.format} == set()
    # A text of unlimited lines would push what follows it off a page.
    of_lines = {name for name, bounds in texts.items() if bounds.format == options_pb2.FORMAT_LINES}
    assert of_lines == {name for name, bounds in texts.items() if bounds.max_lines}
    names = {name for name, bounds in texts.items() if bounds.format == options_pb2.FORMAT_NAME}
    assert {"Event.name", "Gate.location", "CreateDeviceRequest.name", "PurchaseTicketsRequest.user_id"} <= names


def breaches(message: Message, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every way to break one bound of a message: the path of the violation, and a function that breaks the bound."""
    for field in message.DESCRIPTOR.fields:
        bounds, name = bounds_in(field), path + field.name
        if is_map(field):
            continue
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("ticketing."):
            if field.is_repeated:
                if len(getattr(message, field.name)):
                    yield from breaches(getattr(message, field.name)[0], f"{name}[0].")
            elif message.HasField(field.name):
                yield from breaches(getattr(message, field.name), f"{name}.")
        if not bounds.output_only:
            yield from breaches_of(message, field, bounds, name)


def breaches_of(message: Message, field: Any, bounds: options_pb2.Bounds, name: str) -> Iterator[tuple[str, Any]]:
    oneof = field.containing_oneof
    if bounds.required and (oneof is None or message.WhichOneof(oneof.name) == field.name):
        yield name, lambda: message.ClearField(field.name)
    if bounds.max_items:
        yield name, lambda: fill(getattr(message, field.name), bounds.max_items + 1)
    if field.is_repeated:
        return
    if bounds.max_length:
        yield name, lambda: setattr(message, field.name, "x" * (bounds.max_length + 1))
    for refused in refused_texts(bounds):
        yield name, partial(setattr, message, field.name, refused)
    yield from breaches_of_range(message, field, bounds, name)
    if bounds.max_bytes:
        yield name, lambda: getattr(message, field.name).update({"text": "x" * bounds.max_bytes})


def breaches_of_range(message: Message, field: Any, bounds: options_pb2.Bounds, name: str) -> Iterator[tuple[str, Any]]:
    inner = field.message_type
    if inner is None and bounds.HasField("minimum") and bounds.minimum > -INT64:
        yield name, lambda: setattr(message, field.name, bounds.minimum - 1)
    if inner is None and bounds.HasField("maximum") and bounds.maximum < 2**31 - 1:
        yield name, lambda: setattr(message, field.name, bounds.maximum + 1)
    if inner is Timestamp.DESCRIPTOR and bounds.HasField("minimum"):
        yield name, lambda: getattr(message, field.name).FromSeconds(bounds.minimum - 1)
    if inner is not None and inner.name == "Money" and bounds.HasField("maximum"):
        yield f"{name}.minor_units", lambda: price(getattr(message, field.name), bounds.maximum + 1)


def refused_texts(bounds: options_pb2.Bounds) -> Iterator[str]:
    refused = REFUSED_BY_FORMAT.get(bounds.format, "no such format")
    if bounds.format and refused is not None:
        yield refused
    if bounds.max_lines:
        yield "x" + "\n" * bounds.max_lines


def fill(values: Any, count: int) -> None:
    while len(values) < count:
        if hasattr(values, "add"):
            values.add()
        else:
            values.append("x")


def price(money: Any, minor_units: int) -> None:
    money.currency_code, money.minor_units = "EUR", minor_units


def caller_of(world: World, rpc: MethodDescriptor) -> Any:
    roles = rpc.GetOptions().Extensions[options_pb2.access].roles
    if options_pb2.ROLE_PEER in roles:
        return PEER_METADATA
    if list(roles) == [options_pb2.ROLE_SERVICE]:
        return world.issuer.metadata("service", "shop")
    return world.issuer.metadata("organizer", "olga")


async def violated(world: World, rpc: MethodDescriptor, request: Message) -> set[str]:
    """Make a call and return the paths of its violations."""
    channel: Any = world.scans if ".scans." in rpc.full_name else world.tickets
    path, data = f"/{rpc.containing_service.full_name}/{rpc.name}", request.SerializeToString()
    metadata = caller_of(world, rpc)
    try:
        if rpc.server_streaming:
            await channel.unary_stream(path)(data, metadata=metadata, timeout=20).read()
        else:
            await channel.unary_unary(path)(data, metadata=metadata, timeout=20)
    except grpc.aio.AioRpcError as error:
        return set(violations_of(error))
    return set()


async def test_every_bound_of_the_contract_is_enforced(world: World) -> None:
    accepted, count = [], 0
    for name, rpc in RPCS.items():
        if name in STREAMED:
            continue
        # A breach changes its message, so each gets a copy.
        good = await REQUESTS[name](world, OWN)
        for index, (path, _) in enumerate(list(breaches(good))):
            request: Any = type(good)()
            request.CopyFrom(good)
            _, breach = list(breaches(request))[index]
            breach()
            if name == "EventService/UpdateEvent" and path.startswith("event."):
                request.update_mask.paths[:] = [re.split(r"[.[]", path)[1]]
            count += 1
            if path not in await violated(world, rpc, request) and (name, path) not in OPTIONAL:
                accepted.append(f"{name}: {path} #{index}")
    print(f"{count} bounds broken")
    assert "\n".join(accepted) == ""
    assert count > 100


def test_numbers_that_code_or_database_need_are_those_of_the_contract() -> None:
    attempt = scan_service_pb2.ScanAttempt
    order = purchase_service_pb2.PurchaseTicketsRequest
    assert bounds_of(event_pb2.Event, "ticket_price").maximum == MAX_PRICE
    assert bounds_of(event_pb2.TicketOffer, "price").maximum == MAX_PRICE
    assert bounds_of(event_pb2.Event, "offers").max_items == len(TICKET_TYPES)
    assert bounds_of(order, "items").max_items == len(TICKET_TYPES)
    max_total = len(TICKET_TYPES) * bounds_of(purchase_pb2.PurchaseItem, "quantity").maximum * MAX_PRICE
    assert bounds_of(order, "expected_total").maximum == max_total
    assert bounds_of(purchase_service_pb2.ConfirmPurchaseRequest, "paid").maximum == max_total
    assert bounds_of(order, "email").max_length == authentication.MAX_EMAIL_CHARACTERS
    assert bounds_of(order, "user_id").max_length == authentication.MAX_SUBJECT_CHARACTERS
    assert bounds_of(attempt, "code").max_length == MAX_CODE
    assert bounds_of(revocation_service_pb2.Revocation, "issue").maximum == MAX_ISSUE
    assert bounds_of(device_service_pb2.ListDevicesRequest, "page_token").max_length == paging.MAX_TOKEN_CHARACTERS


@pytest.mark.parametrize(("value", "good"), [(1_000, True), (1_001, False)])
def test_the_limit_of_a_purchase_stays_within_that_of_an_offer(value: int, *, good: bool) -> None:
    environment = Environment({"TICKETS_MAX_PER_PURCHASE": str(value)})
    read_settings(environment)
    with pytest.raises(SettingsError) as caught:
        environment.check()
    assert ("TICKETS_MAX_PER_PURCHASE" not in str(caught.value)) == good
    assert bounds_of(event_pb2.TicketOffer, "max_per_purchase").maximum == 1_000
