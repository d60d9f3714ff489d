from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from ticketing.chassis.failures import Failure, invalid
from ticketing.chassis.statuses import PUSHBACK_KEY, Catalogue, ReasonEntry, internal_status

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


@pytest.mark.parametrize(("wait", "shortest", "longest"), [(0.1, 100, 150), (2.0, 2_000, 3_000), (2.1, -1, -1)])
def test_a_wait_for_retries_of_grpc_has_jitter_and_a_bound(wait: float, shortest: int, longest: int) -> None:
    failure = Failure("SOLD_OUT", "none left", retry_after=timedelta(seconds=wait))
    waits = {int(dict(CATALOGUE.status(failure).trailing_metadata)[PUSHBACK_KEY]) for _ in range(20)}
    assert shortest <= min(waits) <= max(waits) <= longest
    assert len(waits) > 1 or wait > 2


def test_a_refusal_without_a_wait_says_nothing_to_retries_of_grpc() -> None:
    assert PUSHBACK_KEY not in dict(CATALOGUE.status(Failure("SOLD_OUT", "none left")).trailing_metadata)


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
