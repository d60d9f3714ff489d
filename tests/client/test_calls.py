"""Deadlines, tokens, ids, retries and exceptions of the client's channels, with threads and with asyncio."""

import asyncio
import pickle
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import pytest

from tests.client.channels import Caller, Stubs
from tests.environment.access import Issuer
from tests.environment.certificates import Folder
from tests.stand_ins.scripted_service import ReceivedCall, ScriptedService, refusing
from ticket_service.errors import CATALOGUE
from ticketing import client
from ticketing.chassis.failures import FieldViolation, invalid_fields, unauthenticated
from ticketing.client import Reason, aio, connect
from ticketing.client.errors import CANCELLED_HERE, error_of
from ticketing.scans.v1 import scan_service_pb2, scan_service_pb2_grpc
from ticketing.tickets.v1 import event_service_pb2, purchase_service_pb2

PURCHASED = purchase_service_pb2.PurchaseTicketsResponse().SerializeToString()
SOON: dict[str, Any] = {"retry_after": timedelta(milliseconds=20)}


def get_event(stubs: Stubs) -> Any:
    return stubs.events.GetEvent(event_service_pb2.GetEventRequest())


def failing(call: Any) -> Any:
    """Return a call that returns its exception."""

    async def awaited(answer: Any) -> Any:
        with pytest.raises(client.TicketingError) as caught:
            await answer
        return caught.value

    def run(stubs: Stubs) -> Any:
        try:
            answer = call(stubs)
        except client.TicketingError as error:
            return error
        assert hasattr(answer, "__await__"), "the call did not fail"
        return awaited(answer)

    return run


def test_a_channel_without_a_token_sends_no_credential(caller: Caller, service: ScriptedService) -> None:
    caller(service.address, "", get_event)
    (call,) = service.calls
    assert "authorization" not in call.metadata


def test_a_token_loses_the_end_of_the_line_of_its_file(caller: Caller, service: ScriptedService) -> None:
    caller(service.address, "token-1\n", get_event)
    (call,) = service.calls
    assert call.metadata["authorization"] == "Bearer token-1"


def test_every_call_has_a_deadline_a_token_and_an_id(caller: Caller, service: ScriptedService) -> None:
    caller(service.address, "token-1", get_event)
    (call,) = service.calls
    assert call.metadata["authorization"] == "Bearer token-1"
    assert UUID(call.metadata["x-request-id"]).version == 7
    assert call.seconds_left is not None
    # The server of gRPC has shown up to 0.1 s more than the client gave.
    assert 5 < call.seconds_left < 11


def test_a_call_keeps_the_deadline_and_the_metadata_of_its_caller(caller: Caller, service: ScriptedService) -> None:
    metadata = (("authorization", "Bearer own"), ("x-request-id", "own-id"), ("tenant", "a"))
    caller(
        service.address,
        "token",
        lambda s: s.events.GetEvent(event_service_pb2.GetEventRequest(), timeout=60, metadata=metadata),
    )
    (call,) = service.calls
    assert {key: call.metadata[key] for key, _ in metadata} == dict(metadata)
    assert call.seconds_left is not None
    assert call.seconds_left > 30


def test_a_call_without_an_answer_ends_at_its_deadline(caller: Caller, service: ScriptedService) -> None:
    answer = threading.Event()

    def wait(_: ReceivedCall) -> bytes:
        answer.wait(20)
        return b""

    service.answers = [wait]
    (error,) = caller(service.address, "token", failing(get_event), call_seconds=0.2)
    answer.set()
    assert isinstance(error, client.DeadlineExceededError)
    assert error.reason is Reason.UNSPECIFIED


def test_a_refusal_is_an_exception_with_its_details(caller: Caller, service: ScriptedService) -> None:
    service.answers = [refusing("SOLD_OUT", "no place is left", event_id="e-1", available=0)]
    (error,) = caller(service.address, "token", failing(get_event))
    assert isinstance(error, client.FailedPreconditionError)
    assert isinstance(error, grpc.RpcError)
    assert (error.reason, error.code()) == (Reason.SOLD_OUT, grpc.StatusCode.FAILED_PRECONDITION)
    assert error.metadata == {"event_id": "e-1", "available": "0"}
    assert error.retry_after is None
    assert error.x_request_id == service.calls[0].metadata["x-request-id"]
    assert str(error) == f"SOLD_OUT: no place is left [x-request-id {error.x_request_id}]"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


