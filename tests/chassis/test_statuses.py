from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from ticketing.chassis.failures import Failure, invalid
from ticketing.chassis.statuses import Catalogue, ReasonEntry, internal_status

CATALOGUE = Catalogue(
    "tests.chassis",
    {
        "SOLD_OUT": ReasonEntry(grpc.StatusCode.FAILED_PRECONDITION, frozenset({"event_id"})),
        "INVALID_ARGUMENT": ReasonEntry(grpc.StatusCode.INVALID_ARGUMENT),
    },
)


def status_details(status: grpc.Status) -> status_pb2.Status:
    metadata = dict(status.trailing_metadata)
    return status_pb2.Status.FromString(metadata["grpc-status-details-bin"])


def test_a_status_has_code_reason_domain_metadata_and_retry() -> None:
    status = CATALOGUE.status(Failure("SOLD_OUT", "none left", event_id=7, retry_after=timedelta(seconds=1.5)))
    assert status.code is grpc.StatusCode.FAILED_PRECONDITION
    assert status.details == "none left"
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    details = status_details(status).details
    assert details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "ERROR_REASON_SOLD_OUT",
        "tests.chassis",
        {"event_id": "7"},
    )
    assert details[1].Unpack(retry)
    assert retry.retry_delay.ToTimedelta() == timedelta(seconds=1.5)


def test_violations_become_a_bad_request() -> None:
    details = status_details(CATALOGUE.status(invalid("name", "is required"))).details
    bad = error_details_pb2.BadRequest()
    assert details[1].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [("name", "is required")]


def test_a_reason_or_key_outside_the_catalogue_is_an_error() -> None:
    with pytest.raises(LookupError):
        CATALOGUE.status(Failure("NO_SUCH_REASON", "x"))
    with pytest.raises(LookupError, match="colour"):
        CATALOGUE.status(Failure("SOLD_OUT", "x", colour="red"))


def test_an_internal_error_has_its_id_and_nothing_else() -> None:
    status = internal_status("e-1")
    assert status.code is grpc.StatusCode.INTERNAL
    assert status.details == "internal error e-1"
