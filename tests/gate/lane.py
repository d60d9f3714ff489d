"""A lane: a scanner, the dialogue with it, and a device without a connection that has loaded its event."""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import grpc
from nacl.signing import SigningKey

from tests.scanning.gates import token_of
from ticketing.admission.scans import Gate, ScanType
from ticketing.chassis.clock import system_clock
from ticketing.gate.client import ScanServiceClient
from ticketing.gate.connection import Connection
from ticketing.gate.connection_status import ConnectionState, ConnectionStatus
from ticketing.gate.credential import Credential
from ticketing.gate.device import Device
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.dialogue import Dialogue
from ticketing.gate.look_ups import LookUpResult
from ticketing.gate.messages import Answer, gate_message, timestamp
from ticketing.gate.notices import Notice
from ticketing.gate.reads import Read, input_events
from ticketing.gate.store import Store
from ticketing.gate.undo_code import UndoCode
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2, signing_key_pb2

KEY = SigningKey(bytes(range(32)))
EVENT_ID = uuid.UUID("0197a2b0-1111-7000-8000-00000000000a")
EPOCH = timestamp(system_clock().replace(year=2020))
SECOND_READ = 2.0


class RecordedView:
    """A view that records the calls of the gate."""

    def __init__(self) -> None:
        self.shown: list[Answer | Notice] = []
        self.typed: list[str] = []
        self.holders: list[tuple[str, str]] = []

    @property
    def answers(self) -> list[Answer]:
        return [shown for shown in self.shown if isinstance(shown, Answer)]

    def show(self, answer: Answer) -> None:
        self.shown.append(answer)

    def show_notice(self, notice: Notice) -> None:
        self.shown.append(notice)

    def show_holder(self, scan_id: str, name: str) -> None:
        self.holders.append((scan_id, name))

    def show_typed(self, text: str) -> None:
        self.typed.append(text)


class Lane(AbstractContextManager["Lane"]):
    """One lane; its clock of monotonic seconds is `time`."""

    def __init__(self, folder: Path, policy: str = "SINGLE_ENTRY", **options: Any) -> None:
        self.time = 0.0
        self.looked_up: list[str] = []
        # The answers for which a name is requested.
        self.named: list[Answer] = []
        self.look_up_result = LookUpResult()
        self.view = RecordedView()
        self.store = Store(folder / "gate.sqlite")
        # The tests of a lane cut no power.
        self.store._run("PRAGMA synchronous = OFF")  # noqa: SLF001 - a setting of SQLite
        self.undo_code = UndoCode(folder)
        gate = Gate(EVENT_ID, "North")
        client = ScanServiceClient(
            partial(grpc.insecure_channel, "127.0.0.1:1"), Credential("secret"), gate_message(gate)
        )
        clock = DeviceClock(None)
        clock.set(system_clock(), timedelta())
        connection = Connection(client, self.store, clock, answer_seconds=0)
        connection.status = ConnectionStatus(ConnectionState.OFFLINE, "Concert")
        self.device = Device(gate, ScanType.CHECK_IN, self.store, connection, clock)
        self._load(policy)
        self.dialogue = Dialogue(
            self.device,
            self.view,
            self.undo_code,
            EVENT_ID,
            lambda: getattr(self.store.rules(EVENT_ID), "keys", {}),
            now=lambda: self.time,
            look_up=self._look_up,
            request_name=self.named.append,
            **{"has_keyboard": True, **options},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def _look_up(self, text: str, show: Callable[[LookUpResult], None]) -> None:
        self.looked_up.append(text)
        show(self.look_up_result)

    def _load(self, policy: str) -> None:
        """Load the event, as the scan service sends it."""
        rules = pb.GateRules(
            event_name="Concert",
            status=event_pb2.EVENT_STATUS_PUBLISHED,
            admission_policy=event_pb2.AdmissionPolicy.Value(f"ADMISSION_POLICY_{policy}"),
            signing_keys=[signing_key_pb2.SigningKey(key_id=1, public_key=bytes(KEY.verify_key), activate_time=EPOCH)],
        )
        self.store.apply(EVENT_ID, pb.WatchAdmissionsResponse(rules=rules, cursor="1", restart=True), system_clock())

    def ticket(self) -> str:
        """Return the token of another ticket."""
        return token_of(KEY, EVENT_ID, uuid.uuid4())

    def read(self, text: str | bytes, *, later: float = SECOND_READ) -> list[Answer | Notice]:
        """Read a text `later` seconds after the last one; return what is shown."""
        self.time += later
        before = len(self.view.shown)
        data = text.encode() if isinstance(text, str) else text
        chunks = [data + b"\r", b""]
        for event in input_events(lambda seconds: chunks.pop(0), lambda: self.time):
            assert self.dialogue.handle(event)
        return self.view.shown[before:]

    def scan(self, text: str | bytes, *, later: float = SECOND_READ) -> Answer:
        """Read a text that gets one answer."""
        [answer] = self.read(text, later=later)
        assert isinstance(answer, Answer)
        return answer

    def handle(self, *events: Any) -> bool:
        """Handle events; return whether the program goes on."""
        return all(self.dialogue.handle(event) for event in events)

    def queued(self) -> list[pb.ScanAttempt]:
        """Return the decisions to deliver."""
        return list(self.store.queued(10_000, 10**9))


def by_hand(text: str) -> Read:
    """Return a line that a person typed."""
    return Read(text, by_hand=True)
