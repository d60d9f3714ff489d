"""The servicer of GateChangeService."""

from typing import Any

from scan_service.convert.audit_trail import changes_response, read_changes_query
from scan_service.use_cases.audit_trail import AuditTrail
from ticketing.chassis.interceptor import current_caller
from ticketing.scans.v1 import gate_change_service_pb2 as pb
from ticketing.scans.v1.gate_change_service_pb2_grpc import GateChangeServiceServicer


class AuditTrailServicer(GateChangeServiceServicer):
    """Serves GateChangeService."""

    def __init__(self, audit_trail: AuditTrail) -> None:
        self._audit_trail = audit_trail

    async def ListChanges(self, request: pb.ListChangesRequest, _context: Any) -> pb.ListChangesResponse:  # noqa: N802 - the contract's name
        """List changes, newest first."""
        caller = current_caller()
        query = read_changes_query(request, caller)
        return changes_response(request, caller, query, await self._audit_trail.list_changes(query))
