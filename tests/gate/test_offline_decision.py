"""The device and the service decide alike, on a table of cases and on random histories."""

import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import grpc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from scan_service.convert.attempts import AttemptParser
from scan_service.convert.changes import changes_message
from scan_service.domain import changes as feed_changes
from scan_service.domain.write_ahead_log import ServerLog
from scan_service.store.admission import LockedRows
from scan_service.use_cases.admission import ScanBatch
from scan_service.use_cases.batch_locker import LockedBatch
from scan_service.use_cases.keys import CachedKeys
from scan_service.use_cases.ticket_lookup import TicketLookup
from tests.environment.access import CODE_SECRET
from tests.scanning.cases import ADMITTED, DENIED, ELSEWHERE, EVENT, HERE, HOUR, NOON, TICKET
from tests.scanning.gates import token_of
from ticketing.admission.codes import Codes
from ticketing.admission.scans import DenialReason, Gate, ScanType
from ticketing.admission.tickets import (
    AdmissionPolicy,
    AdmissionState,
    CheckIn,
    Event,
    EventStatus,
    Ticket,
    TicketStatus,
    TicketType,
)
from ticketing.admission.tokens import PublicKey, read_token
from ticketing.chassis.callers import Caller, Role
from ticketing.gate.client import ScanServiceClient
from ticketing.gate.connection import Connection
from ticketing.gate.credential import Credential
from ticketing.gate.device import Device
from ticketing.gate.device_clock import CLOCK_UNKNOWN, Boot, DeviceClock
from ticketing.gate.messages import SCAN_TYPES, EventRules, gate_message
from ticketing.gate.offline_decision import UNKNOWN_KEY, DeviceRecords, DeviceScan, decide_offline
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2

KEY, RETIRED, FUTURE, FORGED = (SigningKey(bytes([number]) * 32) for number in range(4))
KEYS = {
    1: PublicKey(KEY.verify_key, NOON - 9 * HOUR, None),
    2: PublicKey(RETIRED.verify_key, NOON - 9 * HOUR, NOON - 8 * HOUR),
    3: PublicKey(FUTURE.verify_key, NOON + 99 * HOUR, None),
}
EVENT_ID = HERE
UNREACHABLE = partial(grpc.insecure_channel, "127.0.0.1:1")
TICKET_IDS = [uuid.UUID(int=number) for number in range(10, 14)]
CODES = Codes(CODE_SECRET)
ALLOWED = [frozenset(), frozenset({TicketType.VIP})]
EPOCH = uuid.UUID(int=3)


def texts() -> Sequence[str]:
    """Return genuine tokens of two issues, tokens of other events and keys, forged and damaged ones, other texts."""
    good = [
        token_of(KEY, EVENT_ID, ticket_id, issue=issue, kind=kind)
        for ticket_id in TICKET_IDS
        for issue, kind in ((1, event_pb2.TICKET_TYPE_STANDARD), (2, event_pb2.TICKET_TYPE_VIP))
    ]
    odd = [token_of(key, EVENT_ID, TICKET_IDS[0], key_id=number) for number, key in ((1, FORGED), (2, RETIRED))]
    odd += [token_of(FUTURE, EVENT_ID, TICKET_IDS[0], key_id=3), token_of(KEY, EVENT_ID, TICKET_IDS[0], key_id=9)]
    return [*good, *odd, token_of(KEY, ELSEWHERE, TICKET_IDS[0]), good[0][:-1] + "7", "T1", "4006381333931"]


# A step is a scan, a change of a ticket, or a change of the event; the replica receives the admission after some scans.
ANY_SCAN = st.tuples(
    st.sampled_from(texts()), st.sampled_from(ScanType), st.sampled_from(ALLOWED), st.integers(-90, 90), st.booleans()
)
# One person enters and leaves, because few random histories contain one ticket twice.
PASSING = st.tuples(
    st.just(texts()[0]),
    st.sampled_from(ScanType),
    st.just(frozenset[TicketType]()),
    st.integers(-20, 20),
    st.booleans(),
)
TICKETS = st.tuples(
    st.sampled_from(TICKET_IDS[:3]),
    st.sampled_from(TicketStatus),
    st.integers(1, 2),
    st.sampled_from([None, -30, 30]),
    st.sampled_from([None, 60, 90]),
)
# The days change at noon, or never within the hours of the scans.
DAYS = [("UTC", 12), ("Europe/Berlin", 14), ("Europe/Berlin", None), ("Moon/Tycho", 12)]
EVENTS = st.tuples(st.sampled_from(EventStatus), st.sampled_from(AdmissionPolicy), st.sampled_from(DAYS))
IN_AGAIN_OUT_IN = [
    (texts()[0], scan_type, frozenset[TicketType](), 0, False)
    for scan_type in (ScanType.CHECK_IN, ScanType.CHECK_IN, ScanType.CHECK_OUT, ScanType.CHECK_IN)
]
# One ticket on two days, whose check-out was forgotten.
TWO_DAYS: list[tuple[object, ...]] = [
    (EventStatus.PUBLISHED, AdmissionPolicy.ONCE_PER_DAY, ("Europe/Berlin", 14)),
    *((texts()[0], ScanType.CHECK_IN, frozenset[TicketType](), minutes, False) for minutes in (-9, -8, 8, 9)),
]
HISTORIES = st.lists(st.one_of(ANY_SCAN, PASSING, PASSING, TICKETS, EVENTS), max_size=25)


