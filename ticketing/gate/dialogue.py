"""The dialogue at the gate: each read is a scan, an undo, a look-up or the answer to a question; each gets an answer."""

import re
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Final, Protocol
from uuid import UUID

from ticketing.admission.scans import DenialReason
from ticketing.admission.tokens import PublicKey
from ticketing.chassis.bounds import bounds_of
from ticketing.gate.credential_choice import choose_credentials
from ticketing.gate.device import Device
from ticketing.gate.look_up_dialogue import LookUpDialogue
from ticketing.gate.look_ups import LookUp
from ticketing.gate.messages import Answer
from ticketing.gate.notices import MISSING_END, Notice
from ticketing.gate.reads import InputEvent, Interrupt, MissingEnd, Read, Typing
from ticketing.gate.undo_code import UndoCode, is_undo_attempt
from ticketing.scans.v1 import scan_service_pb2

# The same text read again within this time is the same read: scanners read a code twice within 300 ms.
REPEAT_SECONDS: Final = 1.5
QUIT_SECONDS: Final = 20.0
SCANNER_LAYOUT: Final = "scanner layout? Read it again; if all are denied, set the scanner to this computer's keyboard"
OTHER_UNDO_CODE: Final = "not the undo code of this gate: print it with `undo-code`"
CANNOT_UNDO: Final = "NOT ANNULLED: the device's file cannot be read"
# The reasons that a damaged or garbled read gets.
_UNREADABLE: Final = frozenset({DenialReason.INVALID_SIGNATURE, DenialReason.TICKET_NOT_FOUND})


# A count of people holds for the next scan within this time.
GROUP_SECONDS: Final = 20.0
MAX_GROUP: Final = bounds_of(scan_service_pb2.ScanAttempt, "group_count").maximum
_COUNT: Final = re.compile(r"\+ *([0-9]{0,3})")
TOO_LARGE: Final = Notice("GROUP?", f"{MAX_GROUP} people at most: a larger group enters in parts")
NO_GROUP: Final = Notice("GROUP?", "no count: the next ticket is scanned for one person")


def group_notice(count: int) -> Notice:
    """Return the notice that asks for a ticket of a group."""
    people = "1 person" if count == 1 else f"{count} people"
    return Notice("GROUP", f"{people}: scan one of their tickets within {GROUP_SECONDS:.0f} s, or type + and Enter")


class View(Protocol):
    """The display of the gate."""

    def show(self, answer: Answer) -> None:
        """Show the answer to a scan."""

    def show_typed(self, text: str) -> None:
        """Show the line that is being typed; empty: there is none."""

    def show_notice(self, notice: Notice) -> None:
        """Show a notice."""

    def show_holder(self, scan_id: str, name: str) -> None:
        """Add the name of the holder to the answer to a scan while that answer is shown; another thread calls this."""


