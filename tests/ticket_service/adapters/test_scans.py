"""The answers of the scan service that end by themselves, and those that need an operator."""

import logging
from uuid import uuid4

import grpc
import pytest

from tests.stand_ins.revocations import ScansStandIn
from ticket_service.adapters.scans import ScanServiceClient
from ticketing.chassis.failures import Failure


@pytest.mark.parametrize(
    ("code", "level"),
    [
        (grpc.StatusCode.UNAVAILABLE, logging.WARNING),
        (grpc.StatusCode.CANCELLED, logging.WARNING),
        (grpc.StatusCode.DEADLINE_EXCEEDED, logging.WARNING),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, logging.WARNING),
        (grpc.StatusCode.INTERNAL, logging.ERROR),
    ],
)
async def test_only_an_answer_that_is_no_outage_is_an_error_of_the_log(
    remote: ScanServiceClient, scans: ScansStandIn, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode, level: int
) -> None:
    scans.fails_with = code
    with pytest.raises(Failure, match="scan service"):
        await remote.close_gates(uuid4())
    [told] = [record for record in caplog.records if record.name == "ticket_service.adapters.scans"]
    assert told.levelno == level
