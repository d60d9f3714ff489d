"""The record outside of the system: each request that a client sent, and the answer that it received."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

OK: Final = "OK"


@dataclass
class Operation:
    """One operation of a client, with all repetitions of its request; the times are of `monotonic`, in seconds."""

    number: int
    kind: str
    sent: float
    facts: dict[str, Any]
    # None: the client never received an answer, so the operation may or may not have happened.
    answered: float | None = None
    # OK, or the reason of the refusal; empty without an answer.
    outcome: str = ""
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Return whether the client received a positive answer."""
        return self.outcome == OK


class Record:
    """A file with a line for each request and for each answer, written before the client does anything else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w")
        self._lock = threading.Lock()
        self._kinds: list[str] = []
        # The answers so far, by the kind of their operation.
        self.answers = Counter[str]()

    def begin(self, kind: str, **facts: Any) -> int:
        """Record that a client sends a request; return the number of the operation."""
        with self._lock:
            self._kinds.append(kind)
            number = len(self._kinds)
            self._write({"number": number, "kind": kind, "sent": monotonic(), "facts": facts})
            return number

    def end(self, number: int, outcome: str = OK, **answer: Any) -> None:
        """Record the answer of an operation."""
        with self._lock:
            self.answers[self._kinds[number - 1]] += 1
            self._write({"number": number, "answered": monotonic(), "outcome": outcome, "answer": answer})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def operations(self) -> list[Operation]:
        """Read the operations back from the file, in the order of their requests."""
        with self._lock:
            self._file.flush()
        found: dict[int, Operation] = {}
        for line in self._lines():
            if "kind" in line:
                found[line["number"]] = Operation(**line)
            else:
                operation = found[line["number"]]
                operation.answered, operation.outcome = line["answered"], line["outcome"]
                operation.answer = line["answer"]
        return list(found.values())

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self._path.open() as file:
            yield from map(json.loads, file)
