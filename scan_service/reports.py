"""Check-ins told to the ticket service afterwards, until it confirms them; no scan waits for that."""

import asyncio
import logging
from typing import Final

from chassis.database import Database
from chassis.peer import CALL_SECONDS, Peer
from scan_service.convert.times import timestamp
from scan_service.store.reports import CheckIn, mark_reported, unreported
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub

log = logging.getLogger(__name__)

# The contract's bound on one call.
MAX_CHECK_INS: Final = 1_000
# Between two looks where there was nothing to report.
PAUSE_SECONDS: Final = 0.25


class Reports:
    """Reports check-ins.

    Args:
        database: knows what has not been reported.
        peer: the ticket service.
    """

    def __init__(self, database: Database, peer: Peer) -> None:
        self._database = database
        self._peer = peer
        self._stub = TicketFeedServiceStub(peer.channel)

    async def report(self) -> None:
        """Report one batch, or wait a moment where there is none.

        Raises:
            grpc.aio.AioRpcError: the ticket service does not answer.
            Failure: the database does not.
        """
        check_ins = await self._database.run(lambda connection: unreported(connection, MAX_CHECK_INS))
        if not check_ins:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        request = pb.ReportCheckInsRequest(check_ins=[_message(check_in) for check_in in check_ins])
        response = await self._stub.ReportCheckIns(request, timeout=CALL_SECONDS, metadata=self._peer.metadata())
        for conflict in response.conflicts:
            log.warning(
                "a ticket was admitted that cannot be",
                extra={"event_id": conflict.event_id, "ticket_id": conflict.ticket_id, "status": conflict.status},
            )
        await self._database.run(lambda connection: mark_reported(connection, check_ins))


def _message(check_in: CheckIn) -> pb.CheckIn:
    return pb.CheckIn(
        event_id=str(check_in.event_id),
        ticket_id=str(check_in.ticket_id),
        check_in_time=timestamp(check_in.check_in_time),
        sequence=check_in.sequence,
    )
