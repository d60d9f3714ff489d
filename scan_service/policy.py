"""The policy of the scan service, derived from the contract."""

from typing import Final

from ticketing.chassis.interceptor import Policy
from ticketing.chassis.policy import policy_of
from ticketing.scans.v1 import (
    device_service_pb2,
    gate_change_service_pb2,
    recovery_service_pb2,
    replica_service_pb2,
    revocation_service_pb2,
    scan_service_pb2,
    scanner_service_pb2,
)

POLICY: Final[Policy] = policy_of(
    module.DESCRIPTOR
    for module in (
        scan_service_pb2,
        revocation_service_pb2,
        device_service_pb2,
        scanner_service_pb2,
        gate_change_service_pb2,
        recovery_service_pb2,
        replica_service_pb2,
    )
)
