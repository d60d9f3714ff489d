"""Scan the text of one QR code; the gate's token has the role `scanner`."""

import os

from ticketing.client import connect, new_id
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

with connect(os.environ["SCANS_ADDRESS"], os.environ["SCANNER_TOKEN"], plain_text=True) as channel:
    gate = scan_pb2.Gate(event_id=os.environ["EVENT_ID"], location="North 3")
    attempt = scan_service_pb2.ScanAttempt(scan_id=new_id(), code=os.environ["QR_TEXT"])
    request = scan_service_pb2.ScanTicketRequest(gate=gate, attempt=attempt)
    scan = ScanServiceStub(channel).ScanTicket(request).scan
    print(scan_pb2.Verdict.Name(scan.verdict), scan_pb2.DenialReason.Name(scan.denial_reason))
