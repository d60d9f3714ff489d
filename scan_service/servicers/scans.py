"""The servicer of ScanService."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import grpc.aio

from scan_service.convert.annulments import read_annulment
from scan_service.convert.attempts import AttemptParser
from scan_service.convert.attendance import attendance_message, read_event_id
from scan_service.convert.callers import own_organizer
from scan_service.convert.changes import changes_message
from scan_service.convert.holders import holder_response, read_holder_request
from scan_service.convert.incidents import incidents_response, read_incidents_query
from scan_service.convert.look_ups import look_up_response, read_look_up
from scan_service.convert.scan_list import list_response, read_query
from scan_service.convert.scans import scan_message, scan_message_for, validation_message
from scan_service.domain.changes import read_cursor
from scan_service.gate_stream.stream import Streams
from scan_service.use_cases.admission_watcher import AdmissionWatcher
from scan_service.use_cases.annulments import Annulments
from scan_service.use_cases.attendance import Attendances
from scan_service.use_cases.holders import Holders
from scan_service.use_cases.incidents import Incidents
from scan_service.use_cases.look_ups import LookUps
from scan_service.use_cases.scan_counters import SECONDS
from scan_service.use_cases.scans import Scans
from scan_service.use_cases.validation import Validation
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Attempt, Scan
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.interceptor import current_caller
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceServicer


@dataclass(frozen=True, slots=True)
class UseCases:
    """The use cases that the servicer calls."""

    batcher: Batcher[Attempt, Scan]
    uploads: Batcher[Attempt, Scan]
    streams: Streams
    validation: Validation
    annulments: Annulments
    scans: Scans
    incidents: Incidents
    attendances: Attendances
    admission_watcher: AdmissionWatcher
    look_ups: LookUps
    holders: Holders


class ScansServicer(ScanServiceServicer):
    """Serves ScanService."""

    def __init__(self, use_cases: UseCases, codes: Codes) -> None:
        self._use = use_cases
        self._codes = codes

    async def ScanTicket(self, request: pb.ScanTicketRequest, _context: Any) -> pb.ScanTicketResponse:  # noqa: N802 - the contract's name
        """Decide and record one scan."""
        arrival = perf_counter()
        attempt = AttemptParser(current_caller(), self._codes).read_request(request)
        if attempt.offline is not None:
            return pb.ScanTicketResponse(scan=scan_message(await self._use.uploads.submit(attempt)))
        scan = await self._use.batcher.submit(attempt)
        SECONDS.observe(perf_counter() - arrival)
        return pb.ScanTicketResponse(scan=scan_message(scan))

    # The types of the stubs have no streams that read and write by the context.
    async def StreamScans(  # type: ignore[override]  # noqa: N802 - the contract's name
        self, _requests: object, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Serve a gate's stream."""
        await self._use.streams.run(context, current_caller())

    async def ValidateTicket(self, request: pb.ValidateTicketRequest, _context: Any) -> pb.ValidateTicketResponse:  # noqa: N802 - the contract's name
        """Decide a scan without recording it."""
        attempt, any_event = AttemptParser(current_caller(), self._codes).read_validation(request)
        scan = await self._use.validation.validate(attempt, anywhere=any_event)
        return pb.ValidateTicketResponse(scan=validation_message(scan, anywhere=any_event))

    async def AnnulScan(self, request: pb.AnnulScanRequest, _context: Any) -> pb.AnnulScanResponse:  # noqa: N802 - the contract's name
        """Annul a scan."""
        caller = current_caller()
        scan = await self._use.annulments.annul(read_annulment(caller, request))
        return pb.AnnulScanResponse(scan=scan_message_for(caller, scan))

    async def ListScans(self, request: pb.ListScansRequest, _context: Any) -> pb.ListScansResponse:  # noqa: N802 - the contract's name
        """List recorded scans."""
        caller = current_caller()
        query = read_query(request, caller)
        return list_response(request, caller, query, await self._use.scans.list_scans(query))

    async def ListIncidents(self, request: pb.ListIncidentsRequest, _context: Any) -> pb.ListIncidentsResponse:  # noqa: N802 - the contract's name
        """List incidents."""
        caller = current_caller()
        query = read_incidents_query(request, caller)
        return incidents_response(request, caller, query, await self._use.incidents.list_incidents(query))

    async def GetAttendance(self, request: pb.GetAttendanceRequest, _context: Any) -> pb.GetAttendanceResponse:  # noqa: N802 - the contract's name
        """Count the attendance of an event."""
        caller = current_caller()
        attendance = await self._use.attendances.get(read_event_id(request, caller), own_organizer(caller))
        return pb.GetAttendanceResponse(attendance=attendance_message(attendance))

    async def WatchAttendance(  # noqa: N802 - the contract's name
        self, request: pb.WatchAttendanceRequest, _context: Any
    ) -> AsyncGenerator[pb.WatchAttendanceResponse, None]:
        """Stream the attendance of an event."""
        caller = current_caller()
        watch = self._use.attendances.watch(read_event_id(request, caller), own_organizer(caller))
        async with aclosing(watch) as attendances:
            async for attendance in attendances:
                yield pb.WatchAttendanceResponse(attendance=attendance_message(attendance))

    async def WatchAdmissions(  # noqa: N802 - the contract's name
        self, request: pb.WatchAdmissionsRequest, _context: Any
    ) -> AsyncGenerator[pb.WatchAdmissionsResponse, None]:
        """Stream the data by which a device decides alone."""
        caller, after = current_caller(), read_cursor(request.after_cursor)
        watch = self._use.admission_watcher.watch(read_event_id(request, caller), own_organizer(caller), after)
        async with aclosing(watch) as reads:
            async for changes, rules, now in reads:
                yield changes_message(changes, rules, now)

    async def LookUpTickets(self, request: pb.LookUpTicketsRequest, _context: Any) -> pb.LookUpTicketsResponse:  # noqa: N802 - the contract's name
        """Look up tickets for a person without token and code."""
        return look_up_response(await self._use.look_ups.look_up(read_look_up(request, current_caller())))

    async def GetHolder(self, request: pb.GetHolderRequest, _context: Any) -> pb.GetHolderResponse:  # noqa: N802 - the contract's name
        """Return the name of the holder of a ticket that the caller scanned."""
        return holder_response(await self._use.holders.name(read_holder_request(request, current_caller())))