def test_an_invalid_request_names_its_fields(caller: Caller, service: ScriptedService) -> None:
    faults = [FieldViolation("items[0].quantity", "must be at least 1"), FieldViolation("email", "is too long")]

    def refuse(_: ReceivedCall) -> bytes:
        raise invalid_fields(faults)

    service.answers = [refuse]
    (error,) = caller(service.address, "token", failing(get_event))
    assert isinstance(error, client.InvalidArgumentError)
    assert error.violations == tuple((fault.field, fault.description) for fault in faults)


def test_a_status_of_a_proxy_has_no_reason(caller: Caller, service: ScriptedService) -> None:
    (error,) = caller("127.0.0.1:1", "token", failing(get_event), call_seconds=0.3)
    assert isinstance(error, client.UnavailableError | client.DeadlineExceededError)
    assert (error.reason, error.reason_name, error.metadata) == (Reason.UNSPECIFIED, "", {})


def test_a_request_id_is_chosen_once_for_all_tries(caller: Caller, service: ScriptedService) -> None:
    service.answers = [refusing("OVERLOADED", "too much", **SOON)] * 2 + [lambda _: PURCHASED]
    order = purchase_service_pb2.PurchaseTicketsRequest(event_id="e-1")
    caller(service.address, "token", lambda s: s.purchases.PurchaseTickets(order))
    assert UUID(order.request_id).version == 7
    assert [call.request for call in service.calls] == [order.SerializeToString()] * 3


def test_a_request_id_of_the_caller_stays(caller: Caller, service: ScriptedService) -> None:
    order = purchase_service_pb2.PurchaseTicketsRequest(request_id="own")
    caller(service.address, "token", lambda s: s.purchases.PurchaseTickets(order))
    assert service.calls[0].request == order.SerializeToString()
    assert order.request_id == "own"


@pytest.mark.parametrize("reason", ["OVERLOADED", "DEPENDENCY_UNAVAILABLE"])
def test_a_call_is_repeated_after_the_wait_that_the_service_states(
    reason: str, caller: Caller, service: ScriptedService
) -> None:
    service.answers = [refusing(reason, "later", **SOON)] * 4 + [lambda _: b""]
    caller(service.address, "token", get_event)
    assert len(service.calls) == 5


def test_the_last_refusal_is_raised_after_five_tries(caller: Caller, service: ScriptedService) -> None:
    service.answers = [refusing("OVERLOADED", "too much", **SOON)]
    (error,) = caller(service.address, "token", failing(get_event))
    assert (error.reason, error.retry_after) == (Reason.OVERLOADED, SOON["retry_after"])
    assert isinstance(error, client.ResourceExhaustedError)
    assert len(service.calls) == 5


def test_a_refusal_with_a_long_wait_is_raised_at_once(caller: Caller, service: ScriptedService) -> None:
    service.answers = [refusing("EMAIL_LIMIT", "too often", retry_after=timedelta(hours=3))]
    (error,) = caller(service.address, "token", failing(get_event))
    assert (error.reason, error.retry_after, len(service.calls)) == (Reason.EMAIL_LIMIT, timedelta(hours=3), 1)


def test_a_call_that_cannot_be_repeated_is_not(service: ScriptedService) -> None:
    service.answers = [refusing("OVERLOADED", "too much", **SOON)]
    with connect(service.address, "token", plain_text=True) as channel:
        stub = scan_service_pb2_grpc.ScanServiceStub(channel)
        with pytest.raises(client.ResourceExhaustedError):
            stub.LookUpTickets(scan_service_pb2.LookUpTicketsRequest(query="ann"))
    assert len(service.calls) == 1


def refuse_first_token(call: ReceivedCall) -> bytes:
    if call.metadata["authorization"] == "Bearer token-1":
        raise unauthenticated("the token has expired")
    return b""


