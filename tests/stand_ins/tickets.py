"""A stand-in for the ticket service, for tests of the scan service."""

import asyncio

import grpc

from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb
from ticketing.tickets.v1.signing_key_pb2 import SigningKey
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceServicer


class TicketServiceStandIn(TicketFeedServiceServicer):
    """A ticket service that sends the feed of a test and records the reports that it receives."""

    def __init__(self) -> None:
        self.keys: list[SigningKey] = []
        self.pages: asyncio.Queue[feed_pb.WatchTicketsResponse | None] = asyncio.Queue()
        self.watched: list[feed_pb.WatchTicketsRequest] = []
        self.keys_asked = 0
        self.reported: list[feed_pb.CheckIn] = []
        # The number of check-ins in each call.
        self.report_sizes: list[int] = []
        self.conflicts: list[feed_pb.CheckInConflict] = []
        self.accepts_check_ins = True
        self.listed: list[feed_pb.ListCheckInsRequest] = []
        # The numbers of the lists, from 1, that get no answer.
        self.refused_lists: set[int] = set()
        self.page_size = 1_000
        self.devices: dict[str, feed_pb.ReportedDevice] = {}
        # The tickets that another session has locked in the ticket service.
        self.locked_tickets: set[str] = set()
        self.metadata: dict[str, str] = {}
        # All reports, also the refused ones.
        self.reports: list[feed_pb.ReportIncidentsRequest] = []
        self.accepts_incidents = True
        self.metadata_of_incidents: dict[str, str] = {}

        self.found = feed_pb.FindTicketsResponse(allowed=True)
        self.look_ups: list[feed_pb.FindTicketsRequest] = []
        # The time in which the last look-up had to be answered; None: it had no deadline.
        self.seconds_for_look_up: float | None = None
        # Look-ups wait for this event.
        self.may_find = asyncio.Event()
        self.may_find.set()

        self.holder = feed_pb.GetTicketHolderResponse(allowed=True, name="Anna Schmidt")
        self.holder_requests: list[feed_pb.GetTicketHolderRequest] = []
        self.seconds_for_holder: float | None = None

    @property
    def incidents(self) -> list[feed_pb.ReportedIncident]:
        return [incident for report in self.reports for incident in report.incidents]

    async def GetSigningKeys(self, request, context):  # noqa: N802
        self.keys_asked += 1
        return feed_pb.GetSigningKeysResponse(keys=self.keys)

    async def WatchTickets(self, request, context):  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        self.watched.append(request)
        while (page := await self.pages.get()) is not None:
            yield page

    async def ReportCheckIns(self, request, context):  # noqa: N802
        self.reported.extend(request.check_ins)
        self.report_sizes.append(len(request.check_ins))
        if not self.accepts_check_ins:
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        locked = [n for n, check_in in enumerate(request.check_ins) if check_in.ticket_id in self.locked_tickets]
        return feed_pb.ReportCheckInsResponse(conflicts=self.conflicts, locked=locked if request.skip_locked else [])

    async def ListCheckIns(self, request, context):  # noqa: N802
        """Return the latest report of each ticket, in pages."""
        self.listed.append(request)
        if len(self.listed) in self.refused_lists:
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        latest: dict[tuple[str, str], feed_pb.CheckIn] = {}
        for check_in in self.reported:
            key = (check_in.event_id, check_in.ticket_id)
            # An outdated report changes nothing.
            if key not in latest or check_in.sequence > latest[key].sequence:
                latest[key] = check_in
        after = (request.after_event_id, request.after_ticket_id)
        page = [latest[key] for key in sorted(latest) if key > after][: self.page_size]
        return feed_pb.ListCheckInsResponse(check_ins=page)

    async def ReportDevices(self, request, context):  # noqa: N802
        """Keep the latest state of each device."""
        for device in request.devices:
            kept = self.devices.get(device.device_id, device)
            if kept.update_time.ToMicroseconds() <= device.update_time.ToMicroseconds():
                self.devices[device.device_id] = device
        return feed_pb.ReportDevicesResponse()

    async def ListReportedDevices(self, request, context):  # noqa: N802
        after = sorted(device_id for device_id in self.devices if device_id > request.after_device_id)
        return feed_pb.ListReportedDevicesResponse(devices=[self.devices[one] for one in after[: self.page_size]])

    async def ReportIncidents(self, request, context):  # noqa: N802
        self.metadata_of_incidents = dict(context.invocation_metadata())
        self.reports.append(request)
        if not self.accepts_incidents:
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        return feed_pb.ReportIncidentsResponse()

    async def FindTickets(self, request, context):  # noqa: N802
        self.look_ups.append(request)
        self.seconds_for_look_up = context.time_remaining()
        await self.may_find.wait()
        return self.found

    async def GetTicketHolder(self, request, context):  # noqa: N802
        self.holder_requests.append(request)
        self.seconds_for_holder = context.time_remaining()
        await self.may_find.wait()
        return self.holder
