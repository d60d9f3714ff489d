import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import REGISTRY

from tests.environment.access import Issuer
from tests.environment.refusals import details_of, reason_of, refusal
from tests.environment.streams import next_message
from ticketing.chassis.authentication import Attempt, Authenticator, PeerProof, TokenRequirements
from ticketing.chassis.callers import LEEWAY, Caller, Role
from ticketing.chassis.clock import system_clock
from ticketing.chassis.failed_authentication import BURST_SECONDS, FailedAuthentications
from ticketing.chassis.failures import Failure
from ticketing.chassis.health import READINESS, Health
from ticketing.chassis.interceptor import MALFORMED, PUBLIC, CallInterceptor, current_caller
from ticketing.chassis.jwks import JwksFile, KeySet
from ticketing.chassis.limits import CallLimiter, Limits
from ticketing.chassis.logs import REQUEST_ID
from ticketing.chassis.server import MAX_METADATA_BYTES, MAX_REQUEST_BYTES, ListenSettings, Server
from ticketing.chassis.statuses import Catalogue, ReasonEntry
from ticketing.chassis.tasks import Tasks

SERVICE = "tests.Echo"
CATALOGUE = Catalogue(
    "tests.echo",
    {
        "INVALID_ARGUMENT": ReasonEntry(grpc.StatusCode.INVALID_ARGUMENT),
        "UNAUTHENTICATED": ReasonEntry(grpc.StatusCode.UNAUTHENTICATED, frozenset({"cause"})),
        "FORBIDDEN": ReasonEntry(grpc.StatusCode.PERMISSION_DENIED, frozenset({"method", "role"})),
        "OVERLOADED": ReasonEntry(grpc.StatusCode.RESOURCE_EXHAUSTED),
        "SOLD_OUT": ReasonEntry(grpc.StatusCode.FAILED_PRECONDITION),
    },
)
POLICY = {
    f"/{SERVICE}/Say": frozenset({Role.USER}),
    f"/{SERVICE}/Count": frozenset({Role.USER}),
    f"/{SERVICE}/Chat": frozenset({Role.USER}),
    f"/{SERVICE}/Open": PUBLIC,
    f"/{SERVICE}/Later": frozenset({Role.USER}),
}


FAILURES = BURST_SECONDS


