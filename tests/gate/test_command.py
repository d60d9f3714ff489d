"""The command line, as a person or a turnstile's program uses it."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.environment import ROOT
from tests.environment.waiting import eventually
from ticketing.gate.command import main
from ticketing.gate.store import Store
from ticketing.scans.v1 import device_service_pb2, scan_pb2
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceServicer, add_DeviceServiceServicer_to_server


@pytest.fixture
def run_at(server, stand_in, tmp_path):
    """Run a command against the stand-in; gives its exit status."""
    token = tmp_path / "token"
    token.write_text("secret\n")

    def run(*more: str, codes: str = "") -> int:
        (tmp_path / "codes").write_text(codes)
        usual = ["--server", server.address, "--data", str(tmp_path / "device"), "--input", f"file:{tmp_path}/codes"]
        usual += ["--event", str(stand_in.event_id), "--location", "North 3", "--token-file", str(token)]
        return main(["run", *usual, *more])

    return run


def test_answers_are_lines(run_at, stand_in, capsys):
    token = stand_in.ticket()
    assert run_at(codes=f"{token}\r\n\r\n]Q1{token}\n4006381333931") == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith(" ADMITTED STANDARD")
    assert " DENIED   ALREADY CHECKED IN, at " in second
    assert third.endswith(" DENIED   TICKET NOT FOUND")


def test_answers_are_json_for_a_turnstile_which_tells_when_nobody_passed(run_at, stand_in, capsys):
    token = stand_in.ticket()
    assert run_at("--json", codes=f"{token}\nGATE-UNDO\nGATE-UNDO\n") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(answer["open"], answer["annulled"]) for answer in answers] == [(True, False), (False, True)]
    assert answers[0]["scan_id"] == answers[1]["scan_id"]


def test_a_gate_for_leaving_and_for_some_types_alone(run_at, stand_in, capsys):
    token = stand_in.ticket()
    assert run_at("--check-out", codes=token) == 0
    assert "NOT CHECKED IN" in capsys.readouterr().out
    assert [scan.scan_type for scan in stand_in.records.values()] == [scan_pb2.SCAN_TYPE_CHECK_OUT]
    assert run_at("--types", "vip, Group", codes=token) == 0


def test_what_was_decided_offline_is_delivered_by_the_next_run(run_at, server, stand_in, capsys):
    server.stop()
    assert run_at(codes=stand_in.ticket()) == 0
    assert "(decided offline)" in capsys.readouterr().out
    server.start()
    assert run_at() == 0
    assert len(stand_in.records) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--types", "GOLD"], "--types: 'GOLD'"),
        (["--token-file", "/nowhere"], "--token-file /nowhere"),
        (["--input", "camera"], "--input camera"),
        (["--location", "x" * 101], "--location: has to be of 1 to 100 characters"),
        (["--data", "/dev/null/x"], "--data /dev/null/x"),
    ],
)
def test_what_is_wrong_is_said_plainly(run_at, capsys, more, said):
    assert run_at(*more) == 1
    assert f"ticketing-gate: {said}" in capsys.readouterr().err


def test_two_programs_on_one_file_are_one_too_many(run_at, tmp_path, capsys):
    (tmp_path / "device").mkdir()
    other = Store(tmp_path / "device" / "gate.sqlite")
    assert run_at() == 1
    assert "locked" in capsys.readouterr().err
    other.close()


class Devices(DeviceServiceServicer):
    """Takes one code, once."""

    def __init__(self) -> None:
        self.codes = {"once"}

    def EnrollDevice(self, request, context):  # noqa: N802
        if request.enrollment_code not in self.codes:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the code is not valid")
        self.codes.discard(request.enrollment_code)
        device = device_service_pb2.Device(name="Handheld 12")
        return device_service_pb2.EnrollDeviceResponse(device=device, access_token="from-now-on")


@pytest.fixture
def devices_address():
    server = grpc.server(ThreadPoolExecutor(2))
    add_DeviceServiceServicer_to_server(Devices(), server)  # type: ignore[abstract]  # one of its calls is enough
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def test_a_device_enrolls_once_and_keeps_its_token_to_itself(devices_address, tmp_path, capsys):
    asked = ["enroll", "--server", devices_address, "--data", str(tmp_path / "device"), "once"]
    assert main(asked) == 0
    assert capsys.readouterr().out == 'enrolled as "Handheld 12"\n'
    assert (tmp_path / "device").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "device" / "gate.sqlite").stat().st_mode & 0o777 == 0o600
    assert main(asked) == 1
    assert capsys.readouterr().err == "ticketing-gate: not enrolled: the code is not valid\n"
    store = Store(tmp_path / "device" / "gate.sqlite")
    assert store.setting("token") == "from-now-on"
    store.close()


def test_an_enrolled_device_needs_no_other_credential(devices_address, server, stand_in, tmp_path, capsys):
    where = ["--data", str(tmp_path / "device")]
    scan = ["run", *where, "--server", server.address, "--event", str(stand_in.event_id), "--location", "North"]
    scan += ["--input", "file:/dev/null"]
    assert main(scan) == 1
    assert "enroll it" in capsys.readouterr().err
    assert main(["enroll", "--server", devices_address, *where, "once"]) == 0
    assert main(scan) == 0


def test_ctrl_c_on_a_terminal_leaves_it_as_it_was(server, stand_in, tmp_path):
    """A whole process on a terminal of its own: the screen, the keyboard and the end."""
    token_file = tmp_path / "token"
    token_file.write_text("secret")
    command = [
        sys.executable,
        "-m",
        "ticketing.gate",
        "run",
        "--server",
        server.address,
        "--data",
        str(tmp_path / "device"),
    ]
    command += ["--event", str(stand_in.event_id), "--location", "North 3", "--token-file", str(token_file)]
    person, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/protos", "TERM": "xterm", "LINES": "24", "COLUMNS": "90"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""

    def sees(what: bytes) -> bool:
        nonlocal seen
        seen += os.read(person, 65_536)
        return what in seen

    eventually(lambda: sees(b"ONLINE"))
    os.write(person, stand_in.ticket().encode() + b"\r")
    eventually(lambda: sees(b"1 admitted"))
    process.send_signal(signal.SIGINT)
    eventually(lambda: sees(b"\x1b[?1049l"))
    assert process.wait(20) == 130
    assert b"Traceback" not in seen
    os.close(person)


def test_an_unknown_event_is_said_by_the_connection(new_handheld, scan_service, copy):
    copy.event()
    handheld = new_handheld(scan_service, uuid.uuid4()).connect()
    assert handheld.state == "OFFLINE"
    assert handheld.connection.status.problem == "NOT_FOUND: no such event"


def test_what_cannot_be_written_down_is_not_shown(run_at, stand_in, capsys, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "answered", full)
    assert run_at(codes=stand_in.ticket()) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "ticketing-gate: database or disk is full\n")