class Source:
    """A source of tokens: "token-1", "token-2" and so on."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"token-{self.count}"


def test_a_refused_token_is_replaced_once(caller: Caller, service: ScriptedService) -> None:
    source = Source()
    service.answers = [refuse_first_token]
    caller(service.address, source, get_event, get_event)
    tokens = [call.metadata["authorization"] for call in service.calls]
    assert tokens == ["Bearer token-1", "Bearer token-2", "Bearer token-2"]
    assert source.count == 2


def test_a_caller_whose_tokens_are_all_refused_gets_the_refusal(caller: Caller, service: ScriptedService) -> None:
    service.answers = [refusing("UNAUTHENTICATED", "unknown issuer", cause="unknown issuer")]
    (error,) = caller(service.address, Source(), failing(get_event))
    assert isinstance(error, client.UnauthenticatedError)
    assert error.metadata == {"cause": "unknown issuer"}
    assert len(service.calls) == 2


def test_a_fixed_token_is_not_sent_again_after_a_refusal(caller: Caller, service: ScriptedService) -> None:
    service.answers = [refusing("UNAUTHENTICATED", "expired", cause="expired")]
    (error,) = caller(service.address, "token", failing(get_event))
    assert (error.reason, len(service.calls)) == (Reason.UNAUTHENTICATED, 1)


def test_a_token_is_renewed_before_it_expires(caller: Caller, service: ScriptedService, issuer: Issuer) -> None:
    # The first token is in the last tenth of its time, which is at most a minute.
    tokens = [issuer.token(exp=datetime.now(UTC) + timedelta(seconds=seconds)) for seconds in (-1, 3600)]
    source = iter(tokens)
    caller(service.address, lambda: next(source), get_event, get_event, get_event)
    assert [call.metadata["authorization"].removeprefix("Bearer ") for call in service.calls] == [
        tokens[0],
        tokens[1],
        tokens[1],
    ]


def test_the_source_of_tokens_may_be_a_coroutine_function(service: ScriptedService) -> None:
    async def source() -> str:
        await asyncio.sleep(0)
        return "token-9"

    async def run() -> None:
        async with aio.connect(service.address, source, plain_text=True) as channel:
            await Stubs(channel).events.GetEvent(event_service_pb2.GetEventRequest())

    asyncio.run(run())
    assert service.calls[0].metadata["authorization"] == "Bearer token-9"


def test_a_call_of_future_is_repeated_and_converted_as_well(service: ScriptedService) -> None:
    service.answers = [refuse_first_token, lambda _: b"", refusing("EVENT_NOT_FOUND", "no event", event_id="e")]
    with connect(service.address, Source(), plain_text=True) as channel:
        event_of = Stubs(channel).events.GetEvent
        assert event_of.future(event_service_pb2.GetEventRequest()).result() == event_service_pb2.GetEventResponse()
        failed = event_of.future(event_service_pb2.GetEventRequest())
        assert isinstance(failed.exception(), client.NotFoundError)
        assert failed.code() is grpc.StatusCode.NOT_FOUND


def test_a_cancelled_call_is_not_repeated(service: ScriptedService) -> None:
    received, answer = threading.Event(), threading.Event()

    def wait(_: ReceivedCall) -> bytes:
        received.set()
        answer.wait(20)
        return b""

    async def run() -> None:
        async with aio.connect(service.address, "token", plain_text=True) as channel:
            task = asyncio.ensure_future(Stubs(channel).events.GetEvent(event_service_pb2.GetEventRequest()))
            await asyncio.to_thread(received.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    service.answers = [wait]
    asyncio.run(run())
    answer.set()
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    ("details", "kind"), [("", client.UnavailableError), (CANCELLED_HERE, client.TicketingError)], ids=["there", "here"]
)
def test_a_call_that_was_cancelled_elsewhere_is_unavailable(details: str, kind: type[client.TicketingError]) -> None:
    nothing = grpc.aio.Metadata()
    error = error_of(grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, nothing, nothing, details), "request-1")
    assert (type(error), error.code()) == (kind, grpc.StatusCode.CANCELLED)


def test_calls_that_a_stopping_service_drops_are_repeated() -> None:
    """A service that stops ends the calls in gRPC's queue with CANCELLED; here they are as many as a connection carries.

    A call whose connection ends first is UNAVAILABLE, in some stops all of them.
    """
    arrived = asyncio.Event()

    async def answer(request: bytes, _: Any) -> bytes:
        arrived.set()
        return b""

    async def serve(port: int) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
        served = {"tickets.v1.EventService": "GetEvent", "scans.v1.ScanService": "LookUpTickets"}
        for name, method in served.items():
            methods: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(answer)}
            handler = grpc.method_handlers_generic_handler(f"ticketing.{name}", methods)
            server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        return server, port

    async def run() -> set[grpc.StatusCode]:
        nonlocal arrived
        arrived = asyncio.Event()
        first, port = await serve(0)
        async with aio.connect(f"127.0.0.1:{port}", "token", plain_text=True) as channel:
            calls = [asyncio.ensure_future(get_event(Stubs(channel))) for _ in range(100)]
            stub: Any = scan_service_pb2_grpc.ScanServiceStub(channel)
            look_up = scan_service_pb2.LookUpTicketsRequest()
            not_repeated = [asyncio.ensure_future(stub.LookUpTickets(look_up)) for _ in range(20)]
            await arrived.wait()
            await first.stop(None)
            second, _ = await serve(port)
            try:
                ends = await asyncio.gather(*not_repeated, return_exceptions=True)
                dropped = [end for end in ends if isinstance(end, BaseException)]
                codes = {end.code() for end in dropped if isinstance(end, client.UnavailableError)}
                assert {type(end) for end in dropped} <= {client.UnavailableError}
                await asyncio.gather(*calls)
            finally:
                await second.stop(None)
            return codes

    assert any(grpc.StatusCode.CANCELLED in asyncio.run(run()) for _ in range(5))


def test_a_stream_that_its_program_cancels_is_not_unavailable(service: ScriptedService) -> None:
    service.streams.add("StreamScans")
    with connect(service.address, "token", plain_text=True) as channel:
        responses = scan_service_pb2_grpc.ScanServiceStub(channel).StreamScans(iter([scan("a")]))
        responses.cancel()
        with pytest.raises(client.TicketingError) as caught:
            next(responses)
    assert (type(caught.value), caught.value.code()) == (client.TicketingError, grpc.StatusCode.CANCELLED)


def scan(code: str) -> scan_service_pb2.StreamScansRequest:
    return scan_service_pb2.StreamScansRequest(scan=scan_service_pb2.ScanAttempt(code=code))


def test_a_stream_has_no_deadline_and_its_failure_is_typed(service: ScriptedService) -> None:
    service.streams.add("StreamScans")
    service.answers = [lambda _: b"", refusing("UNAUTHENTICATED", "expired", cause="expired")]
    source = Source()
    with connect(service.address, source, plain_text=True) as channel:
        stub = scan_service_pb2_grpc.ScanServiceStub(channel)
        responses = stub.StreamScans(iter([scan("a"), scan("b")]))
        assert next(responses) == scan_service_pb2.StreamScansResponse()
        with pytest.raises(client.UnauthenticatedError) as caught:
            next(responses)
        # A stream cannot be repeated; the next one gets another token.
        with pytest.raises(client.UnauthenticatedError):
            list(stub.StreamScans(iter([scan("c")])))
    assert caught.value.x_request_id == service.calls[0].metadata["x-request-id"]
    assert [call.seconds_left for call in service.calls] == [None] * 3
    assert [call.metadata["authorization"] for call in service.calls] == ["Bearer token-1"] * 2 + ["Bearer token-2"]


async def test_a_stream_of_asyncio_is_written_and_read(service: ScriptedService) -> None:
    service.streams.add("StreamScans")
    service.answers = [lambda _: b"", refusing("OVERLOADED", "too much", **SOON)]
    async with aio.connect(service.address, "token", plain_text=True) as channel:
        stub: Any = scan_service_pb2_grpc.ScanServiceStub(channel)
        stream = stub.StreamScans()
        await stream.write(scan("a"))
        assert await stream.read() == scan_service_pb2.StreamScansResponse()
        await stream.write(scan("b"))
        with pytest.raises(client.ResourceExhaustedError) as caught:
            await stream.read()
    assert caught.value.x_request_id == service.calls[0].metadata["x-request-id"]


def test_a_channel_uses_tls_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    identity = folder.identity("127.0.0.1")
    pair = (identity.key.read_bytes(), identity.certificate.read_bytes())
    service = ScriptedService(CATALOGUE, grpc.ssl_server_credentials([pair]))
    authority = grpc.ssl_channel_credentials(folder.ca.read_bytes())
    with connect(service.address, "token", credentials=authority) as channel:
        get_event(Stubs(channel))
    with connect(service.address, "token", call_seconds=1) as channel, pytest.raises(client.TicketingError):
        get_event(Stubs(channel))
    service.close()
    assert len(service.calls) == 1
