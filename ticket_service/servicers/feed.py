"""The servicer of TicketFeedService."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ticket_service.convert import feed as convert
from ticket_service.convert.holders import holder_response, read_holder_request
from ticket_service.convert.look_ups import find_response, read_find
from ticket_service.use_cases import check_ins, gate_devices, incidents
from ticket_service.use_cases.feed import Feed
from ticket_service.use_cases.holders import holder_name
from ticket_service.use_cases.keys import public_keys
from ticket_service.use_cases.look_ups import LookUps
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceServicer


class FeedServicer(TicketFeedServiceServicer):
    """Serves TicketFeedService to the scan service."""

    def __init__(self, database: Database, names: Database, feed: Feed, look_ups: LookUps, clock: Clock) -> None:
        self._database = database
        self._names = names
        self._look_ups = look_ups
        self._feed = feed
        self._clock = clock

    async def WatchTickets(  # noqa: N802 - the contract's name
        self, request: pb.WatchTicketsRequest, _context: Any
    ) -> AsyncIterator[pb.WatchTicketsResponse]:
        """Stream changes until the call ends or this process drains."""
        cursors, max_events = convert.read_watch(request)
        async with aclosing(self._feed.watch(cursors, request.epoch, max_events)) as changes:
            async for epoch, pages in changes:
                yield convert.watch_response(epoch, pages)

    async def GetSigningKeys(self, _request: pb.GetSigningKeysRequest, _context: Any) -> pb.GetSigningKeysResponse:  # noqa: N802 - the contract's name
        """Return every public key."""
        return convert.keys_response(await public_keys(self._database))

    async def ReportCheckIns(self, request: pb.ReportCheckInsRequest, _context: Any) -> pb.ReportCheckInsResponse:  # noqa: N802 - the contract's name
        """Record reports of check-ins."""
        reports = convert.read_check_ins(request)
        conflicts, locked = await check_ins.report(
            self._database, self._clock, reports, skip_locked=request.skip_locked
        )
        return convert.check_ins_response(reports, conflicts, locked)

    async def ReportIncidents(self, request: pb.ReportIncidentsRequest, _context: Any) -> pb.ReportIncidentsResponse:  # noqa: N802 - the contract's name
        """Record reports of incidents."""
        await incidents.report(self._database, self._clock, convert.read_incidents(request))
        return pb.ReportIncidentsResponse()

    async def ListCheckIns(self, request: pb.ListCheckInsRequest, _context: Any) -> pb.ListCheckInsResponse:  # noqa: N802 - the contract's name
        """Return a page of the check-ins of this database."""
        page = convert.read_check_ins_page(request)
        return convert.check_ins_page(await check_ins.list_known(self._database, *page))

    async def ReportDevices(self, request: pb.ReportDevicesRequest, _context: Any) -> pb.ReportDevicesResponse:  # noqa: N802 - the contract's name
        """Store gate devices."""
        await gate_devices.report(self._database, convert.read_devices(request))
        return pb.ReportDevicesResponse()

    async def ListReportedDevices(  # noqa: N802 - the contract's name
        self, request: pb.ListReportedDevicesRequest, _context: Any
    ) -> pb.ListReportedDevicesResponse:
        """Return a page of the gate devices."""
        page = convert.read_devices_page(request)
        return convert.devices_page(await gate_devices.list_reported(self._database, *page))

    async def FindTickets(self, request: pb.FindTicketsRequest, _context: Any) -> pb.FindTicketsResponse:  # noqa: N802 - the contract's name
        """Find tickets for a gate."""
        return find_response(await self._look_ups.find(read_find(request)))

    async def GetTicketHolder(self, request: pb.GetTicketHolderRequest, _context: Any) -> pb.GetTicketHolderResponse:  # noqa: N802 - the contract's name
        """Return the name of a ticket's holder."""
        event_id, ticket_id = read_holder_request(request)
        return holder_response(await holder_name(self._names, event_id, ticket_id))
