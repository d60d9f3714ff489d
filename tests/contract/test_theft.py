"""A stolen dump of a database or a stolen device contains nothing that admits, signs or calls.

A thief has the formats and everything in the dumps, but not the two secrets and the signing key, which stand outside.
"""

import base64
import re
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from nacl.signing import SigningKey
from sqlalchemy.engine import URL

from tests.contract.matrix_world import OWN, RPCS, World
from tests.environment.streams import next_message
from tests.environment.waiting import until
from tests.scanning.gates import NOW, Device, Service, ShownTicket, token_of
from ticketing.chassis.postgres.launcher import find_programs
from ticketing.scans.v1 import device_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as scans_pb
from ticketing.tickets.v1 import event_pb2

pytestmark = pytest.mark.slow

WINDOW = 50


def dump(url: URL) -> str:
    """Dump a database, as an operator does every night."""
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    command: list[str | Path] = [find_programs() / "pg_dump", "--data-only", f"--dbname={plain}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def binaries(texts: Iterable[str]) -> set[bytes]:
    """Return the values of columns of bytes."""
    return {bytes.fromhex(text[3:]) for text in texts if re.fullmatch(r"\\\\x[0-9a-f]+", text)}


def texts_of(dumped: str) -> set[str]:
    """Return every field, and every word of JSON documents."""
    fields = set(re.split(r"[\t\n]", dumped))
    return (fields | set(re.split(r"[\s\"',:{}\[\]()]+", dumped))) - {""}


def spelled(data: bytes) -> set[str]:
    """Return every spelling of bytes as a code, a token or a credential."""
    encoded = base64.b32encode(data).decode().rstrip("=")
    return {
        *(data.hex(), base64.b64encode(data).decode(), encoded),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        f"T1{encoded}",
        f"TKT-{data.hex()[:16].upper()}",
        f"device_{base64.urlsafe_b64encode(data).decode().rstrip('=')}",
    }


async def opened(world: World, gate_event: uuid.UUID, codes: Iterable[str]) -> list[str]:
    """Scan everything at a gate; return the admitted texts."""
    gate = Device(Service(None, world.scans, world.issuer, None))  # type: ignore[arg-type]  # neither is used
    await gate.open(gate_event)
    admitted, codes = [], list(codes)
    for begin in range(0, len(codes), WINDOW):
        window = codes[begin : begin + WINDOW]
        for code in window:
            await gate.ask(code)
        for code in window:
            answer = await gate.receive()
            assert answer.WhichOneof("message") == "result", answer
            if answer.result.verdict == scan_pb2.VERDICT_ADMITTED:
                admitted.append(code)
    await gate.call.done_writing()
    return admitted


async def accepted(world: World, texts: Iterable[str]) -> list[str]:
    """Send every text as a credential to both services and as an enrollment code; return the accepted ones."""
    taken = []
    for text in texts:
        if not text.isascii() or not text.isprintable():
            continue
        bearer = (("authorization", f"Bearer {text}"),)
        enroll = device_service_pb2.EnrollDeviceRequest(enrollment_code=text[:100])
        tried: list[tuple[str, Message, tuple[tuple[str, str], ...], str]] = [
            ("TicketFeedService/GetSigningKeys", scans_pb.ListScansRequest(), bearer, "UNAUTHENTICATED"),
            ("DeviceService/ListDevices", device_service_pb2.ListDevicesRequest(), bearer, "UNAUTHENTICATED"),
            ("DeviceService/EnrollDevice", enroll, (), "ENROLLMENT_CODE_INVALID"),
        ]
        for rpc, request, metadata, expected in tried:
            if (await world.ask(RPCS[rpc], request, metadata)).word not in {expected, "INVALID_ARGUMENT"}:
                taken.append(f"{rpc}: {text}")
    return taken


async def recorded(world: World, gate_event: uuid.UUID) -> list[ShownTicket]:
    """Record denied scans of valid tickets: at a gate for another type, or before their replication."""
    tickets = [world.copy.ticket(gate_event, ticket_type="VIP") for _ in range(2)]
    not_copied = world.copy.unknown(gate_event)
    narrow = scan_pb2.Gate(
        event_id=str(gate_event), location="South", allowed_ticket_types=[event_pb2.TICKET_TYPE_STANDARD]
    )
    for text in (tickets[0].token, tickets[1].code, not_copied.code, f" {not_copied.token}"):
        attempt = scans_pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=text)
        request = scans_pb.ScanTicketRequest(gate=narrow, attempt=attempt)
        answer = await world.ask(RPCS["ScanService/ScanTicket"], request, world.issuer.metadata("scanner", "sam"))
        assert answer.word == "ok"
    return [*tickets, not_copied]


