"""Every role calls every RPC about its own, a foreign and a missing object, and with every invalid credential.

The expected answers are written here by hand; they are not derived from the policies.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.descriptor import MethodDescriptor

from tests.contract.matrix_requests import REQUESTS
from tests.contract.matrix_world import FOREIGN, MISSING, OWN, RPCS, SHOP, Answer, Metadata, World
from tests.environment.access import PEER_METADATA, PEER_SECRET, Issuer
from ticketing.scans.v1 import device_service_pb2

pytestmark = pytest.mark.slow

SIDES = (OWN, FOREIGN, MISSING)
ROLES = ("user", "organizer", "scanner", "service", "device", "peer", "operator")
# One word for all three objects, or one each for the own, the foreign and the missing one. `no`: FORBIDDEN; `who`:
# UNAUTHENTICATED, which devices get at the ticket service; `-`: the reason in the second column.
EXPECTED = """
EventService/CreateEvent           |                        | no        | ok            | no         | no        | who       | no | no
EventService/GetEvent              | EVENT_NOT_FOUND        | ok ok -   | ok ok -       | ok ok -    | ok ok -   | who       | no | ok ok -
EventService/GetEvent draft        | EVENT_NOT_FOUND        | -         | ok - -        | -          | -         | who       | no | ok ok -
EventService/ListEvents            |                        | some      | some          | some       | some      | who       | no | some
EventService/ListEvents draft      |                        | no        | some          | no         | no        | who       | no | some
EventService/UpdateEvent           | EVENT_NOT_FOUND        | no        | ok - -        | no         | no        | who       | no | no no -
EventService/UpdateEvent move      | EVENT_NOT_FOUND        | no        | ok - -        | no         | no        | who       | no | ok ok -
EventService/PublishEvent          | EVENT_NOT_FOUND        | no        | ok - -        | no         | no        | who       | no | no
EventService/CancelEvent           | EVENT_NOT_FOUND        | no        | ok - -        | no         | no        | who       | no | ok ok -
EventService/PreviewEventCancellation | EVENT_NOT_FOUND     | no        | ok - -        | no         | no        | who       | no | ok ok -
EventService/GetEventSales         | EVENT_NOT_FOUND        | no        | ok - -        | no         | no        | who       | no | ok ok -
EventService/GetGateReplica        | EVENT_NOT_FOUND        | no        | ok - -        | no         | ok ok -   | who       | no | ok ok -
PurchaseService/PurchaseTickets    | EVENT_NOT_FOUND        | ok ok -   | ok - -        | no         | ok ok -   | who       | no | no
PurchaseService/PurchaseTickets paid | EVENT_NOT_FOUND      | no        | ok - -        | no         | ok ok -   | who       | no | no
PurchaseService/ConfirmPurchase    | PURCHASE_NOT_FOUND     | no        | ok - -        | no         | ok ok -   | who       | no | no
PurchaseService/ReleasePurchase    | PURCHASE_NOT_FOUND     | ok - -    | ok - -        | no         | ok ok -   | who       | no | ok ok -
PurchaseService/CorrectEmail       | PURCHASE_NOT_FOUND     | ok - -    | ok - -        | no         | ok ok -   | who       | no | no
PurchaseService/GetPurchase        | PURCHASE_NOT_FOUND     | ok - -    | ok - -        | no         | ok ok -   | who       | no | ok ok -
PurchaseService/ListPurchases      |                        | some none none | some none none | no   | some some none | who  | no | some some none
PurchaseService/ListDisputes       |                        | no        | some none none | no        | some some none | who  | no | some some none
TicketService/GetTicket            | TICKET_NOT_FOUND       | ok - -    | ok - -        | no         | ok ok -   | who       | no | ok ok -
TicketService/GetTicket code       | TICKET_NOT_FOUND       | ok - -    | ok - -        | no         | ok ok -   | who       | no | ok ok -
TicketService/ListTickets          |                        | some none none | some none none | no   | some some none | who  | no | some some none
TicketService/RenderTicket         | TICKET_NOT_FOUND       | ok - -    | ok - -        | no         | ok ok -   | who       | no | no
TicketService/CancelTicket         | TICKET_NOT_FOUND       | ok - -    | ok - -        | no         | ok ok -   | who       | no | ok ok -
TicketService/GetCancellation      | CANCELLATION_NOT_FOUND | ok - -    | ok - -        | no         | ok ok -   | who       | no | ok ok -
TicketService/ListCancellations    |                        | some none none | some none none | no   | some some none | who  | no | some some none
TicketService/RetryRefund          | CANCELLATION_NOT_FOUND | no        | ok - -        | no         | no        | who       | no | ok ok -
TicketService/ConfirmRefund        | CANCELLATION_NOT_FOUND | no        | ok - -        | no         | ok ok -   | who       | no | ok ok -
TicketService/RefundTicket         | TICKET_NOT_FOUND       | no        | ok - -        | no         | ok ok -   | who       | no | ok ok -
TicketService/ListOwedRefunds      |                        | no        | some none none | no        | some some none | who  | no | some some none
TicketService/ReissueTicket        | TICKET_NOT_FOUND       | ok - -    | ok - -        | no         | ok ok -   | who       | no | ok ok -
TicketService/TransferTicket       | TICKET_NOT_FOUND       | ok - -    | ok - -        | no         | ok ok -   | who       | no | no
TicketService/SetTicketBlocked     | TICKET_NOT_FOUND       | no        | ok - -        | no         | no        | who       | no | ok ok -
ChangeService/ListChanges          |                        | no        | some none none | no        | some some none | who  | no | some some none
ErasureService/Erase               |                        | no        | no            | no         | ok        | who       | no | no
TicketFeedService/WatchTickets     |                        | no        | no            | no         | no        | who       | ok | no
TicketFeedService/GetSigningKeys   |                        | no        | no            | no         | no        | who       | ok | no
TicketFeedService/ReportCheckIns   |                        | no        | no            | no         | no        | who       | ok | no
TicketFeedService/ReportIncidents  |                        | no        | no            | no         | no        | who       | ok | no
TicketFeedService/ListCheckIns     |                        | no        | no            | no         | no        | who       | none | no
TicketFeedService/ReportDevices    |                        | no        | no            | no         | no        | who       | ok | no
TicketFeedService/ListReportedDevices |                        | no        | no            | no         | no        | who       | none | no
TicketFeedService/FindTickets      |                        | no        | no            | no         | no        | who       | ok | no
TicketFeedService/GetTicketHolder  |                        | no        | no            | no         | no        | who       | ok | no
ScanService/ScanTicket             | EVENT_NOT_FOUND        | no        | ok - -        | ok ok -    | ok ok -   | ok - -    | no | no
ScanService/StreamScans            | EVENT_NOT_FOUND        | no        | ok - -        | ok ok -    | ok ok -   | ok - -    | no | no
ScanService/ValidateTicket         | EVENT_NOT_FOUND        | no        | ok - -        | ok ok -    | ok ok -   | ok - -    | no | no
ScanService/ValidateTicket anywhere |                       | no        | ok            | ok         | ok        | ok        | no | no
ScanService/AnnulScan              | SCAN_NOT_FOUND         | no        | ok - -        | ok ok -    | ok ok -   | denied - - | no | ok ok -
ScanService/ListScans              | EVENT_NOT_FOUND        | no        | some - -      | some some - | some some - | no     | no | some some -
ScanService/GetAttendance          | EVENT_NOT_FOUND        | no        | ok - -        | ok ok -    | ok ok -   | ok - -    | no | ok ok -
ScanService/WatchAttendance        | EVENT_NOT_FOUND        | no        | ok - -        | ok ok -    | ok ok -   | ok - -    | no | ok ok -
ScanService/ListIncidents          | EVENT_NOT_FOUND        | no        | none - -      | none none - | none none - | no     | no | none none -
ScanService/WatchAdmissions        | EVENT_NOT_FOUND        | no        | ok - -        | ok ok -    | ok ok -   | ok - -    | no | no
ScanService/LookUpTickets          | EVENT_NOT_FOUND        | no        | off - -       | off off -  | off off - | off - -   | no | no
ScanService/GetHolder              | EVENT_NOT_FOUND        | no        | other - -     | asks asks - | other other - | other - - | no | no
ReplicaService/GetReplicaPosition  |                        | no        | no            | no         | no        | no        | ok | no
RevocationService/RevokeTickets    |                        | no        | no            | no         | no        | no        | ok | no
RevocationService/RevokeEvent      |                        | no        | no            | no         | no        | no        | ok | no
ScannerService/EraseScanner        |                        | no        | no            | no         | no        | no        | ok | no
RecoveryService/ListKnownEvents    |                        | no        | no            | no         | no        | no        | some | no
RecoveryService/ListKnownTickets   |                        | no        | no            | no         | no        | no        | some some none | no
RecoveryService/ListKnownKeys      |                        | no        | no            | no         | no        | no        | some | no
DeviceService/CreateDevice         | EVENT_NOT_FOUND        | no        | ok - -        | no         | no        | no        | no | no
DeviceService/EnrollDevice         | ENROLLMENT_CODE_INVALID | ok ok -  | ok ok -       | ok ok -    | ok ok -   | ok ok -   | ok ok - | ok ok -
DeviceService/ListDevices          |                        | no        | some          | no         | no        | no        | no | some
DeviceService/RevokeDevice         | DEVICE_NOT_FOUND       | no        | ok - -        | no         | no        | no        | no | ok ok -
GateChangeService/ListChanges      |                        | no        | some none none | no        | some some none | no   | no | some some none
"""
WORDS = {
    "no": "FORBIDDEN",
    "who": "UNAUTHENTICATED",
    "denied": "SCAN_NOT_ANNULLABLE",
    "off": "LOOK_UP_NOT_ALLOWED",
    # The scan is another caller's.
    "other": "SCAN_NOT_FOUND",
    # The scan service of the matrix has no ticket service that could answer.
    "asks": "DEPENDENCY_UNAVAILABLE",
}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    absent: str
    cells: dict[str, tuple[str, str, str]]

    @property
    def rpc(self) -> MethodDescriptor:
        return RPCS[self.name.partition(" ")[0]]


def rows() -> list[Row]:
    found = []
    for line in EXPECTED.strip().splitlines():
        name, absent, *cells = (cell.strip() for cell in line.split("|"))
        words = [[{"-": absent, **WORDS}.get(word, word) for word in cell.split()] for cell in cells]
        triples = [tuple(three * 3 if len(three) == 1 else three) for three in words]
        found.append(Row(name, absent, dict(zip(ROLES, triples, strict=True))))  # type: ignore[arg-type]  # of three
    return found


def test_every_rpc_has_its_place_in_the_matrix() -> None:
    placed = [row.name.partition(" ")[0] for row in rows()]
    assert set(placed) == set(RPCS)
    assert {row.name for row in rows()} == set(REQUESTS)


async def metadata_of(world: World, role: str) -> Metadata:
    if role == "peer":
        return PEER_METADATA
    if role == "device":
        return (("authorization", f"Bearer {world.device_token}"),)
    subject = {"user": "alice", "organizer": "olga", "scanner": "sam", "service": SHOP[1], "operator": "opal"}[role]
    return world.issuer.metadata(role, subject)


def without_ids(message: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|TKT-[0-9A-F]{16}", "…", message)


async def test_every_role_gets_the_expected_answers(world: World) -> None:
    _, world.device_token = await world.enrolled(OWN)
    wrong = []
    for row in rows():
        for role, expected in row.cells.items():
            metadata = await metadata_of(world, role)
            answers: dict[str, Answer] = {}
            for side, word in zip(SIDES, expected, strict=True):
                request = await REQUESTS[row.name](world, side)
                answers[side] = answer = await world.ask(row.rpc, request, metadata)
                if answer.word != word:
                    wrong.append(f"{row.name} by {role} about {side}: {answer.word} {answer.message!r}, not {word}")
            foreign, missing = answers[FOREIGN], answers[MISSING]
            if foreign.word == missing.word == row.absent:
                # Neither the text nor the statements may reveal which of the two it was.
                if without_ids(foreign.message) != without_ids(missing.message):
                    wrong.append(f"{row.name} by {role}: {foreign.message!r} or {missing.message!r}")
                if foreign.statements != missing.statements:
                    wrong.append(f"{row.name} by {role}: foreign and missing are looked up in different ways")
    assert "\n".join(wrong) == ""


def forged(issuer: Issuer, device_tokens: tuple[str, str]) -> dict[str, str | None]:
    """Return invalid credentials by name; they claim the organizer, whose rights reach furthest."""
    public = issuer.private_key.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = {
        "iss": "ticketing",
        "aud": "ticketing",
        "sub": "olga",
        "roles": ["organizer", "service", "scanner", "user", "peer"],
        "exp": datetime.now(UTC) + timedelta(hours=1),
    }
    header = {"kid": "test"}
    stranger = Ed25519PrivateKey.generate()
    return {
        "none": None,
        "empty": "",
        "garbage": "a.b.c",
        "expired": issuer.token("organizer", "olga", exp=datetime.now(UTC) - timedelta(minutes=5)),
        "foreign issuer": issuer.token("organizer", "olga", iss="https://elsewhere.example"),
        "wrong audience": issuer.token("organizer", "olga", aud="shop"),
        "alg none": jwt.encode(claims, "", algorithm="none", headers=header),
        "key confusion, raw": jwt.encode(claims, raw, algorithm="HS256", headers=header),
        "key confusion, PEM": _hmac(claims, pem),
        "stranger's key": jwt.encode(claims, stranger, algorithm="EdDSA", headers=header),
        "unknown key": jwt.encode(claims, issuer.private_key, algorithm="EdDSA", headers={"kid": "other"}),
        "says to be the peer": issuer.token("peer", "peer"),
        "says to be a device": issuer.token("device", "device"),
        "not the peer's secret": PEER_SECRET + "0",
        "revoked device": device_tokens[0],
        "unknown device": device_tokens[1],
    }


def _hmac(claims: dict[str, Any], secret: bytes) -> str:
    """Sign by HMAC with a public key as the secret, which PyJWT refuses to do."""
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    payload = {**claims, "exp": int(claims["exp"].timestamp())}
    parts = [
        jwt.utils.base64url_encode(json.dumps(part).encode())
        for part in ({"alg": "HS256", "typ": "JWT", "kid": "test"}, payload)
    ]
    signature = jwt.utils.base64url_encode(algorithm.sign(b".".join(parts), secret))
    return b".".join([*parts, signature]).decode()


async def test_no_invalid_credential_is_accepted(world: World) -> None:
    device_id, revoked = await world.enrolled(OWN)
    await world.devices.RevokeDevice(
        device_service_pb2.RevokeDeviceRequest(device_id=device_id), metadata=world.issuer.metadata("organizer", "olga")
    )
    wrong = []
    for name, credential in forged(world.issuer, (revoked, "device_" + "A" * 43)).items():
        metadata = () if credential is None else (("authorization", f"Bearer {credential}"),)
        for rpc, method in RPCS.items():
            # EnrollDevice requires the code alone.
            expected = "ENROLLMENT_CODE_INVALID" if rpc == "DeviceService/EnrollDevice" else "UNAUTHENTICATED"
            request = await REQUESTS[rpc](world, MISSING)
            answer = await world.ask(method, request, metadata)
            if answer.word != expected:
                wrong.append(f"{rpc} with {name}: {answer.word}, not {expected}")
    assert "\n".join(wrong) == ""