@dataclass
class World:
    """The service's decisions in memory, and a device without a connection beside it."""

    store: Store
    now: datetime = NOON
    held: LockedRows = field(default_factory=lambda: LockedRows(NOON))

    def __post_init__(self) -> None:
        self.put_event(replace(EVENT, policy=AdmissionPolicy.RE_ENTRY))
        for ticket_id in TICKET_IDS[:3]:
            self.put(Ticket(EVENT_ID, ticket_id, TicketType.STANDARD, TicketStatus.ACTIVE, None, None, 1, b"", None))

    def change(self, ticket_id, status, issue, begin, end) -> None:
        ticket = self.held.tickets[EVENT_ID, ticket_id]
        self.put(
            replace(
                ticket,
                status=status,
                issue=issue,
                valid_from_time=None if begin is None else NOON + timedelta(minutes=begin),
                valid_until_time=None if end is None else NOON + timedelta(minutes=end),
            )
        )

    def change_event(self, status, policy, days) -> None:
        zone, hour = days
        event = self.held.events[EVENT_ID]
        self.put_event(replace(event, status=status, policy=policy, time_zone=zone, day_change_hour=hour))

    def scan(self, text, scan_type, allowed, minutes, is_sent) -> tuple[object, object]:
        """Scan at the service and at the device; return both answers."""
        self.now = NOON + timedelta(minutes=minutes)
        gate = Gate(EVENT_ID, "North", allowed)
        answer = self.at_the_service(text, scan_type, gate)
        device = self.at_the_device(text, scan_type, gate)
        if is_sent and (EVENT_ID, answer.ticket_id) in self.held.tickets:
            # The replica changes after the device's scan; before, the change would look like a scan of another gate.
            self.put(self.held.tickets[EVENT_ID, answer.ticket_id])
        return (answer.verdict, answer.denial_reason), device

    def at_the_service(self, text, scan_type, gate):
        request = pb.ScanTicketRequest(
            gate=gate_message(gate),
            attempt=pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=text, scan_type=SCAN_TYPES[scan_type]),
        )
        attempt = AttemptParser(Caller("sam", frozenset({Role.SCANNER})), CODES).read_request(request)
        # The keys are fetched later than any scan, so no key is missing.
        keys = CachedKeys(KEYS, datetime.max.replace(tzinfo=UTC))
        ticket_lookup = TicketLookup(self.held, keys, CODES, self.now)
        for ticket in ticket_lookup.find_unknown([attempt]):
            self.held.tickets[EVENT_ID, ticket.ticket_id] = ticket
        batch = ScanBatch(LockedBatch(self.held, ticket_lookup, self.now))
        answer = batch.decide(attempt)
        for key, admission in batch.changed.items():
            self.held.tickets[key] = replace(self.held.tickets[key], admission=admission)
        return answer

    def at_the_device(self, text, scan_type, gate):
        client = ScanServiceClient(UNREACHABLE, Credential(""), gate_message(gate))
        clock = DeviceClock(None, boot=Boot("boot", lambda: self.now - datetime(2020, 1, 1, tzinfo=UTC)))
        clock.set(self.now, timedelta())
        connection = Connection(client, self.store, clock, answer_seconds=0)
        answer = Device(gate, scan_type, self.store, connection, clock).scan(text, lambda _: None)
        return "ADMITTED" if answer.admitted else "DENIED", answer.reason

    def put(self, ticket: Ticket) -> None:
        self.held.tickets[EVENT_ID, ticket.ticket_id] = ticket
        self._send(ticket)

    def put_event(self, event: Event) -> None:
        self.held.events[EVENT_ID] = event
        self._send()

    def _send(self, *tickets: Ticket) -> None:
        """Send the device the changes that the service would send."""
        rules = feed_changes.GateRules(self.held.events[EVENT_ID], KEYS)
        changes = feed_changes.Changes(
            rules, [(ticket, 1) for ticket in tickets], feed_changes.Cursor(EPOCH, 1), ServerLog(), restart=False
        )
        self.store.apply(EVENT_ID, changes_message(changes, None if tickets else rules, self.now), self.now)


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    store = Store(tmp_path / "gate.sqlite")
    yield World(store)
    store.close()