def forged(keys: Iterable[bytes], tickets: Iterable[ShownTicket]) -> set[str]:
    """Sign with every value that has the length of a key."""
    return {
        token_of(SigningKey(key), ticket.event_id, ticket.ticket_id, key_id=key_id)
        for key in keys
        if len(key) == 32
        for ticket in tickets
        for key_id in (1, 2)
    }


async def test_stolen_dumps_admit_nobody_sign_nothing_and_call_nothing(
    world: World, tickets_url: URL, scans_url: URL
) -> None:
    sold = (await world.purchase(OWN)).tickets[0]
    # The ticket as the feed sends it, with the values that both services store of its code and its token.
    gate_event = uuid.UUID(sold.event_id)
    world.copy.event(event_id=gate_event, organizer_id="olga", valid_from_time=NOW.replace(year=2020))
    world.copy.event(event_id=uuid.uuid4())
    tickets = await recorded(world, gate_event)
    await world.enrolled(OWN)
    await world.device(OWN)
    dumped = dump(tickets_url) + dump(scans_url)
    for ticket in tickets:
        assert str(ticket.ticket_id) in dumped or ticket is tickets[-1]
    assert sold.ticket_id in dumped
    texts = texts_of(dumped)
    found = binaries(texts)
    assert len(found) > 10
    guesses = texts | {spelling for data in found for spelling in spelled(data)} | forged(found, tickets)
    print(f"{len(texts)} texts and {len(found)} values in the dumps, {len(guesses)} guesses tried")
    assert await opened(world, gate_event, guesses) == []
    assert await accepted(world, [text for text in guesses if len(text) > 15]) == []
    # The gate was open: it admits codes and tokens that the dumps do not contain.
    assert await opened(world, gate_event, [ticket.code for ticket in tickets[:2]]) != []
    assert await opened(world, gate_event, [tickets[-1].token]) != []


async def test_a_stolen_device_has_no_access_after_its_revocation(world: World) -> None:
    shown = await world.shown(OWN)
    device_id, token = await world.enrolled(OWN)
    bearer = (("authorization", f"Bearer {token}"),)
    watch = world.scans.unary_stream(
        "/ticketing.scans.v1.ScanService/WatchAdmissions",
        request_serializer=scans_pb.WatchAdmissionsRequest.SerializeToString,
        response_deserializer=scans_pb.WatchAdmissionsResponse.FromString,
    )(scans_pb.WatchAdmissionsRequest(event_id=str(shown.event_id)), metadata=bearer)
    received = await next_message(watch)
    watch.cancel()
    assert [ticket.ticket_id for ticket in received.tickets] == [shown.ticket_id.bytes]
    organizer = world.issuer.metadata("organizer", "olga")
    await world.devices.RevokeDevice(device_service_pb2.RevokeDeviceRequest(device_id=device_id), metadata=organizer)
    keys = [key.public_key for key in received.rules.signing_keys]
    found = {shown.ticket_id.bytes, shown.event_id.bytes, *keys}
    guesses = {token, device_id, received.cursor, *(spelling for data in found for spelling in spelled(data))}
    assert await opened(world, shown.event_id, guesses | forged(keys, [shown])) == []
    # A process caches a device for a second; the matrix shows the refusal for every RPC.

    async def word() -> str:
        return (await world.ask(RPCS["DeviceService/ListDevices"], Empty(), bearer)).word

    await until(word, "UNAUTHENTICATED")
    assert await accepted(world, guesses) == []
