"""The policy tables against the descriptors: every RPC of ours is placed, and nothing else is."""

import pytest
from google.protobuf.descriptor import FileDescriptor

from scan_service.policy import POLICY as SCANS
from ticket_service.policy import POLICY as TICKETS
from ticketing.chassis.authentication import Role
from ticketing.chassis.interceptor import PUBLIC, Policy
from ticketing.scans.v1 import device_service_pb2, revocation_service_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_service_pb2, purchase_service_pb2, ticket_feed_service_pb2, ticket_service_pb2

FILES = {
    "tickets": [event_service_pb2, purchase_service_pb2, ticket_feed_service_pb2, ticket_service_pb2],
    "scans": [device_service_pb2, revocation_service_pb2, scan_service_pb2],
}


def methods(descriptor: FileDescriptor) -> set[str]:
    return {
        f"/{service.full_name}/{method.name}"
        for service in descriptor.services_by_name.values()
        for method in service.methods
    }


@pytest.mark.parametrize(("package", "policy"), [("tickets", TICKETS), ("scans", SCANS)])
def test_every_rpc_is_placed_and_nothing_else(package: str, policy: Policy) -> None:
    ours = set().union(*(methods(module.DESCRIPTOR) for module in FILES[package]))
    assert set(policy) == ours


def test_one_rpc_alone_needs_no_credential() -> None:
    public = {method for policy in (TICKETS, SCANS) for method, roles in policy.items() if roles == PUBLIC}
    assert public == {"/ticketing.scans.v1.DeviceService/EnrollDevice"}


def test_the_services_talk_to_each_other_alone_where_they_do() -> None:
    """Nobody else feeds a gate or takes admission rights back; and a peer can do nothing else."""
    for_peers = {method for policy in (TICKETS, SCANS) for method, roles in policy.items() if Role.PEER in roles}
    assert for_peers == {
        "/ticketing.tickets.v1.TicketFeedService/WatchTickets",
        "/ticketing.tickets.v1.TicketFeedService/GetSigningKeys",
        "/ticketing.tickets.v1.TicketFeedService/ReportCheckIns",
        "/ticketing.tickets.v1.TicketFeedService/ReportIncidents",
        "/ticketing.scans.v1.RevocationService/RevokeTickets",
        "/ticketing.scans.v1.RevocationService/RevokeEvent",
    }
    for policy in (TICKETS, SCANS):
        assert all(roles == {Role.PEER} for roles in policy.values() if Role.PEER in roles)


def test_whoever_only_scans_changes_no_event_and_sells_nothing() -> None:
    allowed = {method for method, roles in TICKETS.items() if Role.SCANNER in roles}
    assert allowed == {
        "/ticketing.tickets.v1.EventService/GetEvent",
        "/ticketing.tickets.v1.EventService/ListEvents",
    }
