"""Parsing of the requests of DeviceService, and conversion of devices to messages."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from scan_service.convert.callers import own_organizer
from scan_service.convert.enums import TICKET_TYPES
from scan_service.domain.devices import Device, DeviceQuery, DeviceRequest
from ticketing.admission.scans import Gate
from ticketing.chassis.callers import Caller
from ticketing.chassis.paging import id_position, page_size, page_token
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import device_service_pb2 as pb
from ticketing.scans.v1 import scan_pb2


def read_create(request: pb.CreateDeviceRequest) -> DeviceRequest:
    """Read a CreateDeviceRequest."""
    fields = Fields(request)
    name, event_ids = fields.text("name"), frozenset(fields.uuids("event_ids"))
    device = DeviceRequest(name, event_ids, fields.optional_uuid("request_id"))
    fields.check()
    return device


def read_enroll(request: pb.EnrollDeviceRequest) -> tuple[str, UUID | None]:
    """Read the code and the request_id of an EnrollDeviceRequest."""
    fields = Fields(request)
    code, request_id = fields.text("enrollment_code"), fields.optional_uuid("request_id")
    fields.check()
    return code, request_id


def read_list(request: pb.ListDevicesRequest, caller: Caller) -> DeviceQuery:
    """Read the filter and the page of a ListDevicesRequest."""
    fields = Fields(request)
    organizer_id, event_id = fields.text("organizer_id"), fields.optional_uuid("event_id")
    fields.check()
    after = id_position(request.page_token, _filter(request, caller))
    return DeviceQuery(own_organizer(caller), organizer_id, event_id, page_size(request.page_size), after)


def list_response(
    request: pb.ListDevicesRequest, caller: Caller, devices: Sequence[Device], now: datetime
) -> pb.ListDevicesResponse:
    """Build a page; one device more than its size means that another page follows."""
    size = page_size(request.page_size)
    page, more = devices[:size], devices[size:]
    token = page_token((str(page[-1].device_id),), _filter(request, caller)) if more else ""
    return pb.ListDevicesResponse(devices=[device_message(device, now) for device in page], next_page_token=token)


def _filter(request: pb.ListDevicesRequest, caller: Caller) -> tuple[object, ...]:
    return (caller.subject, request.organizer_id, request.event_id)


def device_message(device: Device, now: datetime | None = None) -> pb.Device:
    """Build the message of a device; the answer to its creation, enrolment and revocation (None) has no connection."""
    until = device.connected_until if device.revoke_time is None else None
    return pb.Device(
        device_id=str(device.device_id),
        name=device.name,
        event_ids=[str(event_id) for event_id in sorted(device.event_ids)],
        create_time=timestamp(device.create_time),
        enroll_time=timestamp(device.enroll_time),
        last_seen_time=timestamp(device.last_seen_time),
        revoke_time=timestamp(device.revoke_time),
        organizer_id=device.organizer_id,
        connected=now is not None and until is not None and until > now,
        gate=None if device.gate is None else _gate_message(device.gate),
        resend_pending=device.resend_pending,
    )


def _gate_message(gate: Gate) -> scan_pb2.Gate:
    return scan_pb2.Gate(
        event_id=str(gate.event_id),
        location=gate.location,
        allowed_ticket_types=[TICKET_TYPES[kind] for kind in sorted(gate.allowed_types)],
    )