class Echo:
    """A service whose requests select how it answers, fails or waits."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.arrived: asyncio.Queue[None] = asyncio.Queue()

    async def say(self, request: StringValue, context: Any) -> StringValue:
        if request.value == "refuse":
            raise Failure("SOLD_OUT", "none left")
        if request.value == "break":
            raise ZeroDivisionError("a secret")
        if request.value == "wait":
            self.arrived.put_nowait(None)
            self.begun.set()
            try:
                await self.may_answer.wait()
            finally:
                self.ended.set()
        if request.value == "caller":
            caller = current_caller()
            return StringValue(value=f"{caller.subject} {REQUEST_ID.get()}")
        if request.value == "roles":
            return StringValue(value=",".join(sorted(current_caller().roles)))
        return request

    async def open(self, request: StringValue, context: Any) -> StringValue:
        return await self.say(request, context)

    def later(self, request: StringValue, context: Any) -> StringValue:
        raise NotImplementedError("Method not implemented!")

    async def count(self, request: Int32Value, context: Any) -> AsyncIterator[Int32Value]:
        try:
            for n in range(request.value):
                yield Int32Value(value=n)
            if request.value == 3:
                raise Failure("SOLD_OUT", "no more numbers")
            if request.value == 4:
                raise ZeroDivisionError("a secret")
            self.begun.set()
            await self.may_answer.wait()
        finally:
            self.ended.set()

    async def chat(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield StringValue(value="?" if request is MALFORMED else f"{current_caller().subject}: {request.value}")

    def register(self, server: grpc.aio.Server) -> None:
        text: dict[str, Any] = {
            "request_deserializer": StringValue.FromString,
            "response_serializer": StringValue.SerializeToString,
        }
        number: dict[str, Any] = {
            "request_deserializer": Int32Value.FromString,
            "response_serializer": Int32Value.SerializeToString,
        }
        handlers: dict[str, Any] = {
            "Say": grpc.unary_unary_rpc_method_handler(self.say, **text),
            "Open": grpc.unary_unary_rpc_method_handler(self.open, **text),
            "Later": grpc.unary_unary_rpc_method_handler(self.later, **text),
            "Unplaced": grpc.unary_unary_rpc_method_handler(self.say, **text),
            "Count": grpc.unary_stream_rpc_method_handler(self.count, **number),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat, **text),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class Client:
    """A client of the echo service over a real socket."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self.channel = channel
        self.metadata = metadata

    async def call(self, text: str | bytes, method: str = "Say", **options: Any) -> str:
        serialize = None if isinstance(text, bytes) else StringValue.SerializeToString
        call: Any = self.channel.unary_unary(f"/{SERVICE}/{method}", serialize, StringValue.FromString)
        request = text if isinstance(text, bytes) else StringValue(value=text)
        answer = await call(request, metadata=options.pop("metadata", self.metadata), timeout=10, **options)
        value: str = answer.value
        return value

    def count(self, to: int) -> grpc.aio.UnaryStreamCall[Any, Any]:
        call = self.channel.unary_stream(f"/{SERVICE}/Count", Int32Value.SerializeToString, Int32Value.FromString)
        return call(Int32Value(value=to), metadata=self.metadata, timeout=10)

    async def fails(self, *args: Any, **options: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(*args, **options)
        return caught.value


@pytest.fixture
async def echo() -> Echo:
    return Echo()


async def verify_local_token(token: str, attempt: Attempt) -> Caller | None:
    """Verify one token of the service itself; the authenticator verifies all others."""
    return Caller("a device", frozenset({Role.USER})) if token == "own" else None


def new_server(echo: Echo, issuer: Issuer, port: int = 0) -> Server:
    keys = KeySet(JwksFile(issuer.jwks_file).read, system_clock)
    authenticator = Authenticator(keys, TokenRequirements("ticketing", "ticketing"), PeerProof("p" * 32), system_clock)
    limiter = CallLimiter(Limits(calls=2), [ip_network("127.0.0.1")])
    # The clock stands still: no failure is forgotten during a test.
    limiter.failures = FailedAuthentications(1, lambda: 0.0)
    interceptor = CallInterceptor(authenticator, POLICY, CATALOGUE, limiter, verify_local_token)
    return Server(
        ListenSettings("127.0.0.1", port, drain_seconds=5), interceptor, {SERVICE: echo.register}, Health(Tasks())
    )


@pytest.fixture
async def server(echo: Echo, issuer: Issuer) -> AsyncIterator[int]:
    server = new_server(echo, issuer)
    yield await server.start()
    await server.drain(echo.may_answer.set)


@pytest.fixture
async def client(server: int, issuer: Issuer) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server}") as channel:
        yield Client(channel, issuer.metadata("user", "alice"))


async def test_a_handler_sees_its_caller_and_request_id(client: Client) -> None:
    metadata = (*client.metadata, ("x-request-id", "shop-42"))
    assert await client.call("caller", metadata=metadata) == "alice shop-42"


@pytest.mark.parametrize("request_id", ["", "x" * 65, "two words", 'a"b'])
async def test_an_unsafe_request_id_is_replaced(client: Client, request_id: str) -> None:
    metadata = (*client.metadata, ("x-request-id", request_id))
    assert request_id not in (await client.call("caller", metadata=metadata)).split()[1:]


async def test_a_call_without_token_is_unauthenticated(client: Client) -> None:
    error = await client.fails("x", metadata=())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(error) == "UNAUTHENTICATED"


async def test_a_token_of_the_service_itself_is_verified_locally(client: Client) -> None:
    assert (await client.call("caller", metadata=(("authorization", "Bearer own"),))).startswith("a device ")


async def test_an_address_with_invented_tokens_slows_no_known_caller(
    client: Client, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await client.call("caller")).startswith("alice ")
    with caplog.at_level(logging.INFO):
        errors = [await client.fails("x", metadata=(("authorization", f"Bearer {n}"),)) for n in range(FAILURES + 1)]
    assert {reason_of(error) for error in errors[:FAILURES]} == {"UNAUTHENTICATED"}
    assert reason_of(errors[-1]) == "OVERLOADED"
    # One line names the address, instead of one for each call.
    assert [record.getMessage() for record in caplog.records] == ["a credential was refused"]
    assert (await client.call("caller")).startswith("alice ")
    # A token that nobody has seen yet waits with the address.
    assert reason_of(await client.fails("x", metadata=issuer.metadata("user", "bob"))) == "OVERLOADED"