CASES = DENIED | {name: (changes, None) for name, changes in ADMITTED.items()}


@pytest.mark.parametrize("case", CASES)
def test_device_and_service_decide_the_table_alike(world, case):
    changes, reason = CASES[case]
    world.put_event(replace(EVENT, **changes.get("event", {})))
    ticket = replace(TICKET, **changes.get("ticket", {}), admission=changes.get("admission", AdmissionState()))
    if ticket.event_id == HERE:
        world.put(ticket)
    world.now = changes.get("time", NOON)
    text = token_of(KEY, ticket.event_id, ticket.ticket_id, issue=changes.get("issue", 2))
    scan = (text, changes.get("scan_type", ScanType.CHECK_IN), Gate(HERE, "South", changes.get("allowed", frozenset())))
    expected = ("DENIED" if reason else "ADMITTED", reason)
    answer = world.at_the_service(*scan)
    assert (answer.verdict, answer.denial_reason) == expected
    assert world.at_the_device(*scan) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (token_of(FORGED, HERE, TICKET_IDS[0]), DenialReason.INVALID_SIGNATURE),
        (token_of(KEY, HERE, TICKET_IDS[0])[:-1] + "7", DenialReason.INVALID_SIGNATURE),
        ("TKT-0123456789ABCDEF", DenialReason.TICKET_NOT_FOUND),
        ("4006381333931", DenialReason.TICKET_NOT_FOUND),
    ],
)
def test_device_and_service_deny_invalid_texts_alike(world, text, reason):
    scan = (text, ScanType.CHECK_IN, Gate(HERE, "South"))
    assert world.at_the_service(*scan).denial_reason == reason
    assert world.at_the_device(*scan) == ("DENIED", reason)


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("TICKETING_ROUNDS", "60")), deadline=None)
@given(HISTORIES)
@example(IN_AGAIN_OUT_IN)
@example(TWO_DAYS)
def test_device_and_service_decide_random_histories_alike(history):
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "gate.sqlite")
        try:
            world = World(store)
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


def test_token_of_an_unknown_key_is_denied_with_a_note():
    scan = _scan(token_of(KEY, EVENT_ID, TICKET_IDS[0], key_id=9))
    decided = decide_offline(scan, DeviceRecords(_rules()), NOON)
    assert (decided.decision.reason, decided.note) == (DenialReason.INVALID_SIGNATURE, UNKNOWN_KEY)


@pytest.mark.parametrize("own", [True, False])
def test_lost_answer_does_not_deny_the_same_scan(own):
    """The replica, or the device's own record, contains the admission of the same scan."""
    scan = _scan(token_of(KEY, EVENT_ID, TICKET_IDS[0]))
    admission = AdmissionState(NOON, CheckIn(scan.scan_id, NOON, "North"), inside=True)
    ticket = Ticket(
        EVENT_ID, TICKET_IDS[0], TicketType.STANDARD, TicketStatus.ACTIVE, None, None, 1, b"", None, admission
    )
    known = DeviceRecords(_rules(), None, admission) if own else DeviceRecords(_rules(), ticket)
    assert decide_offline(scan, known, NOON).decision.reason is None


@pytest.mark.parametrize(
    ("policy", "hour", "admits"),
    [
        (AdmissionPolicy.ONCE_PER_DAY, None, True),
        (AdmissionPolicy.RE_ENTRY, 4, True),
        (AdmissionPolicy.RE_ENTRY, None, False),
        (AdmissionPolicy.SINGLE_ENTRY, 4, False),
    ],
)
def test_a_device_that_lost_the_time_admits_on_what_may_be_another_day(policy, hour, admits):
    scan = _scan(token_of(KEY, EVENT_ID, TICKET_IDS[0]))
    before, after = NOON - HOUR / 60, NOON + HOUR / 60
    for time, expected in ((before, admits), (after, False)):
        check_in = CheckIn(uuid.UUID(int=9), time, "North")
        own = AdmissionState(time, check_in, inside=True)
        known = DeviceRecords(_rules(policy, hour), None, own)
        # The device estimates the time, and knew last that it was noon.
        decided = decide_offline(scan, known, NOON + HOUR, earliest=NOON)
        assert (decided.decision.reason is None) == expected
        assert decided.note == (CLOCK_UNKNOWN if expected else "")


def _rules(policy: AdmissionPolicy = AdmissionPolicy.SINGLE_ENTRY, hour: int | None = None) -> EventRules:
    event = Event(
        EVENT_ID, "", "Concert", EventStatus.PUBLISHED, policy, None, None, closed=False, day_change_hour=hour
    )
    return EventRules(event, KEYS)


def _scan(text: str) -> DeviceScan:
    return DeviceScan(uuid.UUID(int=5), text, read_token(text), ScanType.CHECK_IN, Gate(EVENT_ID, "North"))
