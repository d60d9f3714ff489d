"""The command line, as people and programs of turnstiles use it."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from scan_service.domain.refusals import enrollment_code_invalid
from scan_service.errors import CATALOGUE
from tests.environment import ROOT
from ticketing.gate.command import main
from ticketing.gate.store import Store
from ticketing.gate.undo_code import UndoCode
from ticketing.scans.v1 import device_service_pb2, scan_pb2
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceServicer, add_DeviceServiceServicer_to_server


@pytest.fixture
def run_at(server, stand_in, tmp_path):
    """Yield a function that runs a command against the stand-in and returns its exit status."""
    token = tmp_path / "token"
    token.write_text("secret\n")

    def run(*more: str, codes: str = "") -> int:
        (tmp_path / "codes").write_text(codes)
        usual = ["--server", server.address, "--data", str(tmp_path / "device"), "--input", f"file:{tmp_path}/codes"]
        usual += ["--event", str(stand_in.event_id), "--location", "North 3", "--token-file", str(token)]
        return main(["run", *usual, *more])

    return run


def test_answers_are_printed_as_lines(run_at, stand_in, capsys):
    token = stand_in.ticket()
    codes = f"{token}\r\n\r\n]Q1{token}\n4006381333931"
    assert run_at("--repeat-seconds", "0", codes=codes) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith(" ADMITTED STANDARD")
    assert " DENIED   ALREADY CHECKED IN, at " in second
    assert third.endswith(" DENIED   TICKET NOT FOUND")


def test_json_answers_open_a_turnstile_and_the_undo_code_annuls_the_last(run_at, stand_in, capsys, tmp_path):
    (tmp_path / "device").mkdir()
    code, token = UndoCode(tmp_path / "device").create(), stand_in.ticket()
    assert run_at("--json", codes=f"{token}\n{token}\nGATE-UNDO\n{code}\n{code}\n") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    admitted, repeated, refused, annulled, again = answers
    assert (admitted["open"], admitted["repeated"]) == (True, False)
    assert (repeated["open"], repeated["repeated"], repeated["scan_id"]) == (True, True, admitted["scan_id"])
    assert (refused["open"], refused["annulled"]) == (False, False)
    assert (annulled["open"], annulled["annulled"], annulled["scan_id"]) == (False, True, admitted["scan_id"])
    assert again == {**annulled, "repeated": True, "device": again["device"]}


def test_undo_code_command_prints_the_code_and_replaces_it(tmp_path, capsys):
    printed = []
    for options in ([], [], ["--new"]):
        assert main(["undo-code", "--data", str(tmp_path / "device"), *options]) == 0
        printed.append(capsys.readouterr().out.split()[-1])
    first, same, new = printed
    assert first == same != new
    assert UndoCode(tmp_path / "device").read() == new
    assert (tmp_path / "device").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "device" / "undo-code").stat().st_mode & 0o777 == 0o600


def test_check_out_and_types_options_reach_the_service(run_at, stand_in, capsys):
    token = stand_in.ticket()
    assert run_at("--check-out", codes=token) == 0
    assert "NOT CHECKED IN" in capsys.readouterr().out
    assert [scan.scan_type for scan in stand_in.records.values()] == [scan_pb2.SCAN_TYPE_CHECK_OUT]
    assert run_at("--types", "vip, Group", codes=token) == 0


def test_next_run_delivers_offline_decisions(run_at, server, stand_in, capsys):
    server.stop()
    assert run_at(codes=stand_in.ticket()) == 0
    assert "(decided offline)" in capsys.readouterr().out
    server.start()
    assert run_at() == 0
    assert len(stand_in.records) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--types", "GOLD"], "--types: 'GOLD'"),
        (["--token-file", "/nowhere"], "--token-file /nowhere"),
        (["--input", "camera"], "--input camera"),
        (["--location", "x" * 101], "--location: has to be of 1 to 100 characters"),
        (["--data", "/dev/null/x"], "--data /dev/null/x"),
        (["--token-file", "/bin/sh"], "--token-file /bin/sh: contains no access token"),
    ],
)
def test_wrong_options_end_with_one_line_that_names_them(run_at, capsys, more, message):
    assert run_at(*more) == 1
    assert f"ticketing-gate: {message}" in capsys.readouterr().err


def test_second_program_on_one_file_is_refused(run_at, tmp_path, capsys):
    (tmp_path / "device").mkdir()
    other = Store(tmp_path / "device" / "gate.sqlite")
    assert run_at() == 1
    assert "locked" in capsys.readouterr().err
    other.close()


class Devices(DeviceServiceServicer):
    """A device service that accepts one code once."""

    def __init__(self) -> None:
        self.codes = {"once"}

    def EnrollDevice(self, request, context):  # noqa: N802
        if request.enrollment_code not in self.codes:
            context.abort_with_status(CATALOGUE.status(enrollment_code_invalid()))
        self.codes.discard(request.enrollment_code)
        device = device_service_pb2.Device(name="Handheld 12")
        return device_service_pb2.EnrollDeviceResponse(device=device, access_token="from-now-on")


@contextmanager
def serving(devices: DeviceServiceServicer) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    add_DeviceServiceServicer_to_server(devices, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture
def devices_address():
    with serving(Devices()) as address:  # type: ignore[abstract]  # one of its calls is enough
        yield address


def test_code_enrolls_once_and_the_token_file_is_private(devices_address, tmp_path, capsys):
    command = ["enroll", "--server", devices_address, "--data", str(tmp_path / "device"), "once"]
    assert main(command) == 0
    assert capsys.readouterr().out == 'enrolled as "Handheld 12"\n'
    assert (tmp_path / "device").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "device" / "gate.sqlite").stat().st_mode & 0o777 == 0o600
    assert main(command) == 1
    assert capsys.readouterr().err == (
        "ticketing-gate: not enrolled: the code was used before, has expired, or is unknown\n"
    )
    store = Store(tmp_path / "device" / "gate.sqlite")
    assert store.setting("token") == "from-now-on"
    store.close()


@pytest.mark.parametrize(("lost_answers", "runs"), [(1, 1), (2, 2)])
def test_a_lost_answer_does_not_burn_the_code(tmp_path, capsys, lost_answers, runs):
    """The command repeats the request once; after that the operator runs it again."""
    tokens: dict[tuple[str, str], str] = {}

    class ForgetfulDevices(DeviceServiceServicer):
        """A device service whose first answers are lost on their way."""

        lost = 0

        def EnrollDevice(self, request, context):  # noqa: N802
            token = tokens.setdefault((request.enrollment_code, request.request_id), f"token-{len(tokens)}")
            if self.lost < lost_answers:
                self.lost += 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
            return device_service_pb2.EnrollDeviceResponse(access_token=token)

    with serving(ForgetfulDevices()) as address:  # type: ignore[abstract]  # as above
        command = ["enroll", "--server", address, "--data", str(tmp_path / "device"), "once"]
        assert [main(command) for _ in range(runs)] == [1] * (runs - 1) + [0]
    assert len(tokens) == 1
    store = Store(tmp_path / "device" / "gate.sqlite")
    assert store.setting("token") == "token-0"
    store.close()


def test_enrolled_device_needs_no_token_file(devices_address, server, stand_in, tmp_path, capsys):
    where = ["--data", str(tmp_path / "device")]
    scan = ["run", *where, "--server", server.address, "--event", str(stand_in.event_id), "--location", "North"]
    scan += ["--input", "file:/dev/null"]
    assert main(scan) == 1
    assert "enroll it" in capsys.readouterr().err
    assert main(["enroll", "--server", devices_address, *where, "once"]) == 0
    assert main(scan) == 0


def test_unknown_event_is_reported_by_the_connection(new_handheld, scan_service, database):
    database.event()
    handheld = new_handheld(scan_service, uuid.uuid4()).connect()
    assert handheld.state == "OFFLINE"
    assert handheld.connection.status.problem == "NOT_FOUND: no such event"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "message"),
    [
        ("<&-", "--input stdin: standard input is closed"),
        (">&-", "standard output is closed"),
        (">/dev/full", "the answers cannot be written to standard output: No space left on device"),
        ("| true", "the answers cannot be written to standard output: Broken pipe"),
    ],
)
def test_closed_input_or_output_ends_with_one_line(server, stand_in, tmp_path, closed, message):
    (tmp_path / "token").write_text("secret")
    (tmp_path / "errors").touch()
    gate = f"{sys.executable} -m ticketing.gate run --server {server.address} --event {stand_in.event_id}"
    gate += f" --data {tmp_path}/device --location North --token-file {tmp_path}/token --json"
    # The reader of a broken pipe has ended before the first answer.
    codes = "" if closed == "<&-" else f"(sleep 2; echo {stand_in.ticket()}) | "
    command = f"{codes}{gate} 2>{tmp_path}/errors {closed}"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/protos"}
    subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, env=environment, check=False, timeout=60)
    errors = (tmp_path / "errors").read_text()
    assert f"ticketing-gate: {message}" in errors
    assert "Traceback" not in errors
    assert "Exception" not in errors


def test_device_without_a_screen_says_why_it_is_offline(run_at, server, stand_in, capsys):
    server.stop()
    assert run_at(codes=stand_in.ticket()) == 0
    assert "status: OFFLINE; no connection to the service; not ready for offline" in capsys.readouterr().err


def test_programs_get_the_status_apart_from_the_answers(run_at, stand_in, capsys):
    stand_in.refusal = grpc.StatusCode.UNAUTHENTICATED
    assert run_at("--json", codes=stand_in.ticket()) == 0
    output = capsys.readouterr()
    assert [json.loads(line)["open"] for line in output.out.splitlines()] == [False]
    (status,) = [json.loads(line)["status"] for line in output.err.splitlines()]
    assert (status["connection"], status["advice"][:24]) == ("REFUSED", "enroll this device again")
