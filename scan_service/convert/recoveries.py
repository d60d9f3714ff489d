"""Conversion of the messages by which this service asks the ticket service after a restore, and asks gate devices."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from scan_service.domain.lost_admissions import ReportedCheckIn
from scan_service.domain.recoveries import ReportedDevice
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb


def check_ins_request(after: tuple[UUID, UUID] | None) -> pb.ListCheckInsRequest:
    """Build the request for the check-ins behind an event and a ticket, or for the first ones."""
    if after is None:
        return pb.ListCheckInsRequest()
    event_id, ticket_id = after
    return pb.ListCheckInsRequest(after_event_id=str(event_id), after_ticket_id=str(ticket_id))


def reported_check_ins(response: pb.ListCheckInsResponse) -> list[ReportedCheckIn]:
    """Read the check-ins of a response."""
    return [
        ReportedCheckIn(
            event_id=UUID(check_in.event_id),
            ticket_id=UUID(check_in.ticket_id),
            check_in_time=(
                check_in.check_in_time.ToDatetime(tzinfo=UTC) if check_in.HasField("check_in_time") else None
            ),
            sequence=check_in.sequence,
        )
        for check_in in response.check_ins
    ]


def devices_request(devices: Sequence[ReportedDevice]) -> pb.ReportDevicesRequest:
    """Build the report of gate devices."""
    return pb.ReportDevicesRequest(
        devices=[
            pb.ReportedDevice(
                device_id=str(device.device_id), update_time=timestamp(device.update_time), state=device.state
            )
            for device in devices
        ]
    )


def devices_page_request(after: UUID | None) -> pb.ListReportedDevicesRequest:
    """Build the request for the gate devices behind an id, or for the first ones."""
    return pb.ListReportedDevicesRequest(after_device_id="" if after is None else str(after))


def reported_devices(response: pb.ListReportedDevicesResponse) -> list[ReportedDevice]:
    """Read the gate devices of a response."""
    return [
        ReportedDevice(
            device_id=UUID(device.device_id),
            update_time=device.update_time.ToDatetime(tzinfo=UTC),
            state=device.state,
        )
        for device in response.devices
    ]
