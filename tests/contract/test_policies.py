"""The derived policies: every RPC states its roles in the contract, and each role reaches what it should."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from scan_service.policy import POLICY as SCANS
from tests.contract.matrix_world import RPCS
from ticket_service.policy import POLICY as TICKETS
from ticket_service.policy import REFUSED_IN_RECOVERY
from ticketing.chassis.callers import Role
from ticketing.chassis.interceptor import PUBLIC, Policy
from ticketing.chassis.policy import method_path, policy_of
from ticketing.options.v1 import options_pb2


@pytest.mark.parametrize(("package", "policy"), [("tickets", TICKETS), ("scans", SCANS)])
def test_every_rpc_states_its_roles(package: str, policy: Policy) -> None:
    own = {method_path(rpc) for rpc in RPCS.values() if rpc.full_name.startswith(f"ticketing.{package}.v1.")}
    assert set(policy) == own


def test_an_rpc_without_roles_is_left_out_and_so_denied() -> None:
    file = FileDescriptorProto(name="bare.proto", package="tests.bare", syntax="proto3")
    file.message_type.add(name="Nothing")
    methods = file.service.add(name="Bare").method
    for name in ("Unset", "Empty", "Open", "Closed"):
        methods.add(name=name, input_type=".tests.bare.Nothing", output_type=".tests.bare.Nothing")
    methods[1].options.Extensions[options_pb2.access].SetInParent()
    methods[2].options.Extensions[options_pb2.access].public = True
    methods[3].options.Extensions[options_pb2.access].roles.append(options_pb2.ROLE_PEER)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    assert policy_of([pool.FindFileByName("bare.proto")]) == {
        "/tests.bare.Bare/Open": PUBLIC,
        "/tests.bare.Bare/Closed": {Role.PEER},
    }


def test_the_contract_has_the_roles_of_the_chassis() -> None:
    named = {name.removeprefix("ROLE_").lower() for name in options_pb2.Role.keys()}  # noqa: SIM118 - an enum wrapper
    assert named - {"unspecified"} == set(Role)


@pytest.mark.parametrize("method", sorted(REFUSED_IN_RECOVERY))
def test_an_rpc_that_a_recovery_refuses_declares_the_reason(method: str) -> None:
    [rpc] = [rpc for rpc in RPCS.values() if method_path(rpc) == method]
    assert "RECOVERING" in rpc.GetOptions().Extensions[options_pb2.errors].reasons


def test_only_enrollment_needs_no_credential() -> None:
    public = {method for policy in (TICKETS, SCANS) for method, roles in policy.items() if roles == PUBLIC}
    assert public == {"/ticketing.scans.v1.DeviceService/EnrollDevice"}


def test_only_the_peer_calls_the_internal_services() -> None:
    internal = {
        "/ticketing.tickets.v1.TicketFeedService/WatchTickets",
        "/ticketing.tickets.v1.TicketFeedService/GetSigningKeys",
        "/ticketing.tickets.v1.TicketFeedService/ReportCheckIns",
        "/ticketing.tickets.v1.TicketFeedService/ReportIncidents",
        "/ticketing.tickets.v1.TicketFeedService/ListCheckIns",
        "/ticketing.tickets.v1.TicketFeedService/ReportDevices",
        "/ticketing.tickets.v1.TicketFeedService/ListReportedDevices",
        "/ticketing.tickets.v1.TicketFeedService/FindTickets",
        "/ticketing.tickets.v1.TicketFeedService/GetTicketHolder",
        "/ticketing.scans.v1.ReplicaService/GetReplicaPosition",
        "/ticketing.scans.v1.RevocationService/RevokeTickets",
        "/ticketing.scans.v1.RevocationService/RevokeEvent",
        "/ticketing.scans.v1.ScannerService/EraseScanner",
        "/ticketing.scans.v1.RecoveryService/ListKnownEvents",
        "/ticketing.scans.v1.RecoveryService/ListKnownTickets",
        "/ticketing.scans.v1.RecoveryService/ListKnownKeys",
    }
    assert internal <= set(TICKETS) | set(SCANS)
    for policy in (TICKETS, SCANS):
        for method, roles in policy.items():
            assert (roles == {Role.PEER}) == (method in internal)
            assert Role.PEER not in roles or roles == {Role.PEER}


def test_a_scanner_only_reads_events_at_the_ticket_service() -> None:
    allowed = {method for method, roles in TICKETS.items() if Role.SCANNER in roles}
    assert allowed == {"/ticketing.tickets.v1.EventService/GetEvent", "/ticketing.tickets.v1.EventService/ListEvents"}
