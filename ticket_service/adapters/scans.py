"""Call the scan service to revoke tickets, to read the position of its replica, and to erase persons who scanned."""

import logging
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import grpc
import grpc.aio

from ticket_service.convert.erasures import erase_scanner_request, read_cursor
from ticket_service.convert.gate_replica import position_request, read_position
from ticket_service.convert.revocations import read_outcomes, revoke_event_request, revoke_request
from ticket_service.domain.erasures import ScanCursor
from ticket_service.domain.gate_replica import ReplicaPosition
from ticket_service.domain.refusals import scan_service_unavailable
from ticket_service.domain.revocations import Outcome, Revocation
from ticketing.chassis.failures import Failure
from ticketing.chassis.peer_client import CALL_SECONDS, PeerClient
from ticketing.scans.v1.replica_service_pb2_grpc import ReplicaServiceStub
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub
from ticketing.scans.v1.scanner_service_pb2_grpc import ScannerServiceStub

log = logging.getLogger(__name__)

# Answers that end by themselves: an outage, a restart (CANCELLED), a slow answer, and overload or a locked row.
OUTAGES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class ScanServiceClient:
    """A client of the scan service; its methods raise DEPENDENCY_UNAVAILABLE if the outcome is not known."""

    def __init__(self, peer: PeerClient) -> None:
        self._peer = peer

    async def revoke(self, event_id: UUID, revocations: Sequence[Revocation]) -> list[Outcome | None]:
        """Revoke tickets of an event; return one outcome for each, in order; None: the ticket is locked there."""
        request = revoke_request(event_id, revocations)
        try:
            response = await RevocationServiceStub(self._peer.channel).RevokeTickets(
                request, timeout=CALL_SECONDS, metadata=self._peer.metadata()
            )
            return read_outcomes(response, revocations)
        except grpc.aio.AioRpcError as error:
            raise _unanswered(error, event_id=event_id) from error
        except ValueError as error:
            log.exception("the scan service sent a wrong answer", extra={"event_id": event_id})
            raise scan_service_unavailable() from error

    async def close_gates(self, event_id: UUID) -> None:
        """Revoke all tickets of an event, so that no gate admits any of them."""
        try:
            await RevocationServiceStub(self._peer.channel).RevokeEvent(
                revoke_event_request(event_id), timeout=CALL_SECONDS, metadata=self._peer.metadata()
            )
        except grpc.aio.AioRpcError as error:
            raise _unanswered(error, event_id=event_id) from error

    async def replica_position(self, event_id: UUID) -> ReplicaPosition:
        """Read the position of the replica for one event."""
        try:
            response = await ReplicaServiceStub(self._peer.channel).GetReplicaPosition(
                position_request(event_id), timeout=CALL_SECONDS, metadata=self._peer.metadata()
            )
        except grpc.aio.AioRpcError as error:
            raise _unanswered(error, event_id=event_id) from error
        return read_position(response)

    async def erase_scanner(self, user_id: str, after: ScanCursor | None) -> tuple[int, ScanCursor | None]:
        """Erase a user from the next part of the scans; return the number of erased scans and the new position."""
        try:
            response = await ScannerServiceStub(self._peer.channel).EraseScanner(
                erase_scanner_request(user_id, after), timeout=CALL_SECONDS, metadata=self._peer.metadata()
            )
            return response.erased, read_cursor(response)
        except grpc.aio.AioRpcError as error:
            # The log must not contain the user.
            raise _unanswered(error) from error
        except ValueError as error:
            log.exception("the scan service sent a wrong answer")
            raise scan_service_unavailable() from error


def _unanswered(error: grpc.aio.AioRpcError, **facts: UUID) -> Failure:
    # The caller repeats the call. Any error other than an outage also needs an operator.
    outage = error.code() in OUTAGES
    level = logging.WARNING if outage else logging.ERROR
    log.log(level, "the scan service did not do what it was asked", extra={"code": error.code().name, **facts})
    return scan_service_unavailable()
