import io
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from tests.environment import ROOT
from ticketing.chassis import logs
from ticketing.chassis.logs import REQUEST_ID, JsonFormatter, configure_logs


def line(record: logging.LogRecord) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(JsonFormatter({"service": "test"}).format(record))
    return parsed


def test_a_line_is_json_with_its_extra_fields() -> None:
    record = logging.makeLogRecord({"msg": "sold %d", "args": (2,), "levelname": "INFO", "event_id": "e1"})
    parsed = line(record)
    assert parsed["message"] == "sold 2"
    assert parsed["service"] == "test"
    assert parsed["event_id"] == "e1"
    assert "request_id" not in parsed


def test_a_line_contains_the_request_id() -> None:
    token = REQUEST_ID.set("r-1")
    try:
        assert line(logging.makeLogRecord({"msg": "x"}))["request_id"] == "r-1"
    finally:
        REQUEST_ID.reset(token)


def test_an_exception_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    root.handlers = []
    try:
        configure_logs("INFO", "test")
        error = ValueError("boom\nwith a second line")
        logging.getLogger("x").error("failed", exc_info=error)
        logging.getLogger("x").debug("not shown")
    finally:
        root.handlers, root.level = before
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "boom" in json.loads(lines[0])["exception"]


@pytest.mark.parametrize(
    "secret",
    [
        "vera@example.com",
        "Vera.M\u00fcller+x@mail.example.co.uk",
        "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl",
    ],
)
def test_addresses_and_access_tokens_are_removed(secret: str) -> None:
    record = logging.makeLogRecord({"msg": f"no room for {secret}!", "caller": secret, "facts": {"to": [secret]}})
    text = JsonFormatter({}).format(record)
    assert json.loads(text)["message"] == "no room for [removed]!"
    assert secret[-12:] not in text


def test_a_long_text_without_an_address_costs_little() -> None:
    text = JsonFormatter({}).format(logging.makeLogRecord({"msg": "x" * 1_000_000}))
    assert len(json.loads(text)["message"]) == 1_000_000


class Lines:
    """The lines that pass a limit whose clock the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self._stream = io.StringIO()
        self.handler = logs.LineHandler(self._stream, lambda: self.now)
        self.handler.setFormatter(JsonFormatter({}))

    def fail(self, count: int = 1, **facts: Any) -> None:
        for _ in range(count):
            self._write("call ended", method="/a/B", **{"code": "NOT_FOUND", **facts})

    def say(self, text: str) -> None:
        self._write(text)

    def _write(self, text: str, **facts: Any) -> None:
        self.handler.handle(logging.makeLogRecord({"msg": text, "levelno": logging.INFO, **facts}))

    def written(self) -> list[dict[str, Any]]:
        """Return the new lines."""
        text = self._stream.getvalue()
        self._stream.truncate(0)
        self._stream.seek(0)
        return [json.loads(one) for one in text.splitlines()]


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_two_thousand_failures_a_second_leave_a_bounded_log(lines: Lines) -> None:
    for _ in range(10):
        for caller in range(2_000):
            lines.fail(caller=f"caller {caller}")
        lines.now += 1
    written = lines.written()
    assert len(written) == logs.BURST + 9 * logs.LINES_PER_SECOND
    lines.handler.close()
    [last] = lines.written()
    assert last["message"] == "lines were omitted"
    assert (last["method"], last["code"], last["line"]) == ("/a/B", "NOT_FOUND", "call ended")
    assert len(written) + sum(one.get("omitted", 0) for one in written) + last["omitted"] == 20_000


def test_one_failing_caller_hides_no_other(lines: Lines) -> None:
    lines.fail(5_000, caller="flood")
    lines.fail(caller="alice")
    written = lines.written()
    assert [one["caller"] for one in written].count("flood") == logs.CALLER_BURST
    assert written[-1]["caller"] == "alice"
    assert written[-1]["omitted"] == 5_000 - logs.CALLER_BURST


def test_another_kind_of_failure_is_written_during_a_flood(lines: Lines) -> None:
    lines.fail(1_000)
    lines.fail(reason="ERROR_REASON_SOLD_OUT")
    assert lines.written()[-1]["reason"] == "ERROR_REASON_SOLD_OUT"


def test_omitted_lines_are_reported_once_the_flood_has_ended(lines: Lines) -> None:
    lines.fail(1_000)
    lines.written()
    lines.now += logs.REPORT_SECONDS + 1
    lines.fail(code="ABORTED")
    report, other = lines.written()
    assert (report["message"], report["omitted"], report["code"]) == ("lines were omitted", 950, "NOT_FOUND")
    assert other["code"] == "ABORTED"


def test_other_lines_are_not_limited(lines: Lines) -> None:
    for number in range(1_000):
        lines.say(f"notification {number}")
    assert len(lines.written()) == 1_000


PROGRAM = """
import logging, sys, threading, warnings
from ticketing.chassis.logs import configure_logs, log_uncaught
configure_logs("INFO", "toy")
log_uncaught()
logging.getLogger("alembic.runtime").info("context impl")
logging.getLogger("urllib3").debug("GET /secret")
logging.getLogger("asyncio").warning("slow callback")
logging.getLogger("toy.part").info("own line")
warnings.warn("old function", DeprecationWarning, stacklevel=1)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
class Broken:
    def __del__(self): raise ValueError("in a finalizer")
Broken()
raise RuntimeError("nobody catches this")
"""


def test_other_libraries_are_quiet_and_every_line_is_json() -> None:
    command = [sys.executable, "-W", "always", "-c", PROGRAM]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    written = [json.loads(one) for one in ended.stderr.splitlines()]
    assert [(one["level"], one["logger"].partition(".")[0]) for one in written] == [
        ("WARNING", "asyncio"),
        ("INFO", "toy"),
        ("WARNING", "py"),
        ("ERROR", "ticketing"),
        ("ERROR", "ticketing"),
        ("CRITICAL", "ticketing"),
    ]
    for one, text in zip(written[3:], ("ZeroDivisionError", "in a finalizer", "nobody catches this"), strict=True):
        assert text in one["exception"]
