"""Answers as lines of text, for people and logs, and as JSON, for the program of a turnstile."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, tzinfo
from typing import Any, Final, TextIO

from ticketing.admission.scans import DenialReason, GroupAdmission
from ticketing.gate.connection_status import ConnectionState
from ticketing.gate.device_status import DeviceStatus
from ticketing.gate.messages import Answer
from ticketing.gate.notices import Notice
from ticketing.gate.retrying import Outcome, RetryingThread

STATUS_SECONDS: Final = 0.5
# A typed line is shown up to this number of its last characters; a token is longer.
TYPED_CHARACTERS: Final = 40
_CLEAR_LINE: Final = "\r\x1b[K"


def describe(answer: Answer) -> str:
    """Describe the reason of a denial or the type of an admitted ticket in a few words."""
    parts = [
        "ANNULLED" if answer.annulled else "",
        "REASON UNKNOWN" if answer.reason is DenialReason.UNKNOWN else (answer.reason or "").replace("_", " "),
        (answer.ticket_type or "").replace("_", " ") if answer.may_pass and answer.group is None else "",
    ]
    if answer.previous is not None:
        parts.append(f"at {shown_time(answer.previous.time, answer.time, answer.zone)}, {answer.previous.location}")
    if answer.group is not None and not answer.annulled:
        parts.append(_describe_group(answer, answer.group))
    parts.append(answer.note)
    return ", ".join(part for part in parts if part)


def _describe_group(answer: Answer, group: GroupAdmission) -> str:
    """Write how many people of a group were admitted, or how many may still be."""
    if answer.may_pass:
        size = "" if group.size is None else f" of {group.size}, {group.left} left"
        return f"GROUP {len(group.ticket_ids)}{size}"
    if not group.left:
        return "" if group.left is None else f"0 of {group.size} left"
    if answer.reason is DenialReason.GROUP_TOO_SMALL:
        return f"{group.left} of {group.size} left: type +{group.left} and Enter, and scan again"
    return f"{group.left} of {group.size} left: scan one of their tickets"


def shown_time(time: datetime, now: datetime, zone: tzinfo | None) -> str:
    """Write a time in the event's zone, with its date unless it is the date of `now`."""
    shown, today = time.astimezone(zone), now.astimezone(zone)
    return f"{shown:%H:%M:%S}" if shown.date() == today.date() else f"{shown:%a %Y-%m-%d %H:%M}"


def text_line(answer: Answer) -> str:
    """Write an answer as a line for people."""
    verdict = "ADMITTED" if answer.may_pass else "DENIED"
    suffix = " (decided offline)" if answer.offline else ""
    return f"{answer.time.astimezone(answer.zone):%H:%M:%S} {verdict:<8} {describe(answer)}{suffix}".rstrip()


def typed_line(text: str) -> str:
    """Write the line that a person types; characters that a terminal would obey are replaced."""
    shown = "".join(character if character.isprintable() else "�" for character in text)
    return f"> {'…' if len(shown) > TYPED_CHARACTERS else ''}{shown[-TYPED_CHARACTERS:]}" if shown else ""


def json_record(answer: Answer) -> dict[str, Any]:
    """Write an answer as a JSON object; a turnstile opens if `open` is true."""
    previous = answer.previous
    return {
        "open": answer.may_pass,
        "verdict": "ADMITTED" if answer.admitted else "DENIED",
        "annulled": answer.annulled,
        "denial_reason": answer.reason,
        "ticket_type": answer.ticket_type,
        "scan_type": answer.scan_type,
        "scan_id": answer.scan_id,
        "code": answer.code,
        "time": answer.time.isoformat(),
        "offline": answer.offline,
        "previous": previous and {"time": previous.time.isoformat(), "location": previous.location},
        "note": answer.note,
        "repeated": answer.repeated,
        "group": answer.group and _group_record(answer.group),
    }


def _group_record(group: GroupAdmission) -> dict[str, Any]:
    admitted = len(group.ticket_ids)
    numbers = {"left": group.left, "inside": group.inside, "size": group.size}
    return {"count": group.count, "admitted": admitted, **numbers}


class OutputError(Exception):
    """Nobody receives the answers any more."""


class LinePrinter:
    """A printer of one line for each answer, as text or as JSON with the status of the device.

    On a terminal, the last line shows what is typed.
    """

    def __init__(self, out: TextIO, read_status: Callable[[], DeviceStatus], *, as_json: bool) -> None:
        self._out = out
        self._read_status = read_status
        self._as_json = as_json
        self._shows_typed = not as_json and out.isatty()
        # Look-ups and names are shown by other threads.
        self._lock = threading.Lock()
        # The scan_id of the latest answer.
        self._latest = ""

    def show(self, answer: Answer) -> None:
        """Print an answer and flush the output; raise OutputError if that fails: the answer was not shown."""
        self._print(json_record(answer), text_line(answer), answer.scan_id)

    def show_notice(self, notice: Notice) -> None:
        """Print a notice."""
        line = f"{notice.word} {notice.text}".strip()
        self._print({"open": False, "notice": line}, line)

    def show_holder(self, scan_id: str, name: str) -> None:
        """Print the name of a holder unless a later answer was printed."""
        line = f"holder: {name}"
        record = {"open": False, "notice": line, "holder": name, "scan_id": scan_id}
        self._print(record, line, scan_id, only_latest=True)

    def show_typed(self, text: str) -> None:
        """Replace the last line of a terminal by what is typed."""
        if self._shows_typed:
            self._out.write(f"{_CLEAR_LINE}{typed_line(text)}")
            self._out.flush()

    def _print(
        self, record: dict[str, Any], line: str, scan_id: str | None = None, *, only_latest: bool = False
    ) -> None:
        if self._as_json:
            line = json.dumps({**record, "device": self._read_status().record()})
        try:
            with self._lock:
                if only_latest and scan_id != self._latest:
                    return
                self._latest = self._latest if scan_id is None else scan_id
                print(f"{_CLEAR_LINE if self._shows_typed else ''}{line}", file=self._out, flush=True)
        except OSError as error:
            raise OutputError(f"the answers cannot be written to standard output: {error.strerror}") from error


class StatusPrinter:
    """A thread that prints the status whenever it changes, for a device without a screen.

    The lines stand apart from the answers: a program of a turnstile expects answers only.
    """

    def __init__(self, read_status: Callable[[], DeviceStatus], out: TextIO, *, as_json: bool) -> None:
        self._read_status = read_status
        self._out = out
        self._as_json = as_json
        self._last = ""
        self._thread = RetryingThread("status", self._run)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the thread's end."""
        self._thread.stop()
        self.print_change()

    def print_change(self) -> None:
        """Print the status if its line has changed; the number of decisions to deliver changes too often."""
        status = self._read_status()
        line = status.line()
        if line == self._last or status.connection.state is ConnectionState.CONNECTING:
            return
        self._last = line
        # Nobody reads the lines where the output is closed; the answers matter more.
        with suppress(OSError, ValueError):
            text = json.dumps({"status": status.record()}) if self._as_json else f"status: {line}"
            print(text, file=self._out, flush=True)

    def _run(self) -> Outcome:
        while not self._thread.wait(STATUS_SECONDS):
            self.print_change()
        return Outcome.LASTED
