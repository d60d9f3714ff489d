import json
import logging

import pytest

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
