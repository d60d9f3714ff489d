"""The client of the scan service: its stub, the device's credential, and its gate."""

from dataclasses import dataclass

from ticketing.gate.credential import Credential
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub


@dataclass(frozen=True, slots=True)
class ScanServiceClient:
    """The stub of the scan service, with the credential and the gate of this device."""

    stub: ScanServiceStub
    credential: Credential
    gate: scan_pb2.Gate
