"""The servicer of ScannerService."""

from typing import Any

from scan_service.convert.scanners import erase_scanner_response, read_erase_scanner
from scan_service.use_cases.scanners import Scanners
from ticketing.scans.v1 import scanner_service_pb2 as pb
from ticketing.scans.v1.scanner_service_pb2_grpc import ScannerServiceServicer


class ScannersServicer(ScannerServiceServicer):
    """Serves ScannerService to the ticket service."""

    def __init__(self, scanners: Scanners) -> None:
        self._scanners = scanners

    async def EraseScanner(self, request: pb.EraseScannerRequest, _context: Any) -> pb.EraseScannerResponse:  # noqa: N802 - the contract's name
        """Erase a user from a part of the scans."""
        return erase_scanner_response(*await self._scanners.erase(*read_erase_scanner(request)))
