"""The client of the ticket service: its feed, its keys, the reports of check-ins and incidents, look-ups, and names."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

import grpc.aio

from scan_service.convert import feed as convert
from scan_service.convert import recoveries as recovery
from scan_service.convert.holders import name_of, name_request
from scan_service.convert.look_ups import find_request, held_tickets
from scan_service.domain.feed import CheckInConflict, CheckInReport, FeedPage, FeedPosition, IncidentReport
from scan_service.domain.look_ups import HeldTickets, LookUp
from scan_service.domain.lost_admissions import ReportedCheckIn
from scan_service.domain.recoveries import ReportedDevice
from ticketing.chassis.failures import dependency_unavailable, peer_refused
from ticketing.chassis.peer_client import CALL_SECONDS, PeerClient
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub

# A feed that is silent for this time has delivered everything: it delivers new changes at once.
SILENCE_SECONDS: Final = 1.0
# A page of a list, for which nobody waits at a gate, may take longer than a call.
LIST_SECONDS: Final = 15.0
# The number of check-ins that are written before the event loop runs other tasks: live scans wait for the whole slice.
SLICE: Final = 128

T = TypeVar("T")


class TicketService:
    """A client of the ticket service; every call raises DEPENDENCY_UNAVAILABLE where it does not answer."""

    def __init__(self, peer: PeerClient) -> None:
        self._peer = peer

    async def signing_keys(self) -> list[dict[str, Any]]:
        """Return the public keys as rows of signing_keys."""
        call = TicketFeedServiceStub(self._peer.channel).GetSigningKeys(
            convert.signing_keys_request(), timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        return convert.key_rows(await _answer(call))

    async def report_check_ins(
        self, check_ins: Sequence[CheckInReport]
    ) -> tuple[list[CheckInConflict], list[CheckInReport]]:
        """Report check-ins; return those that the ticket service does not accept as valid, and those that it recorded.

        The ticket service records no check-in of a ticket that another session has locked.
        """
        request = convert.check_ins_request()
        for begin in range(0, len(check_ins), SLICE):
            convert.add_check_ins(request, check_ins[begin : begin + SLICE])
            await asyncio.sleep(0)
        call = TicketFeedServiceStub(self._peer.channel).ReportCheckIns(
            request, timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        response = await _answer(call)
        locked = frozenset(response.locked)
        recorded = [check_in for n, check_in in enumerate(check_ins) if n not in locked]
        return [convert.conflict_of(conflict) for conflict in response.conflicts], recorded

    async def list_check_ins(self, after: tuple[UUID, UUID] | None) -> list[ReportedCheckIn]:
        """Return the next check-ins that the ticket service has, behind the event and ticket of `after`; none at the end."""
        call = TicketFeedServiceStub(self._peer.channel).ListCheckIns(
            recovery.check_ins_request(after), timeout=LIST_SECONDS, metadata=self._peer.metadata()
        )
        return recovery.reported_check_ins(await _answer(call))

    async def report_devices(self, devices: Sequence[ReportedDevice]) -> None:
        """Report gate devices, which the ticket service keeps."""
        call = TicketFeedServiceStub(self._peer.channel).ReportDevices(
            recovery.devices_request(devices), timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        await _answer(call)

    async def list_devices(self, after: UUID | None) -> list[ReportedDevice]:
        """Return the next gate devices that the ticket service has, behind the id `after`; none at the end."""
        call = TicketFeedServiceStub(self._peer.channel).ListReportedDevices(
            recovery.devices_page_request(after), timeout=LIST_SECONDS, metadata=self._peer.metadata()
        )
        return recovery.reported_devices(await _answer(call))

    async def report_incidents(self, incidents: Sequence[IncidentReport]) -> None:
        """Report incidents; a repeated report has no effect."""
        call = TicketFeedServiceStub(self._peer.channel).ReportIncidents(
            convert.incidents_request(incidents), timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        await _answer(call)

    async def find_tickets(self, look_up: LookUp) -> HeldTickets | None:
        """Find tickets for a gate; return None where the event allows no look-ups."""
        call = TicketFeedServiceStub(self._peer.channel).FindTickets(
            find_request(look_up), timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        return held_tickets(await _answer(call))

    async def holder_name(self, event_id: UUID, ticket_id: UUID) -> str | None:
        """Return the name of a ticket's holder, or None where the event does not allow names."""
        call = TicketFeedServiceStub(self._peer.channel).GetTicketHolder(
            name_request(event_id, ticket_id), timeout=CALL_SECONDS, metadata=self._peer.metadata()
        )
        return name_of(await _answer(call))

    async def watch(self, position: FeedPosition) -> AsyncGenerator[Sequence[FeedPage] | None, None]:
        """Yield the pages after `position`, one or more at a time, and None whenever the feed is silent."""
        # The call has no deadline, because the stream stays open. The channel's pings detect an unreachable peer.
        call = TicketFeedServiceStub(self._peer.channel).WatchTickets(
            convert.watch_request(position), metadata=self._peer.metadata()
        )
        reading: asyncio.Future[Any] | None = None
        try:
            while True:
                # The read continues over a silence, because its cancellation would cancel the call.
                reading = reading or asyncio.ensure_future(_answer(call.read()))
                done, _ = await asyncio.wait({reading}, timeout=SILENCE_SECONDS)
                if not done:
                    yield None
                    continue
                message, reading = reading.result(), None
                if message is grpc.aio.EOF:
                    return
                yield convert.pages_of(message)
        finally:
            call.cancel()
            if reading is not None:
                reading.cancel()
                await asyncio.wait({reading})


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise peer_refused("ticket service") from error
        raise dependency_unavailable("ticket service") from error
