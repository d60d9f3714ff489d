"""Answers as lines of text, for people and logs, and as JSON, for the program of a turnstile."""

import json
from typing import Any, TextIO

from ticketing.admission.scans import DenialReason
from ticketing.gate.messages import Answer


def describe(answer: Answer) -> str:
    """Describe the reason of a denial or the type of an admitted ticket in a few words."""
    parts = [
        "ANNULLED" if answer.annulled else "",
        "REASON UNKNOWN" if answer.reason is DenialReason.UNKNOWN else (answer.reason or "").replace("_", " "),
        (answer.ticket_type or "").replace("_", " ") if answer.may_pass else "",
    ]
    if answer.previous is not None:
        parts.append(f"at {answer.previous.time.astimezone():%H:%M:%S}, {answer.previous.location}")
    parts.append(answer.note)
    return ", ".join(part for part in parts if part)


def text_line(answer: Answer) -> str:
    """Write an answer as a line for people."""
    verdict = "ADMITTED" if answer.may_pass else "DENIED"
    suffix = " (decided offline)" if answer.offline else ""
    return f"{answer.time.astimezone():%H:%M:%S} {verdict:<8} {describe(answer)}{suffix}".rstrip()


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
    }


class LinePrinter:
    """A printer of one line for each answer, as text or as JSON."""

    def __init__(self, out: TextIO, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json

    def show(self, answer: Answer) -> None:
        """Print an answer and flush the output."""
        text = json.dumps(json_record(answer)) if self._as_json else text_line(answer)
        print(text, file=self._out, flush=True)
