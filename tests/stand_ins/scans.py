"""An in-memory scan service that follows the contract for devices; tests can lose or delay its answers."""

import queue
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from nacl.signing import SigningKey

from scan_service.errors import CATALOGUE
from tests.scanning.gates import ticket_id_in, token_of
from ticketing.admission.decision import PresentedTicket, decide
from ticketing.admission.scans import Gate, ScanType
from ticketing.admission.tickets import AdmissionState, CheckIn
from ticketing.admission.tokens import Token, is_genuine, read_token
from ticketing.chassis.failures import Failure, unauthenticated
from ticketing.chassis.tls import PLAIN, Tls
from ticketing.gate.messages import (
    DENIAL_REASONS,
    TICKET_TYPES,
    previous_message,
    rules_of,
    ticket_of,
    time_of,
    timestamp,
)
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceServicer, add_ScanServiceServicer_to_server
from ticketing.tickets.v1 import event_pb2, signing_key_pb2

DAY = timedelta(days=1)
REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED: unauthenticated("the device was revoked"),
    grpc.StatusCode.PERMISSION_DENIED: Failure(
        "FORBIDDEN", "the device is not for this event", event_id=uuid.UUID(int=1)
    ),
}
KINDS = {1: ScanType.CHECK_IN, 2: ScanType.CHECK_OUT, 3: ScanType.ACCESS}


