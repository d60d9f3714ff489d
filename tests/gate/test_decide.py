"""The device alone and the service give the same answer, on cases and on random histories."""

import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from conftest import CODE_SECRET
from gates import token_of
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from chassis.authentication import Caller, Role
from gate.connection import Connection
from gate.decide import UNKNOWN_KEY, Known, Question, decide_alone
from gate.device import Device
from gate.link import Link
from gate.messages import SCAN_TYPES, TICKET_TYPES, Rules, gate_message, previous_message, timestamp
from gate.store import Store
from scan_service.admission import Batch
from scan_service.convert.enums import ADMISSION_POLICIES, EVENT_STATUSES
from scan_service.convert.scans import AttemptReader
from scan_service.domain.codes import Codes
from scan_service.domain.scans import DenialReason, Gate, ScanType
from scan_service.domain.tickets import (
    Admission,
    AdmissionPolicy,
    Entry,
    Event,
    EventStatus,
    Ticket,
    TicketStatus,
    TicketType,
)
from scan_service.domain.tokens import PublicKey, read_token
from scan_service.holding import Holding
from scan_service.recognition import Recognition
from scan_service.store.admission import Held
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import ticket_feed_service_pb2

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY, RETIRED, FUTURE, FORGED = (SigningKey(bytes([number]) * 32) for number in range(4))
KEYS = {
    1: PublicKey(KEY.verify_key, NOON - 9 * HOUR, None),
    2: PublicKey(RETIRED.verify_key, NOON - 9 * HOUR, NOON - 8 * HOUR),
    3: PublicKey(FUTURE.verify_key, NOON + 99 * HOUR, None),
}
EVENT_ID, ELSEWHERE = uuid.UUID(int=1), uuid.UUID(int=2)
TICKET_IDS = [uuid.UUID(int=number) for number in range(10, 14)]
CODES = Codes(CODE_SECRET)
ALLOWED = [frozenset(), frozenset({TicketType.VIP})]
_STATUS_REASONS = {
    TicketStatus.ACTIVE: 0,
    TicketStatus.CANCELLED: scan_pb2.DENIAL_REASON_CANCELLED,
    TicketStatus.REFUNDED: scan_pb2.DENIAL_REASON_REFUNDED,
    TicketStatus.BLOCKED: scan_pb2.DENIAL_REASON_BLOCKED,
}


def texts() -> Sequence[str]:
    """What people show: good tokens of two issues, other events', forged, damaged, other keys', and no tokens."""
    good = [
        token_of(KEY, EVENT_ID, ticket_id, issue=issue, kind=kind)
        for ticket_id in TICKET_IDS
        for issue, kind in ((1, 1), (2, 2))
    ]
    odd = [token_of(key, EVENT_ID, TICKET_IDS[0], key_id=number) for number, key in ((1, FORGED), (2, RETIRED))]
    odd += [token_of(FUTURE, EVENT_ID, TICKET_IDS[0], key_id=3), token_of(KEY, EVENT_ID, TICKET_IDS[0], key_id=9)]
    return [*good, *odd, token_of(KEY, ELSEWHERE, TICKET_IDS[0]), good[0][:-1] + "7", "T1", "4006381333931"]


# A step is a scan, a change of a ticket, a change of the event, or the copy telling how a ticket stands.
SCANS = st.tuples(
    st.sampled_from(texts()), st.sampled_from(ScanType), st.sampled_from(ALLOWED), st.integers(-90, 90), st.booleans()
)
TICKETS = st.tuples(
    st.sampled_from(TICKET_IDS[:3]),
    st.sampled_from(TicketStatus),
    st.integers(1, 2),
    st.sampled_from([None, -30, 30]),
    st.sampled_from([None, 60, 90]),
)
EVENTS = st.tuples(st.sampled_from(EventStatus), st.sampled_from(AdmissionPolicy))
HISTORIES = st.lists(st.one_of(SCANS, SCANS, SCANS, TICKETS, EVENTS), max_size=25)


class FetchedKeys(dict[int, PublicKey]):
    """All there are."""

    def may_lack(self, key_id, since) -> bool:
        return False