@pytest.mark.parametrize("method", ["Say", "Open"])
async def test_failures_behind_a_proxy_count_for_the_caller(client: Client, method: str) -> None:
    async def reason(address: str, number: int) -> str:
        metadata = (("authorization", f"Bearer {address}-{number}"), ("x-forwarded-for", f"10.9.9.9, {address}"))
        return reason_of(await client.fails("refuse", method, metadata=metadata))

    for address in ("192.0.2.7", "192.0.2.8"):
        reasons = [await reason(address, number) for number in range(FAILURES + 1)]
        assert "OVERLOADED" not in reasons[:FAILURES]
        assert reasons[FAILURES] == "OVERLOADED"


async def test_refused_public_calls_count_as_failed_authentication(client: Client) -> None:
    for _ in range(FAILURES):
        assert reason_of(await client.fails("refuse", "Open", metadata=())) == "SOLD_OUT"
    assert reason_of(await client.fails("x", "Open", metadata=())) == "OVERLOADED"


async def test_refusals_are_counted_by_their_cause(client: Client) -> None:
    def counted() -> list[float]:
        name = "grpc_server_failed_authentications_total"
        return [REGISTRY.get_sample_value(name, {"cause": one}) or 0.0 for one in ("no access token", "SOLD_OUT")]

    before = counted()
    await client.fails("x", metadata=())
    await client.fails("refuse", "Open", metadata=())
    assert counted() == [count + 1 for count in before]


async def test_a_role_outside_the_policy_is_denied(client: Client, issuer: Issuer) -> None:
    error = await client.fails("x", metadata=issuer.metadata("scanner"))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(error) == "FORBIDDEN"


async def test_a_role_counts_only_in_the_calls_that_name_it(client: Client, issuer: Issuer) -> None:
    metadata = issuer.metadata(roles=["scanner", "user", "operator"])
    assert await client.call("roles", metadata=metadata) == "user"


async def test_a_method_outside_the_policy_is_denied(client: Client) -> None:
    assert (await client.fails("x", "Unplaced")).code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_public_method_needs_no_token(client: Client) -> None:
    assert await client.call("hello", "Open", metadata=()) == "hello"


async def test_a_refusal_carries_its_reason(client: Client) -> None:
    error = await client.fails("refuse")
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "SOLD_OUT")


async def test_failed_calls_are_counted_by_their_reason(client: Client) -> None:
    def counts() -> list[float]:
        labels = [{"method": f"/{SERVICE}/Say", "reason": reason} for reason in ("SOLD_OUT", "INTERNAL")]
        return [REGISTRY.get_sample_value("grpc_server_failures_total", one) or 0.0 for one in labels]

    before = counts()
    await client.fails("refuse")
    await client.fails("break")
    await client.call("hello")
    assert counts() == [count + 1 for count in before]


async def test_an_unexpected_exception_reveals_only_a_log_id(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    error = await client.fails("break")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details())
    logged = [record for record in caplog.records if record.exc_info]
    assert str(error.details()).endswith(logged[0].__dict__["error_id"])


async def test_a_method_without_implementation_is_unimplemented(client: Client) -> None:
    assert (await client.fails("x", "Later")).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_unknown_method_is_unimplemented(client: Client) -> None:
    assert (await client.fails("x", "Nonsense")).code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("raw", [b"\x0a\x02\xff\xfe", b"\x0a\xff", b"garbage"])
