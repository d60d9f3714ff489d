"""The events and tickets that the clients of a run share."""

import random
import threading
from dataclasses import dataclass, field

PRICE = 2_500


@dataclass(frozen=True)
class SoldEvent:
    """An event of the run; `capacity` 0 means none, and `is_doomed` that it will be cancelled."""

    event_id: str
    price: int
    capacity: int
    is_doomed: bool = False


@dataclass
class SoldTicket:
    """A ticket with its tokens, the newest last, as its holder knows them: a lost answer leaves an issue out."""

    ticket_id: str
    event_id: str
    purchase_id: str
    user_id: str
    price: int
    # Each issue with its token.
    tokens: list[tuple[int, str]]


@dataclass
class World:
    """The events, and the tickets for which a buyer received an answer."""

    events: list[SoldEvent] = field(default_factory=list)
    tickets: list[SoldTicket] = field(default_factory=list)
    # The tickets that some client changes now: a holder makes one change at a time.
    _taken: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _users: int = 0

    def new_user(self) -> str:
        """Return a buyer who has bought nothing yet: each purchase has its own."""
        with self._lock:
            self._users += 1
            return f"buyer-{self._users}"

    def add(self, tickets: list[SoldTicket]) -> None:
        """Add sold tickets, each once: several answers contain the same purchase."""
        with self._lock:
            known = {one.ticket_id for one in self.tickets}
            self.tickets += [one for one in tickets if one.ticket_id not in known]

    def pick(self, choice: random.Random, event_id: str = "") -> SoldTicket | None:
        """Return a ticket, more often a new one, on which scans and cancellations then meet."""
        with self._lock:
            found = [one for one in self.tickets if one.event_id == (event_id or one.event_id)]
        if not found:
            return None
        return found[-1 - min(int(choice.expovariate(0.05)), len(found) - 1)]

    def take(self, choice: random.Random) -> SoldTicket | None:
        """Return a ticket that no other client changes; `put_back` ends that."""
        ticket = self.pick(choice)
        with self._lock:
            if ticket is None or ticket.ticket_id in self._taken:
                return None
            self._taken.add(ticket.ticket_id)
            return ticket

    def put_back(self, ticket: SoldTicket) -> None:
        """Let other clients change a ticket."""
        with self._lock:
            self._taken.discard(ticket.ticket_id)
