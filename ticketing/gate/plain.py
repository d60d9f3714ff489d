"""Answers as lines, for a log, and as JSON, for a program that opens a turnstile."""

import json
from typing import Any, TextIO

from ticketing.gate.messages import Answer


def words(answer: Answer) -> str:
    """Say in a few words why, or what of."""
    parts = [
        "TAKEN BACK" if answer.annulled else "",
        (answer.reason or "").replace("_", " "),
        (answer.ticket_type or "").replace("_", " ") if answer.green else "",
    ]
    if answer.previous is not None:
        parts.append(f"at {answer.previous.time.astimezone():%H:%M:%S}, {answer.previous.location}")
    parts.append(answer.note)
    return ", ".join(part for part in parts if part)


def line(answer: Answer) -> str:
    """Write an answer as a line for people."""
    verdict = "ADMITTED" if answer.green else "DENIED"
    alone = " (decided offline)" if answer.offline else ""
    return f"{answer.time.astimezone():%H:%M:%S} {verdict:<8} {words(answer)}{alone}".rstrip()


def record(answer: Answer) -> dict[str, Any]:
    """Write an answer for programs; `open` is what a turnstile needs."""
    previous = answer.previous
    return {
        "open": answer.green,
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


class Lines:
    """Shows answers one a line.

    Args:
        out: where to.
        as_json: for programs.
    """

    def __init__(self, out: TextIO, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json

    def show(self, answer: Answer) -> None:
        """Show an answer, at once."""
        text = json.dumps(record(answer)) if self._as_json else line(answer)
        print(text, file=self._out, flush=True)