class ScanServiceStandIn(ScanServiceServicer):
    """A scan service with one event. `lose` names the kinds of lost answers; `refusal` is the status that ends streams.

    With `foreign`, refusals have no ErrorInfo, as those of proxies and portals.
    """

    def __init__(self) -> None:
        now = datetime.now(UTC)
        self.key = SigningKey.generate()
        self.event_id = uuid.uuid4()
        self.rules = pb.GateRules(
            event_name="Concert",
            status=event_pb2.EVENT_STATUS_PUBLISHED,
            admission_policy=event_pb2.ADMISSION_POLICY_SINGLE_ENTRY,
            signing_keys=[
                signing_key_pb2.SigningKey(
                    key_id=1, public_key=bytes(self.key.verify_key), activate_time=timestamp(now - DAY)
                )
            ],
            valid_from_time=timestamp(now - DAY),
            valid_until_time=timestamp(now + DAY),
        )
        self.lose: set[str] = set()
        self.refusal: grpc.StatusCode | None = None
        self.foreign = False
        # The access token of every stream that was opened.
        self.credentials: list[str] = []
        self.rejecting: dict[str, error_reason_pb2.ErrorReason.ValueType] = {}
        # The retry time of a rejected scan.
        self.retry_after: Duration | None = None
        self.ahead = timedelta()
        self.credits = 50
        # The tickets of a page, the pages after which a stream of admissions ends (-1: never), and where each began.
        self.page_size = 1_000
        self.pages_per_stream = -1
        self.after_cursors: list[str] = []
        # The responses after which a stream of admissions sends nothing more and stays open (-1: never).
        self.silent_after = -1
        self.records: dict[str, scan_pb2.Scan] = {}
        self.uploads: list[pb.Upload] = []
        self.asked: list[str] = []
        self.passages: list[pb.Passage] = []
        self.open_streams = 0
        self._tickets: dict[bytes, tuple[int, pb.TicketAdmission]] = {}
        self._version = 1
        self._changed = threading.Condition()
        self._ends: list[queue.SimpleQueue[Any]] = []

        self.found = pb.LookUpTicketsResponse()
        self.holder = pb.GetHolderResponse(allowed=False)
        # The scan_ids of the requests for names, and the error that answers them.
        self.named: list[str] = []
        self.holder_error: grpc.StatusCode | None = None
        # Look-ups and names wait for this event.
        self.may_find = threading.Event()
        self.may_find.set()

    # Tests prepare the event by these methods.

    def ticket(self, *, copied: bool = True, **values) -> str:
        """Create a ticket; return its token."""
        ticket_id = uuid.uuid4()
        if copied:
            self.put(
                pb.TicketAdmission(
                    ticket_id=ticket_id.bytes, ticket_type=event_pb2.TICKET_TYPE_STANDARD, issue=1, **values
                )
            )
        return token_of(self.key, self.event_id, ticket_id)

    def put(self, admission: pb.TicketAdmission) -> None:
        with self._changed:
            self._version += 1
            self._tickets[admission.ticket_id] = (self._version, admission)
            self._changed.notify_all()

    def state(self, token: str) -> pb.TicketAdmission:
        return self._tickets[ticket_id_in(token).bytes][1]

    def ticket_count(self) -> int:
        return len(self._tickets)

    def end_streams(self, message: object = None) -> None:
        """End every stream, or send a message on it."""
        for outgoing in self._ends:
            outgoing.put(message)

    # The API of devices.

    def StreamScans(self, request_iterator, context):  # noqa: N802
        self.credentials.append(dict(context.invocation_metadata())["authorization"])
        if self.refusal is not None:
            self._abort(context, self.refusal)
        outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        reader = threading.Thread(target=self._read, args=(request_iterator, outgoing))
        self._ends.append(outgoing)
        self.open_streams += 1
        reader.start()
        while (response := outgoing.get()) is not None:
            if isinstance(response, grpc.StatusCode):
                self._abort(context, response)
            if response.WhichOneof("message") not in self.lose:
                yield response
        self._ends.remove(outgoing)

    def _abort(self, context, code: grpc.StatusCode) -> None:
        if self.foreign or code not in REFUSALS:
            context.abort(code, "Received http2 header with status: 401" if self.foreign else "ended")
        context.abort_with_status(CATALOGUE.status(REFUSALS[code]))

    def _read(self, requests, outgoing) -> None:
        gate = None
        try:
            for request in requests:
                kind = request.WhichOneof("message")
                if kind == "open":
                    gate = request.open
                    opened = pb.GateOpened(
                        event_name=self.rules.event_name,
                        server_time=timestamp(self.now()),
                        max_outstanding_scans=8,
                        max_outstanding_uploads=self.credits,
                    )
                    outgoing.put(pb.StreamScansResponse(opened=opened))
                elif kind == "scan":
                    # The flag is read before `asked` changes: a test that sees the scan may let answers arrive again.
                    is_lost = "result" in self.lose
                    self.asked.append(request.scan.scan_id)
                    answer = self._answer(request.scan, gate)
                    if not is_lost:
                        outgoing.put(answer)
                elif kind == "passage":
                    self.passages.append(request.passage)
                    if (reason := self.rejecting.get("passage")) is not None:
                        rejection = pb.Rejection(scan_id=request.passage.scan_id, reason=reason, message="too late")
                        outgoing.put(pb.StreamScansResponse(rejected=rejection))
                        continue
                    scan = self.records[request.passage.scan_id]
                    scan.annul_time.CopyFrom(timestamp(self.now()))
                    outgoing.put(pb.StreamScansResponse(annulled=scan))
                elif kind == "upload":
                    self.uploads.append(request.upload)
                    outgoing.put(self._uploaded(request.upload))
        except grpc.RpcError:
            pass
        outgoing.put(None)

    def _answer(self, attempt, gate):
        if (reason := self.rejecting.get("scan")) is not None:
            rejected = pb.Rejection(
                scan_id=attempt.scan_id, reason=reason, message="too much", retry_after=self.retry_after
            )
            return pb.StreamScansResponse(rejected=rejected)
        return pb.StreamScansResponse(result=self._decided(attempt, gate))

    def _decided(self, attempt, gate):
        with self._changed:
            if attempt.scan_id in self.records:
                return self.records[attempt.scan_id]
            scan = scan_pb2.Scan(
                scan_id=attempt.scan_id, code=attempt.code, scan_type=attempt.scan_type or scan_pb2.SCAN_TYPE_CHECK_IN
            )
            scan.scan_time.CopyFrom(timestamp(self.now()))
            scan.location = gate.location
            self.records[attempt.scan_id] = scan
            token, rules = read_token(attempt.code), rules_of(self.event_id, self.rules)
            if not isinstance(token, Token) or not is_genuine(token, None, rules.keys.get(token.key_id), self.now()):
                scan.verdict = scan_pb2.VERDICT_DENIED
                scan.denial_reason = scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
                return scan
            scan.ticket_id, scan.event_id = str(token.ticket_id), str(token.event_id)
            known = pb.TicketAdmission(
                ticket_id=token.ticket_id.bytes, ticket_type=event_pb2.TICKET_TYPE_STANDARD, issue=token.issue
            )
            row = self._tickets.get(token.ticket_id.bytes, (0, known))[1]
            ticket = replace(ticket_of(self.event_id, row), event_id=token.event_id)
            entry = CheckIn(uuid.UUID(attempt.scan_id), self.now(), gate.location)
            shown = PresentedTicket(ticket, token.issue, token.ticket_type, by_token=True)
            decision = decide(rules.event, Gate(self.event_id, gate.location), shown, KINDS[scan.scan_type], entry)
            scan.ticket_type = TICKET_TYPES[token.ticket_type]
            scan.verdict = scan_pb2.VERDICT_DENIED if decision.reason else scan_pb2.VERDICT_ADMITTED
            if decision.reason:
                scan.denial_reason = DENIAL_REASONS[decision.reason]
            if decision.previous:
                scan.previous.CopyFrom(previous_message(decision.previous))
            if decision.admission:
                self.put(_after(row, decision.admission))
            return scan

    def _uploaded(self, upload):
        assert 0 < len(upload.scans) <= self.credits
        if (reason := self.rejecting.get("upload")) is not None:
            return pb.StreamScansResponse(rejected=pb.Rejection(reason=reason))
        uploaded = pb.Uploaded()
        for attempt in upload.scans:
            assert attempt.HasField("offline")
            reason = self.rejecting.get(attempt.code)
            if reason is not None:
                uploaded.rejected.add(scan_id=attempt.scan_id, reason=reason)
                continue
            offline = attempt.offline
            corrected = time_of(offline.scan_time) + offline.clock_offset.ToTimedelta()
            scan = scan_pb2.Scan(
                scan_id=attempt.scan_id,
                code=attempt.code,
                scan_type=attempt.scan_type,
                verdict=offline.verdict,
                denial_reason=offline.denial_reason,
                scan_time=timestamp(corrected),
                location=offline.gate.location,
                offline=True,
                doubtful_time=offline.clock_unknown,
            )
            if offline.HasField("annul_time"):
                scan.annul_time.CopyFrom(offline.annul_time)
            self._check_in(scan)
            self.records[scan.scan_id] = scan
            uploaded.results.append(scan)
        return pb.StreamScansResponse(uploaded=uploaded)

    def _check_in(self, scan: scan_pb2.Scan) -> None:
        """Record an uploaded check-in in the state of its ticket."""
        token = read_token(scan.code)
        row = self._tickets.get(token.ticket_id.bytes) if isinstance(token, Token) else None
        if row is None or scan.verdict != scan_pb2.VERDICT_ADMITTED or scan.HasField("annul_time"):
            return
        if scan.scan_type != scan_pb2.SCAN_TYPE_CHECK_OUT and not row[1].inside:
            entry = CheckIn(uuid.UUID(scan.scan_id), time_of(scan.scan_time), scan.location)
            self.put(_after(row[1], AdmissionState(entry.time, entry, inside=True)))

    def LookUpTickets(self, request, context):  # noqa: N802
        self.may_find.wait(40)
        return self.found

    def GetHolder(self, request, context):  # noqa: N802
        self.named.append(request.scan_id)
        self.may_find.wait(40)
        if self.holder_error is not None:
            context.abort(self.holder_error, "")
        return self.holder

    def WatchAdmissions(self, request, context):  # noqa: N802
        if self.refusal is not None:
            self._abort(context, self.refusal)
        self.after_cursors.append(request.after_cursor)
        if self.silent_after >= 0:
            yield from islice(self._all_changes(request, context), self.silent_after)
            # gRPC ends the handler of a call that the device has cancelled only at its next response.
            while context.is_active():
                with self._changed:
                    self._changed.wait(0.02)
        else:
            yield from self._all_changes(request, context)

    def _all_changes(self, request, context):
        seen = int(request.after_cursor or 0)
        yield self._changes([], seen, rules=self.rules, restart=not request.after_cursor)
        for pages in count():
            if not context.is_active() or pages == self.pages_per_stream:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._version > seen, 0.1)  # noqa: B023 - called in this iteration
                news = sorted((row for row in self._tickets.values() if row[0] > seen), key=lambda row: row[0])
                page = news[: self.page_size]
                seen = page[-1][0] if page else self._version
            if page and "admissions" not in self.lose:
                yield self._changes([admission for _, admission in page], seen)

    def _changes(self, tickets, seen: int, **fields) -> pb.WatchAdmissionsResponse:
        is_last = all(version <= seen for version, _ in self._tickets.values())
        return pb.WatchAdmissionsResponse(
            tickets=tickets,
            cursor=str(seen) if is_last else "",
            page_cursor="" if is_last else str(seen),
            server_time=timestamp(self.now()),
            **fields,
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def _after(row, admission):
    changed = pb.TicketAdmission()
    changed.CopyFrom(row)
    changed.inside = admission.inside
    if admission.latest_check_in is not None:
        changed.check_in.CopyFrom(previous_message(admission.latest_check_in))
    return changed


class StandInServer:
    """The stand-in on a port; tests can stop and restart it."""

    def __init__(self, service: ScanServiceStandIn, tls: Tls = PLAIN) -> None:
        self.service = service
        self.port = 0
        self._tls = tls
        self._server: grpc.Server | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(12), options=[("grpc.so_reuseport", 0)])
        add_ScanServiceServicer_to_server(self.service, self._server)
        address = f"127.0.0.1:{self.port}"
        [credentials] = self._tls.server_credentials()
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.stop(0).wait()