class Dialogue:
    """The dialogue of one device. Quitting and looking tickets up need a keyboard."""

    def __init__(  # noqa: PLR0913 - the parts that a dialogue connects
        self,
        device: Device,
        view: View,
        undo_code: UndoCode,
        event_id: UUID,
        read_keys: Callable[[], Mapping[int, PublicKey]],
        *,
        has_keyboard: bool,
        look_up: LookUp,
        request_name: Callable[[Answer], None],
        repeat_seconds: float = REPEAT_SECONDS,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._device = device
        self._view = view
        self._undo_code = undo_code
        self._event_id = event_id
        self._read_keys = read_keys
        self._has_keyboard = has_keyboard
        self._request_name = request_name
        self._repeat_seconds = repeat_seconds
        self._now = now
        # The answers of the last moments, by the text that was scanned, with their times.
        self._recent = dict[str, tuple[float, Answer]]()
        # The answer to the undo since the last scan, with its time.
        self._undone: tuple[float, Answer] | None = None
        self._look_ups = LookUpDialogue(view, look_up, self._admit, device, now)
        # The number that a person has to type to quit, and the time until which it is valid.
        self._quit: tuple[str, float] | None = None
        # The number of people for the next scan, and the time until which it is valid.
        self._group: tuple[int, float] | None = None

    def handle(self, event: InputEvent) -> bool:
        """Answer one event of the input; return whether the program goes on."""
        match event:
            case Typing(text):
                self._view.show_typed(text)
            case MissingEnd():
                self._view.show_notice(MISSING_END)
            case Interrupt() if self._has_keyboard:
                self._ask_to_quit()
            case Read():
                self._view.show_typed("")
                if self._may_quit(event):
                    return False
                if not (self._has_keyboard and event.by_hand and self._handle_typed(event.text)):
                    self._handle_read(event.text)
            case _:
                pass
        return True

    def _handle_read(self, text: str) -> None:
        group, self._group = self._group, None
        self._look_ups.note_answer()
        if self._undo_code.is_in(text):
            self._undo()
        elif is_undo_attempt(text):
            self._view.show(self._device.refuse_undo(OTHER_UNDO_CODE))
        else:
            keys: Mapping[int, PublicKey] = {}
            with suppress(sqlite3.Error):
                keys = self._read_keys()
            choice = choose_credentials(text, self._event_id, keys)
            for credential in choice.texts:
                self._scan(credential, SCANNER_LAYOUT if choice.is_garbled else "", group)
                group = None

    def _scan(self, text: str, note: str, group: tuple[int, float] | None) -> None:
        """Scan a text, or repeat the answer that it got a moment ago without a record."""

        def show(answer: Answer) -> None:
            if answer.reason in _UNREADABLE:
                # The ticket is read again.
                self._group = group
            if note and answer.reason in _UNREADABLE:
                answer = replace(answer, note=note)
            self._recent[text] = (self._now(), answer)
            self._view.show(answer)
            self._request_name(answer)

        now = self._now()
        self._recent = {text: first for text, first in self._recent.items() if now - first[0] < self._repeat_seconds}
        if text in self._recent:
            self._view.show(replace(self._recent[text][1], repeated=True))
        else:
            self._undone = None
            self._device.scan(text, show, group[0] if group is not None and now < group[1] else 0)

    def _admit(self, look_up_pass: str) -> None:
        group, self._group = self._group, None
        self._scan(look_up_pass, "", group)

    def _undo(self) -> None:
        """Annul the last admission, or repeat the answer to the undo a moment ago: scanners read a code twice."""
        if self._undone is not None and self._now() - self._undone[0] < self._repeat_seconds:
            self._view.show(replace(self._undone[1], repeated=True))
            return
        # A person whose scan was annulled may scan again at once.
        self._recent.clear()
        try:
            answer = self._device.annul_last()
        except sqlite3.Error:
            answer = self._device.refuse_undo(CANNOT_UNDO)
        self._undone = (self._now(), answer)
        self._view.show(answer)

    def _handle_typed(self, line: str) -> bool:
        """Handle a line that a person typed; return False if it is a text to scan. A scanner types a line at once."""
        return self._look_ups.handle(line) or self._takes_count(line)

    def _takes_count(self, line: str) -> bool:
        """Take + and a number as the count of a group; the sign tells it from the numbers of other questions."""
        match = _COUNT.fullmatch(line) if self._device.may_scan_groups else None
        if match is None:
            return False
        count, self._group = int(match[1] or 0), None
        if count > MAX_GROUP:
            self._view.show_notice(TOO_LARGE)
        elif count == 0:
            self._view.show_notice(NO_GROUP)
        else:
            # A ticket that was scanned a moment ago is scanned again with the count.
            self._recent.clear()
            self._group = (count, self._now() + GROUP_SECONDS)
            self._view.show_notice(group_notice(count))
        return True

    def _ask_to_quit(self) -> None:
        """Ask for a number: a scanner can type Ctrl-C and any printed code, but not a number that is new."""
        number = str(100 + secrets.randbelow(900))
        self._quit = (number, self._now() + QUIT_SECONDS)
        self._view.show_notice(Notice("QUIT?", f"type {number} and Enter to stop this gate, or scan the next ticket"))

    def _may_quit(self, read: Read) -> bool:
        asked, self._quit = self._quit, None
        return asked is not None and read.by_hand and read.text == asked[0] and self._now() < asked[1]
