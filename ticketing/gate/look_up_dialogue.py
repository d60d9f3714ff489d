"""The dialogue for a person without a phone: `?NAME`, the number of a ticket, and a new number that admits it.

All lines are typed by hand. A scanner types what a guest has printed, but no guest can print the number that the
display has just made up. Scans are answered meanwhile.
"""

import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from time import monotonic, sleep
from typing import Final, Protocol

from ticketing.admission.decision import DENIAL_BY_STATUS
from ticketing.gate.answer_text import shown_time
from ticketing.gate.look_ups import FoundTicket, LookUp, LookUpResult
from ticketing.gate.notices import Notice

SIGN: Final = "?"
# The rows that an 80 x 24 display has.
MAX_ROWS: Final = 8
# A result does not replace an answer that is younger.
ANSWER_SECONDS: Final = 3.0
# A person who stops here must not admit somebody else's ticket later.
CHOICE_SECONDS: Final = 120.0
HELP: Final = "no phone? Type ? and a name, an address or a purchase, and Enter"
LOOKING_UP: Final = "looking up; a scan goes on"
NOTHING_FOUND: Final = "nothing found"


class Display(Protocol):
    """The part of the view that shows the dialogue."""

    def show_notice(self, notice: Notice) -> None:
        """Show a notice."""


class EventClock(Protocol):
    """The time for the display."""

    def time(self) -> datetime:
        """Return the time by the service's clock."""

    def zone(self) -> tzinfo | None:
        """Return the time zone of the event; None: that of the device."""


class LookUpDialogue:
    """The dialogue of one gate; `admit` scans a look-up pass."""

    def __init__(
        self,
        display: Display,
        look_up: LookUp,
        admit: Callable[[str], None],
        clock: EventClock,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._display = display
        self._look_up = look_up
        self._admit = admit
        self._clock = clock
        self._now = now
        # Results arrive in another thread.
        self._lock = threading.Lock()
        self._round = 0
        self._found: LookUpResult | None = None
        self._found_time = 0.0
        # The ticket that was picked, and the number that admits it.
        self._picked: tuple[FoundTicket, str] | None = None
        # A time of monotonic().
        self._answer_time = float("-inf")

    def handle(self, line: str) -> bool:
        """Handle a line that a person typed; return whether it belongs to this dialogue."""
        if line.startswith(SIGN):
            self._begin(line.removeprefix(SIGN).strip())
            return True
        with self._lock:
            picked, self._picked = self._picked, None
            is_open = self._found is not None and self._now() - self._found_time < CHOICE_SECONDS
            tickets = self._found.tickets[:MAX_ROWS] if self._found is not None and is_open else ()
        if picked is not None and is_open and line == picked[1]:
            self._end()
            self._admit(picked[0].look_up_pass)
            return True
        chosen = {str(number): found for number, found in enumerate(tickets, 1)}.get(line)
        if chosen is not None:
            self._ask(chosen)
            return True
        return False

    def note_answer(self) -> None:
        """Note that the display shows the answer to a scan now."""
        with self._lock:
            self._answer_time = monotonic()

    def _begin(self, text: str) -> None:
        if not text:
            self._show_again()
            return
        self._end()
        this = self._round
        self._display.show_notice(Notice("", f"{LOOKING_UP}: {text}"))
        self._look_up(text, lambda result: self._receive(result, this))

    def _end(self) -> None:
        with self._lock:
            self._round += 1
            self._found = None
            self._picked = None

    def _receive(self, result: LookUpResult, this: int) -> None:
        """Show a result unless another look-up began; the answer to a scan is shown first."""
        while (wait := self._answer_time + ANSWER_SECONDS - monotonic()) > 0:
            sleep(wait)
        with self._lock:
            if this != self._round:
                return
            self._found, self._found_time = result, self._now()
        self._show_again()

    def _show_again(self) -> None:
        with self._lock:
            found = self._found if self._now() - self._found_time < CHOICE_SECONDS else None
        self._display.show_notice(Notice("", HELP if found is None else self._result_text(found)))

    def _result_text(self, result: LookUpResult) -> str:
        if result.problem:
            return result.problem
        if not result.tickets:
            return NOTHING_FOUND
        rows = [f"{number}  {self._describe(found)}" for number, found in enumerate(result.tickets[:MAX_ROWS], 1)]
        is_cut = result.more or len(result.tickets) > MAX_ROWS
        return "\n".join(
            [*rows, "type the number and Enter" + ("; more match: type more of the name" if is_cut else "")]
        )

    def _ask(self, found: FoundTicket) -> None:
        number = str(100 + secrets.randbelow(900))
        with self._lock:
            self._picked = (found, number)
        self._display.show_notice(Notice("ADMIT?", f"{self._describe(found)}\ntype {number} and Enter"))

    def _describe(self, found: FoundTicket) -> str:
        ticket = found.ticket
        state = "not checked in"
        if ticket.status in DENIAL_BY_STATUS:
            state = DENIAL_BY_STATUS[ticket.status].replace("_", " ")
        elif (check_in := ticket.admission.latest_check_in) is not None:
            time = shown_time(check_in.time, self._clock.time(), self._clock.zone())
            state = f"checked in at {time}, {check_in.location}" + ("" if ticket.admission.inside else ", has left")
        parts: Sequence[str] = ((ticket.ticket_type or "").replace("_", " "), found.holder, state)
        return "  ".join(part for part in parts if part)