@dataclass
class World:
    """The service's decisions, in memory, and a device beside it that is never connected."""

    store: Store
    channel: grpc.Channel
    now: datetime = NOON
    held: Held = field(default_factory=Held)

    def __post_init__(self) -> None:
        self.held.events[EVENT_ID] = Event(
            EVENT_ID,
            "orga",
            "Concert",
            EventStatus.PUBLISHED,
            AdmissionPolicy.RE_ENTRY,
            NOON - HOUR,
            NOON + HOUR,
            closed=False,
        )
        for ticket_id in TICKET_IDS[:3]:
            self._put(
                Ticket(EVENT_ID, ticket_id, TicketType.STANDARD, TicketStatus.ACTIVE, None, None, 1, b"", None), NOON
            )
        self.tell_rules()

    def change(self, ticket_id, status, issue, begin, end) -> None:
        ticket = self.held.tickets[EVENT_ID, ticket_id]
        self._put(
            replace(
                ticket,
                status=status,
                issue=issue,
                valid_from_time=None if begin is None else NOON + timedelta(minutes=begin),
                valid_until_time=None if end is None else NOON + timedelta(minutes=end),
            ),
            self.now,
        )

    def change_event(self, status, policy) -> None:
        self.held.events[EVENT_ID] = replace(self.held.events[EVENT_ID], status=status, policy=policy)
        self.tell_rules()

    def scan(self, text, scan_type, allowed, minutes, tell) -> tuple[object, object]:
        """Scan at both; return both answers."""
        self.now = NOON + timedelta(minutes=minutes)
        gate = Gate(EVENT_ID, "North", allowed)
        answer = self._service(text, scan_type, gate)
        device = self._device(text, scan_type, gate)
        if tell and (EVENT_ID, answer.ticket_id) in self.held.tickets:
            # Only now: before, the device would hear of its own scan as of another gate's.
            self._put(self.held.tickets[EVENT_ID, answer.ticket_id], self.now)
        return (answer.verdict, answer.denial_reason), device

    def _service(self, text, scan_type, gate):
        asked = pb.ScanTicketRequest(
            gate=gate_message(gate),
            attempt=pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=text, scan_type=SCAN_TYPES[scan_type]),
        )
        attempt = AttemptReader(Caller("sam", frozenset({Role.SCANNER})), CODES).read_request(asked)
        recognition = Recognition(self.held, FetchedKeys(KEYS), CODES, self.now)
        for ticket in recognition.unknown([attempt]):
            self.held.tickets[EVENT_ID, ticket.ticket_id] = ticket
        return Batch(Holding(self.held, recognition, self.now)).answer(attempt)

    def _device(self, text, scan_type, gate):
        link = Link(ScanServiceStub(self.channel), (), gate_message(gate))
        connection = Connection(link, self.store, lambda: self.now, answer_seconds=0)
        answer = Device(gate, scan_type, self.store, connection, lambda: self.now).scan(text, lambda _: None)
        return "ADMITTED" if answer.admitted else "DENIED", answer.reason

    def _put(self, ticket: Ticket, now: datetime) -> None:
        self.held.tickets[EVENT_ID, ticket.ticket_id] = ticket
        entry = ticket.admission.entry
        told = pb.TicketAdmission(
            ticket_id=ticket.ticket_id.bytes,
            ticket_type=TICKET_TYPES[ticket.ticket_type],
            denial_reason=_STATUS_REASONS[ticket.status],
            valid_from_time=ticket.valid_from_time and timestamp(ticket.valid_from_time),
            valid_until_time=ticket.valid_until_time and timestamp(ticket.valid_until_time),
            issue=ticket.issue,
            check_in=entry and previous_message(entry),
            inside=ticket.admission.inside,
        )
        self.store.apply(EVENT_ID, [pb.WatchAdmissionsResponse(tickets=[told])], now)

    def tell_rules(self) -> None:
        event = self.held.events[EVENT_ID]
        rules = pb.GateRules(
            event_name=event.name,
            status=EVENT_STATUSES[event.status],
            admission_policy=ADMISSION_POLICIES[event.policy],
            valid_from_time=timestamp(event.valid_from_time),
            valid_until_time=timestamp(event.valid_until_time),
            signing_keys=[
                ticket_feed_service_pb2.SigningKey(
                    key_id=key_id,
                    public_key=bytes(key.key),
                    activate_time=timestamp(key.activate_time),
                    retire_time=key.retire_time and timestamp(key.retire_time),
                )
                for key_id, key in KEYS.items()
            ],
        )
        self.store.apply(EVENT_ID, [pb.WatchAdmissionsResponse(rules=rules)], self.now)


@settings(max_examples=int(os.environ.get("TICKETING_ROUNDS", "60")), deadline=None)
@given(HISTORIES)
def test_a_device_alone_and_the_service_give_the_same_answers(history):
    with tempfile.TemporaryDirectory() as folder, grpc.insecure_channel("127.0.0.1:1") as channel:
        store = Store(Path(folder) / "gate.sqlite")
        try:
            world = World(store, channel)
            for step in history:
                if isinstance(step[0], str) and not isinstance(step[0], EventStatus):
                    service, device = world.scan(*step)
                    assert device == service, step
                elif isinstance(step[0], EventStatus):
                    world.change_event(*step)
                else:
                    world.change(*step)
        finally:
            store.close()


def test_a_token_of_a_key_that_is_not_known_is_not_let_in_and_says_so():
    question = _question(token_of(KEY, EVENT_ID, TICKET_IDS[0], key_id=9))
    ruling = decide_alone(question, Known(_rules()), NOON)
    assert (ruling.decision.reason, ruling.note) == (DenialReason.INVALID_SIGNATURE, UNKNOWN_KEY)


@pytest.mark.parametrize("own", [True, False])
def test_a_scan_whose_answer_was_lost_is_not_denied_for_itself(own):
    """The service admitted it and the copy, or an earlier try, tells of it."""
    question = _question(token_of(KEY, EVENT_ID, TICKET_IDS[0]))
    admission = Admission(NOON, Entry(question.scan_id, NOON, "North"), inside=True)
    ticket = Ticket(
        EVENT_ID, TICKET_IDS[0], TicketType.STANDARD, TicketStatus.ACTIVE, None, None, 1, b"", None, admission
    )
    known = Known(_rules(), None, admission) if own else Known(_rules(), ticket)
    assert decide_alone(question, known, NOON).decision.reason is None


def _rules() -> Rules:
    event = Event(
        EVENT_ID, "", "Concert", EventStatus.PUBLISHED, AdmissionPolicy.SINGLE_ENTRY, None, None, closed=False
    )
    return Rules(event, KEYS)


def _question(text: str) -> Question:
    return Question(uuid.UUID(int=5), text, read_token(text), ScanType.CHECK_IN, Gate(EVENT_ID, "North"))
