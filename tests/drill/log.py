"""The log outside of the system: every acknowledged answer of a history, and the state that it adds up to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ticketing.admission.tokens import Token, read_token


class Kind(StrEnum):
    """The kind of an acknowledged answer."""

    EVENT_CREATED = "EVENT_CREATED"
    EVENT_PUBLISHED = "EVENT_PUBLISHED"
    # The gates have the changed field.
    EVENT_RENAMED = "EVENT_RENAMED"
    # Only the tickets database has the changed field.
    CAPACITY_CHANGED = "CAPACITY_CHANGED"
    EVENT_CANCELLED = "EVENT_CANCELLED"
    HELD = "HELD"
    RELEASED = "RELEASED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    REISSUED = "REISSUED"
    BLOCKED = "BLOCKED"
    UNBLOCKED = "UNBLOCKED"
    KEY_ADDED = "KEY_ADDED"
    KEY_RETIRED = "KEY_RETIRED"
    DEVICE_ENROLLED = "DEVICE_ENROLLED"
    DEVICE_REVOKED = "DEVICE_REVOKED"
    # No database has the enrollment any more.
    DEVICE_LOST = "DEVICE_LOST"
    # A gate showed an answer to a person.
    SHOWN = "SHOWN"
    # The scan service has recorded an admission that a gate showed.
    RECORDED = "RECORDED"
    # Both services had everything of each other.
    SETTLED = "SETTLED"
    BACKED_UP = "BACKED_UP"
    DISASTER = "DISASTER"


@dataclass(frozen=True)
class Entry:
    """One line of the log."""

    number: int
    kind: Kind
    facts: dict[str, Any]
    time: datetime


@dataclass
class Log:
    """The lines in their order."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, kind: Kind, **facts: Any) -> None:
        """Append a line."""
        self.entries.append(Entry(len(self.entries), kind, facts, datetime.now(UTC)))

    def world(self, end: int | None = None) -> "World":
        """Return the state that the first `end` lines add up to, by default all."""
        return World.of(self.entries[:end])

    def of(self, kind: Kind) -> list[Entry]:
        """Return the lines of a kind."""
        return [entry for entry in self.entries if entry.kind is kind]

    def known_admissions(self, end: int) -> list[Entry]:
        """Return the admissions that gates showed and that some program has after a restore.

        A device that is revoked or lost sends nothing again: of its admissions, those are known that both services had in
        the first `end` lines.
        """
        gone = self.world().gone
        recorded = {
            entry.facts["scan_id"] for entry in self.entries[: self.last_settled(end)] if entry.kind is Kind.RECORDED
        }
        return [
            entry
            for entry in self.of(Kind.SHOWN)
            if entry.facts["admitted"] and (entry.facts["device_id"] not in gone or entry.facts["scan_id"] in recorded)
        ]

    def last_settled(self, before: int) -> int:
        """Return the number of lines up to the last SETTLED before a line."""
        numbers = [entry.number + 1 for entry in self.entries[:before] if entry.kind is Kind.SETTLED]
        return numbers[-1] if numbers else 0


@dataclass
class EventState:
    """An event."""

    event_id: str
    price: int
    capacity: int
    status: str = "DRAFT"
    name: str = ""


@dataclass
class PurchaseState:
    """A purchase; `how` is "free", "external" or "card"."""

    purchase_id: str
    event_id: str
    how: str
    quantity: int
    total: int
    status: str


@dataclass
class TicketState:
    """A ticket with every token that was valid once, the newest last."""

    ticket_id: str
    event_id: str
    purchase_id: str
    price: int
    tokens: list[str]
    code: str
    is_blocked: bool = False
    cancellation_id: str = ""
    refund: int = 0
    # The check-ins that the scan service has recorded, and how often the first one changed.
    check_in_times: list[datetime] = field(default_factory=list)
    check_in_changes: int = 0

    @property
    def issue(self) -> int:
        """Return the newest issue."""
        return len(self.tokens)


@dataclass
class World:
    """The state after some lines of the log."""

    events: dict[str, EventState] = field(default_factory=dict)
    purchases: dict[str, PurchaseState] = field(default_factory=dict)
    tickets: dict[str, TicketState] = field(default_factory=dict)
    keys: set[int] = field(default_factory=set)
    retired_keys: set[int] = field(default_factory=set)
    # Names of gates by device id.
    devices: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    @property
    def gone(self) -> set[str]:
        """Return the devices that send nothing any more."""
        return self.revoked | self.lost

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "World":
        """Return the state that lines add up to."""
        world = cls()
        for entry in entries:
            world.apply(entry.kind, entry.facts)
        return world

    def apply(self, kind: Kind, facts: dict[str, Any]) -> None:  # noqa: C901, PLR0912 - one case for each kind
        """Apply one line."""
        match kind:
            case Kind.EVENT_CREATED:
                self.events[facts["event_id"]] = EventState(facts["event_id"], facts["price"], facts["capacity"])
            case Kind.EVENT_PUBLISHED:
                self.events[facts["event_id"]].status = "PUBLISHED"
            case Kind.EVENT_RENAMED:
                self.events[facts["event_id"]].name = facts["name"]
            case Kind.CAPACITY_CHANGED:
                self.events[facts["event_id"]].capacity = facts["capacity"]
            case Kind.EVENT_CANCELLED:
                self.events[facts["event_id"]].status = "CANCELLED"
            case Kind.HELD:
                self.purchases[facts["purchase_id"]] = PurchaseState(**facts, status="HELD")
            case Kind.RELEASED:
                self.purchases[facts["purchase_id"]].status = "RELEASED"
            case Kind.COMPLETED:
                self._complete(facts)
            case Kind.CANCELLED:
                ticket = self.tickets[facts["ticket_id"]]
                ticket.cancellation_id, ticket.refund = facts["cancellation_id"], facts["refund"]
            case Kind.REISSUED:
                ticket = self.tickets[facts["ticket_id"]]
                ticket.tokens.append(facts["token"])
                ticket.code = facts["code"]
            case Kind.BLOCKED | Kind.UNBLOCKED:
                self.tickets[facts["ticket_id"]].is_blocked = kind is Kind.BLOCKED
            case Kind.KEY_ADDED:
                self.keys.add(facts["key_id"])
            case Kind.KEY_RETIRED:
                self.retired_keys.add(facts["key_id"])
            case Kind.DEVICE_ENROLLED:
                self.devices[facts["device_id"]] = facts["name"]
            case Kind.DEVICE_REVOKED:
                self.revoked.add(facts["device_id"])
            case Kind.DEVICE_LOST:
                self.lost.add(facts["device_id"])
            case Kind.RECORDED:
                self._check_in(self.tickets[facts["ticket_id"]], facts["scan_time"])

    def _complete(self, facts: dict[str, Any]) -> None:
        purchase = {name: facts[name] for name in ("purchase_id", "event_id", "how", "quantity", "total")}
        self.purchases[facts["purchase_id"]] = PurchaseState(**purchase, status="COMPLETED")
        for ticket_id, token, code in facts["tickets"]:
            self.tickets[ticket_id] = TicketState(
                ticket_id,
                facts["event_id"],
                facts["purchase_id"],
                facts["total"] // facts["quantity"],
                [token],
                code,
            )

    @staticmethod
    def _check_in(ticket: TicketState, scan_time: datetime) -> None:
        if not ticket.check_in_times or scan_time < min(ticket.check_in_times):
            ticket.check_in_changes += 1
        ticket.check_in_times.append(scan_time)


def key_of(text: str) -> int:
    """Return the id of the key that signed a token."""
    token = read_token(text)
    assert isinstance(token, Token)
    return token.key_id
