"""Call the scan service to revoke tickets."""

import logging
from collections.abc import Sequence
from uuid import UUID

import grpc
import grpc.aio

from ticket_service.convert.revocations import read_outcomes, revoke_event_request, revoke_request
from ticket_service.domain.refusals import scan_service_unavailable
from ticket_service.domain.revocations import Outcome, Revocation
from ticketing.chassis.failures import Failure
from ticketing.chassis.peer_client import CALL_SECONDS, PeerClient
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub

log = logging.getLogger(__name__)


class ScanServiceClient:
    """A client of the scan service; its methods raise DEPENDENCY_UNAVAILABLE if the outcome is not known."""

    def __init__(self, peer: PeerClient) -> None:
        self._peer = peer

    async def revoke(self, event_id: UUID, revocations: Sequence[Revocation]) -> list[Outcome]:
        """Revoke tickets of an event; return one outcome for each, in order."""
        request = revoke_request(event_id, revocations)
        try:
            response = await RevocationServiceStub(self._peer.channel).RevokeTickets(
                request, timeout=CALL_SECONDS, metadata=self._peer.metadata()
            )
            return read_outcomes(response, revocations)
        except grpc.aio.AioRpcError as error:
            raise _unanswered(error, event_id) from error
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
            raise _unanswered(error, event_id) from error


def _unanswered(error: grpc.aio.AioRpcError, event_id: UUID) -> Failure:
    # The caller repeats the call. Any error other than an outage also needs an operator.
    outage = error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    level = logging.WARNING if outage else logging.ERROR
    log.log(level, "the scan service did not revoke", extra={"code": error.code().name, "event_id": event_id})
    return scan_service_unavailable()
