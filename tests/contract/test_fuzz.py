"""Every RPC receives unusual messages and bytes that are no message.

No call may end as INTERNAL or UNKNOWN, neither service may stop or grow, and no log line may contain a secret.
`FUZZ_INPUTS` is the number of inputs (100,000 in a long run), `FUZZ_SEED` selects them.
"""

import asyncio
import logging
import os
import random
import resource
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.empty_pb2 import Empty

from scan_service.policy import POLICY as SCANS
from tests.contract.fuzzing import Fuzzer
from tests.contract.matrix_requests import REQUESTS
from tests.contract.matrix_world import FOREIGN, OWN, RPCS, Metadata, World
from tests.environment.access import CODE_SECRET, PEER_METADATA, PEER_SECRET
from tests.environment.refusals import reason_of
from tests.environment.waiting import until
from ticket_service.policy import POLICY as TICKETS
from ticketing.chassis.callers import Role
from ticketing.chassis.logs import JsonFormatter
from ticketing.scans.v1 import scan_service_pb2 as scans_pb

pytestmark = pytest.mark.slow

INPUTS = int(os.environ.get("FUZZ_INPUTS", "1000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
POLICY = {**TICKETS, **SCANS}
# The number of concurrent callers.
CALLERS = 16
# The time for which streams without requests are read.
WATCH_SECONDS = 0.2
# The growth of the second half of a run; a leak of 1 KiB per call would add 50 MiB in a long run.
MAX_GROWTH_BYTES = 24 * 2**20
PAGE_BYTES = resource.getpagesize()


class Listener(logging.Handler):
    """A log handler that records the lines with a secret or an internal error."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter({}))
        self.secrets = secrets
        self.lines = 0
        self.bad: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        self.lines += 1
        if record.levelno >= logging.ERROR or any(secret in line for secret in self.secrets):
            self.bad.append(line)


@contextmanager
def only(listener: logging.Handler) -> Iterator[None]:
    """Send every log line to `listener` only."""
    root = logging.getLogger()
    usual, level = root.handlers, root.level
    root.handlers = [listener]
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.handlers = usual
        root.setLevel(level)


def memory() -> int:
    """Return the resident bytes of this process, in which both services and all callers run."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def known(world: World) -> list[str]:
    """Return ids, codes and tokens that exist."""
    found = []
    for side in (OWN, FOREIGN):
        purchase = await world.purchase(side)
        ticket, shown = purchase.tickets[0], await world.shown(side)
        found += [purchase.purchase_id, purchase.event_id, ticket.ticket_id, ticket.code, ticket.token]
        found += [await world.hold(side), await world.draft(side), await world.device(side), await world.scan(side)]
        found += [str(shown.event_id), str(shown.ticket_id), shown.code, shown.token]
    return [*found, "alice", "bob", "olga", "oskar", "name,offers", "refund_policy"]


class Callers:
    """The credentials of every role, and the absence of a credential."""

    def __init__(self, world: World, device_token: str) -> None:
        subjects = {"user": "alice", "organizer": "olga", "scanner": "sam", "service": "shop", "operator": "opal"}
        self.by_role = {Role(role): world.issuer.metadata(role, subject) for role, subject in subjects.items()}
        self.by_role[Role.PEER] = PEER_METADATA
        self.by_role[Role.DEVICE] = (("authorization", f"Bearer {device_token}"),)
        self.everybody = [*self.by_role.values(), ()]

    def any_for(self, rpc: MethodDescriptor, chance: random.Random) -> Metadata:
        """Return mostly a credential that the method admits: the interceptor refuses the others."""
        roles = POLICY[f"/{rpc.containing_service.full_name}/{rpc.name}"]
        if not roles or chance.random() < 0.1:
            return chance.choice(self.everybody)
        return self.by_role[chance.choice(sorted(roles))]


async def send(world: World, rpc: MethodDescriptor, payloads: list[bytes], metadata: Metadata) -> str:
    """Make one call; return its status."""
    # The types of a channel allow only calls with messages.
    raw: Any = world.scans if ".scans." in rpc.full_name else world.tickets
    path = f"/{rpc.containing_service.full_name}/{rpc.name}"
    try:
        if not rpc.server_streaming:
            await raw.unary_unary(path)(payloads[0], metadata=metadata, timeout=30)
        elif rpc.client_streaming:
            await _drained(raw.stream_stream(path)(iter(payloads), metadata=metadata, timeout=30))
        else:
            await _drained(raw.unary_stream(path)(payloads[0], metadata=metadata, timeout=WATCH_SECONDS))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE and reason_of(error) == "DEPENDENCY_UNAVAILABLE":
            return "DEPENDENCY_UNAVAILABLE"
        if (error.details() or "").startswith("Internal error from Core"):
            # grpc.aio reports so when the service ends a stream to which the client still writes.
            return "CUT"
        return error.code().name
    return "OK"


async def _drained(call: Any) -> None:
    async for _ in call:
        pass


@pytest.mark.timeout(60 + INPUTS // 50)
async def test_no_input_breaks_a_service_or_reveals_a_secret(world: World) -> None:
    print(f"FUZZ_SEED={SEED} FUZZ_INPUTS={INPUTS}")
    _, device_token = await world.enrolled(OWN)
    texts, callers = await known(world), Callers(world, device_token)
    gate = scans_pb.StreamScansRequest(open=await world.gate(OWN)).SerializeToString()
    good = defaultdict[str, list[Any]](list)
    for name, request in REQUESTS.items():
        good[name.partition(" ")[0]] += [await request(world, side) for side in (OWN, FOREIGN)]
    scans = good["ScanService/ScanTicket"]
    good["ScanService/StreamScans"] += [scans_pb.StreamScansRequest(scan=request.attempt) for request in scans]
    secrets = [PEER_SECRET, CODE_SECRET, device_token]
    secrets += [text for text in texts if text.startswith(("T1", "TKT-"))]
    secrets += [value.removeprefix("Bearer ") for metadata in callers.everybody for _, value in metadata]
    fuzzer, ends, left = Fuzzer(random.Random(SEED), texts), Counter[tuple[str, str]](), [INPUTS]
    rpcs = list(RPCS.items())

    async def work() -> None:
        while left[0] > 0:
            left[0] -= 1
            name, rpc = fuzzer.chance.choice(rpcs)
            payloads = [fuzzer.payload(rpc.input_type, good[name])]
            if rpc.client_streaming:
                opened = [gate] if fuzzer.chance.random() < 0.8 else []
                more = fuzzer.chance.randint(0, 5)
                payloads = [*opened, *(fuzzer.payload(rpc.input_type, good[name]) for _ in range(more))]
            ends[name, await send(world, rpc, payloads, callers.any_for(rpc, fuzzer.chance))] += 1

    # Recorded statements and log lines would count as growth.
    world.close()
    listener = Listener(secrets)
    with only(listener):
        await asyncio.gather(*(work() for _ in range(CALLERS)), halfway(left, sizes := []))
    sizes.append(memory())
    print(f"{sum(ends.values())} calls, {listener.lines} log lines, grown by {(sizes[1] - sizes[0]) / 2**20:.1f} MiB")
    print(Counter(end for (_, end), count in ends.items() for _ in range(count)))
    assert {key: count for key, count in ends.items() if key[1] in {"INTERNAL", "UNKNOWN", "UNAVAILABLE"}} == {}
    assert listener.bad == []
    assert listener.lines
    assert sizes[1] - sizes[0] < MAX_GROWTH_BYTES
    # Both services still answer; an input may have cancelled, moved or erased what they list.
    for rpc in ("EventService/ListEvents", "DeviceService/ListDevices"):
        answer = await world.ask(RPCS[rpc], Empty(), world.issuer.metadata("organizer", "olga"))
        assert answer.word in {"some", "none"}


async def halfway(left: list[int], sizes: list[int]) -> None:
    """Record the size after half of the inputs, when the caches are full."""
    await until(lambda: left[0] <= INPUTS // 2, seconds=60 + INPUTS // 50)
    sizes.append(memory())
