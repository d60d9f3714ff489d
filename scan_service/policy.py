"""Who may call what: the roles of every RPC of the scan service; what is not named here is denied."""

from collections.abc import Mapping
from typing import Final

from ticketing.chassis.authentication import Role
from ticketing.chassis.interceptor import PUBLIC, Policy

# A scanner is a person or a program at a gate; a service acts for one.
_READERS: Final = frozenset({Role.SCANNER, Role.ORGANIZER, Role.SERVICE})
# A device scans and shows how many are inside; what others did is not for it.
_GATES: Final = _READERS | {Role.DEVICE}
_PEER: Final = frozenset({Role.PEER})
_ORGANIZER: Final = frozenset({Role.ORGANIZER})


def _service(name: str, methods: Mapping[str, frozenset[Role]]) -> Policy:
    return {f"/ticketing.scans.v1.{name}/{method}": roles for method, roles in methods.items()}


POLICY: Final[Policy] = {
    **_service(
        "ScanService",
        {
            "ScanTicket": _GATES,
            "StreamScans": _GATES,
            "ValidateTicket": _GATES,
            "AnnulScan": _GATES,
            "ListScans": _READERS,
            "GetAttendance": _GATES,
            "WatchAttendance": _GATES,
            "ListIncidents": _READERS,
            "WatchAdmissions": _GATES,
        },
    ),
    **_service("RevocationService", {"RevokeTickets": _PEER, "RevokeEvent": _PEER}),
    **_service(
        "DeviceService",
        {
            "CreateDevice": _ORGANIZER,
            # A device has no credential before it has enrolled; its one-time code is its proof.
            "EnrollDevice": PUBLIC,
            "ListDevices": _ORGANIZER,
            "RevokeDevice": _ORGANIZER,
        },
    ),
}
