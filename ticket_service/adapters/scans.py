"""The scan service, as far as this one needs it: to take admission rights back."""

import logging
from collections.abc import Sequence
from uuid import UUID

import grpc
import grpc.aio

from ticket_service.convert.revocations import read_outcomes, revoke_request
from ticket_service.domain.refusals import scan_service_unavailable
from ticket_service.domain.revocations import Outcome, Revocation
from ticketing.chassis.failures import Failure
from ticketing.chassis.peer_client import CALL_SECONDS, PeerClient
from ticketing.scans.v1.revocation_service_pb2 import RevokeEventRequest
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub

log = logging.getLogger(__name__)


class RemoteScans:
    """Calls the scan service.

    Args:
        peer: the way to it.
    """

    def __init__(self, peer: PeerClient) -> None:
        self._peer = peer

    async def revoke(self, event_id: UUID, revocations: Sequence[Revocation]) -> list[Outcome]:
        """Take the admission rights of the tickets back; one outcome for each, in order.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE: it is not known whether they were; ask again.
        """
        request = revoke_request(event_id, revocations)
        try:
            response = await RevocationServiceStub(self._peer.channel).RevokeTickets(
                request, timeout=CALL_SECONDS, metadata=self._peer.metadata()
            )
            return read_outcomes(response, revocations)
        except grpc.aio.AioRpcError as error:
            raise _unanswered(error, event_id) from error
        except ValueError as error:
            log.exception("the scan service answered something else", extra={"event_id": event_id})
            raise scan_service_unavailable() from error

    async def close_gates(self, event_id: UUID) -> None:
        """Make sure that no gate admits to the event any more.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE: it is not known whether one does; ask again.
        """
        request = RevokeEventRequest(event_id=str(event_id))
        try:
            await RevocationServiceStub(self._peer.channel).RevokeEvent(
                request, timeout=CALL_SECONDS, metadata=self._peer.metadata()
            )
        except grpc.aio.AioRpcError as error:
            raise _unanswered(error, event_id) from error


def _unanswered(error: grpc.aio.AioRpcError, event_id: UUID) -> Failure:
    # Whatever it was, only a later answer settles it; anything but an outage also needs a person.
    outage = error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    level = logging.WARNING if outage else logging.ERROR
    log.log(level, "the scan service did not revoke", extra={"code": error.code().name, "event_id": event_id})
    return scan_service_unavailable()
