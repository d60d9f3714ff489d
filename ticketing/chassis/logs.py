"""Structured logs: one JSON object per line on standard error, with the id of the request.

The services pass the request id to each other in the metadata `x-request-id`, so one grep finds all lines of a request.
Lines contain ids, never names, addresses, tokens or codes. Lines of one kind that repeat are bounded and counted.
"""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

from ticketing.chassis import tracing
from ticketing.chassis.error_texts import exception_text
from ticketing.chassis.rate_limiter import RateLimiter

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

# The packages whose lines have the level of the settings, besides the service. Others log requests and plans at INFO.
OWN: Final = "ticketing"

# Attributes that logging itself sets on a record; all others came by `extra=` and are printed.
_STANDARD_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# A mail address or an access token that reached a line by way of another text: an exception, an id of a caller.
_SECRETS: Final = re.compile(
    r"(?:[^\s\"'<>()\[\],;:\\=/@]|\\u[0-9a-f]{4}){1,64}@[\w-]+(?:\.[\w-]+)+|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
)
_REMOVED: Final = "[removed]"

# Two thousand refused calls a second leave ten lines a second, and one caller leaves one of them.
LINES_PER_SECOND: Final = 10.0
BURST: Final = 50
CALLER_LINES_PER_SECOND: Final = 1.0
CALLER_BURST: Final = 10
# Omitted lines are reported this time after the last one, or with the next line of their kind.
REPORT_SECONDS: Final = 10.0
# The fields that tell kinds of lines apart; lines of other fields differ in what they are about.
_KIND: Final = ("method", "code", "reason", "task", "pool")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; every line contains `constants`."""

    def __init__(self, constants: Mapping[str, str]) -> None:
        super().__init__()
        self._constants = dict(constants)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            **self._constants,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        if trace_id := tracing.trace_id():
            line["trace_id"] = trace_id
        line.update((key, value) for key, value in record.__dict__.items() if key not in _STANDARD_ATTRIBUTES)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = exception_text(record.exc_info[1])
        return _SECRETS.sub(_REMOVED, json.dumps(line, default=str))


class LineLimit(logging.Filter):
    """Omits lines of one kind beyond a rate, and reports their number.

    Warnings, errors and lines about calls are limited: faults repeat with every call, and 2,000 calls a second are usual.
    """

    def __init__(
        self, report: Callable[[logging.LogRecord], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take `report`, which writes a line about omitted ones."""
        super().__init__()
        self._report = report
        self._clock = clock
        self._kinds = RateLimiter(LINES_PER_SECOND, BURST, clock)
        self._callers = RateLimiter(CALLER_LINES_PER_SECOND, CALLER_BURST, clock)
        # By kind: the last omitted record, the number of omitted ones, and the time of the last one.
        self._omitted: dict[Hashable, tuple[logging.LogRecord, int, float]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        if record.levelno < logging.WARNING and not hasattr(record, "reason") and not hasattr(record, "method"):
            return True
        with self._lock:
            now, kind = self._clock(), _kind(record)
            late = [other for other, (_, _, then) in self._omitted.items() if now - then > REPORT_SECONDS]
            reports = [self._omitted.pop(other) for other in late if other != kind]
            is_written = self._take(record, kind)
            if is_written and kind in self._omitted:
                record.omitted = self._omitted.pop(kind)[1]
            elif not is_written:
                self._omitted[kind] = (record, self._omitted.get(kind, (record, 0, now))[1] + 1, now)
        for last, count, _ in reports:
            self._report(_about(last, count))
        return is_written

    def report_all(self) -> None:
        """Report all omitted lines, at the end of the process."""
        with self._lock:
            reports, self._omitted = list(self._omitted.values()), {}
        for last, count, _ in reports:
            self._report(_about(last, count))

    def _take(self, record: logging.LogRecord, kind: Hashable) -> bool:
        by = (kind, getattr(record, "caller", None))
        if self._kinds.wait(kind) or (by[1] is not None and self._callers.wait(by)):
            return False
        self._kinds.take(kind)
        self._callers.take(by)
        return True


def _kind(record: logging.LogRecord) -> Hashable:
    # Other libraries format their messages, so each may differ.
    message = record.msg if not record.args else record.levelno
    return (record.name, message, *(getattr(record, name, None) for name in _KIND))


def _about(last: logging.LogRecord, count: int) -> logging.LogRecord:
    facts = {name: value for name in _KIND if (value := getattr(last, name, None)) is not None}
    fields = {"name": last.name, "levelno": last.levelno, "levelname": last.levelname, "msg": "lines were omitted"}
    return logging.makeLogRecord({**fields, **facts, "omitted": count, "line": last.getMessage()})


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream, and at its end the numbers of the omitted ones."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._limit = LineLimit(self.emit, clock)
        self.addFilter(self._limit)

    def close(self) -> None:
        """Write the numbers of omitted lines."""
        self._limit.report_all()
        super().close()


def configure_logs(level: str, service: str) -> None:
    """Write every log record of this process to standard error, as JSON; other libraries write warnings and errors."""
    handler = LineHandler(sys.stderr)
    handler.setFormatter(JsonFormatter({"service": service}))
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelName(level)), handlers=[handler], force=True)
    for name in (OWN, service):
        logging.getLogger(name).setLevel(level)


def log_uncaught() -> None:
    """Log warnings, and exceptions that nobody catches, also those of threads and finalizers; Python would print them."""
    logging.captureWarnings(capture=True)
    log = logging.getLogger(__name__)

    def in_program(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
        log.critical("the program ended by an exception", exc_info=error)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        log.error(
            "a thread ended by an exception",
            exc_info=args.exc_value,
            extra={"thread_name": args.thread.name if args.thread is not None else ""},
        )

    def unraisable(args: Any) -> None:
        log.error("an exception was ignored", exc_info=args.exc_value, extra={"where": str(args.err_msg or "")})

    sys.excepthook, threading.excepthook, sys.unraisablehook = in_program, in_thread, unraisable