async def test_undecodable_bytes_are_an_invalid_argument(client: Client, raw: bytes) -> None:
    error = await client.fails(raw)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_a_request_above_the_size_limit_is_refused(client: Client) -> None:
    assert (await client.fails("x" * (MAX_REQUEST_BYTES + 1))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metadata_above_the_size_limit_is_refused(client: Client) -> None:
    metadata = (*client.metadata, ("x-large", "x" * 3 * MAX_METADATA_BYTES))
    assert (await client.fails("x", metadata=metadata)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_calls_beyond_the_limit_are_refused_and_others_served(client: Client, echo: Echo) -> None:
    waiting_calls = [asyncio.create_task(client.call("wait")) for _ in range(2)]
    for _ in waiting_calls:
        await echo.arrived.get()
    error = await client.fails("x")
    assert reason_of(error) == "OVERLOADED"
    assert details_of(error)[1].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
    echo.may_answer.set()
    assert await asyncio.gather(*waiting_calls) == ["wait", "wait"]
    assert await client.call("again") == "again"


async def test_a_cancelled_call_ends_its_handler(client: Client, echo: Echo) -> None:
    task = asyncio.create_task(client.call("wait"))
    await echo.begun.wait()
    task.cancel()
    await asyncio.wait_for(echo.ended.wait(), 10)
    assert await client.call("x") == "x"


async def test_a_refusal_within_a_stream_carries_its_reason(client: Client) -> None:
    call = client.count(3)
    assert [(await next_message(call)).value for _ in range(3)] == [0, 1, 2]
    assert (await refusal(call.read())).reason == "SOLD_OUT"


async def test_an_exception_within_a_stream_reveals_nothing(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [message async for message in client.count(4)]
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value.details())


async def test_a_cancelled_stream_ends_its_handler(client: Client, echo: Echo) -> None:
    call = client.count(1)
    await echo.begun.wait()
    call.cancel()
    await asyncio.wait_for(echo.ended.wait(), 10)


async def test_a_stream_continues_after_an_undecodable_message(client: Client) -> None:
    call: Any = client.channel.stream_stream(f"/{SERVICE}/Chat", None, StringValue.FromString)(
        metadata=client.metadata, timeout=10
    )
    answers = []
    for raw in (b"\x0a\x01a", b"\x0a\x02\xff\xfe", b"\x0a\x01b"):
        await call.write(raw)
        answers.append((await call.read()).value)
    await call.done_writing()
    assert answers == ["alice: a", "?", "alice: b"]


async def test_health_and_reflection_need_no_token(client: Client) -> None:
    health: Any = health_pb2_grpc.HealthStub(client.channel)  # The stub's types lack its methods.
    for service in ("", SERVICE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    for version in ("v1", "v1alpha"):
        reflect = client.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=10)
        await reflect.write(reflection_pb2.ServerReflectionRequest(list_services="*"))
        names = [service.name for service in (await next_message(reflect)).list_services_response.service]
        await reflect.done_writing()
        assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(names)


async def test_health_is_answered_before_calls_that_wait_to_be_accepted(client: Client) -> None:
    """A connection has at most 100 calls, and the server accepts one after the other."""
    health: Any = health_pb2_grpc.HealthStub(client.channel)
    await client.call("x")
    calls = [asyncio.create_task(client.call("x")) for _ in range(90)]
    # The calls are sent.
    await asyncio.sleep(0)
    await health.Check(health_pb2.HealthCheckRequest(service=READINESS), timeout=10)
    assert sum(call.done() for call in calls) < len(calls) / 3
    await asyncio.gather(*calls)


async def test_health_can_be_watched_until_the_server_drains(echo: Echo, issuer: Issuer) -> None:
    server = new_server(echo, issuer)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = Client(channel, issuer.metadata())
        waiting = asyncio.create_task(client.call("wait"))
        await echo.begun.wait()
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=READINESS), timeout=10)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        drain = asyncio.create_task(server.drain(lambda: None))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        # The drain does not wait for watchers.
        assert await watch.read() is grpc.aio.EOF
        # gRPC cancels a call that is sent before the client has received GOAWAY.
        async with asyncio.timeout(10):
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert (await client.fails("x")).code() is grpc.StatusCode.UNAVAILABLE
        echo.may_answer.set()
        assert await waiting == "wait"
        await drain


async def test_a_port_in_use_is_named_in_the_error(server: int, echo: Echo, issuer: Issuer) -> None:
    second = new_server(echo, issuer, server)
    with pytest.raises(OSError, match=f"127.0.0.1:{server}"):
        await second.start()


async def test_every_call_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ticketing.chassis.interceptor"):
        await client.fails("refuse")
    ended = [record.__dict__ for record in caplog.records if record.getMessage() == "call ended"]
    assert (ended[0]["method"], ended[0]["code"], ended[0]["reason"]) == (
        f"/{SERVICE}/Say",
        "FAILED_PRECONDITION",
        "ERROR_REASON_SOLD_OUT",
    )
    assert (ended[0]["caller"], ended[0]["role"]) == ("alice", "user")
    assert json.dumps(ended[0]["milliseconds"])


async def test_an_idle_stream_ends_when_its_token_expires(server: int, issuer: Issuer, echo: Echo) -> None:
    ends_soon = datetime.now(UTC).timestamp() - LEEWAY.total_seconds() + 0.3
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server}") as channel:
        call = Client(channel, issuer.metadata("user", "alice", exp=ends_soon)).count(2)
        assert [(await next_message(call)).value for _ in range(2)] == [0, 1]
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
    assert reason_of(ended.value) == "UNAUTHENTICATED"
    assert echo.ended.is_set()
