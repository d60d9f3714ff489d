"""The servicer of ChangeService."""

from typing import Any

from ticket_service.convert.changes import change_message, read_list
from ticket_service.use_cases.changes import Changes
from ticketing.chassis.interceptor import current_caller
from ticketing.chassis.paging import id_position, page_token
from ticketing.tickets.v1 import change_service_pb2 as pb
from ticketing.tickets.v1.change_service_pb2_grpc import ChangeServiceServicer


class ChangeServicer(ChangeServiceServicer):
    """Serves ChangeService."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def ListChanges(self, request: pb.ListChangesRequest, _context: Any) -> pb.ListChangesResponse:  # noqa: N802 - the contract's name
        """List changes, newest first."""
        caller = current_caller()
        query, size = read_list(request)
        bound_to = ["changes", caller.subject, query]
        before = id_position(request.page_token, bound_to)
        found = await self._changes.list(caller, query, before, size + 1)
        response = pb.ListChangesResponse(changes=[change_message(one) for one in found[:size]])
        if len(found) > size:
            response.next_page_token = page_token([str(found[size - 1].change_id)], bound_to)
        return response
