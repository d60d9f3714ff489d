"""The command line of the gate device: it reads the options and runs the parts of the device."""

import argparse
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import grpc
from cryptography import x509

from ticketing.admission.scans import Gate, ScanType
from ticketing.admission.tickets import TicketType
from ticketing.admission.tokens import PublicKey
from ticketing.chassis.bounds import bounds_of
from ticketing.chassis.channel import CHANNEL_OPTIONS
from ticketing.chassis.tls import Identity, Tls, is_loopback
from ticketing.chassis.version import VERSION
from ticketing.gate.answer_text import LinePrinter, OutputError, StatusPrinter
from ticketing.gate.client import ScanServiceClient
from ticketing.gate.connection import Connection
from ticketing.gate.credential import Credential, CredentialError
from ticketing.gate.device import Device
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.device_file import StoreError
from ticketing.gate.device_status import StatusReader
from ticketing.gate.dialogue import REPEAT_SECONDS, Dialogue, View
from ticketing.gate.inputs import InputError, InputStatus, is_keyboard, open_input
from ticketing.gate.look_ups import LookUps
from ticketing.gate.messages import gate_message
from ticketing.gate.reads import input_events
from ticketing.gate.refusal import error_text
from ticketing.gate.replica import DeviceReplica
from ticketing.gate.store import Store
from ticketing.gate.terminal import ending_by_signals
from ticketing.gate.undo_code import UndoCode
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1.device_service_pb2 import EnrollDeviceRequest, EnrollDeviceResponse
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

PROGRAM: Final = "ticketing-gate"
# An unreachable service delays the first scan by this time; a reachable one answers sooner.
FIRST_CONNECTION_SECONDS: Final = 2.0
# The next run delivers the decisions that remain after this time.
DELIVERY_SECONDS: Final = 5.0
MAX_LOCATION: Final = bounds_of(scan_pb2.Gate, "location").max_length
ENROLL_SECONDS: Final = 10.0
ENROLL_TRIES: Final = 2
# After these errors, the service may have enrolled the device all the same.
NO_ANSWER: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class CommandError(Exception):
    """The command fails; the message says why."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `run`."""

    server: str
    gate: Gate
    scan_type: ScanType
    input: str
    as_json: bool
    data: Path
    credential: Credential | None
    tls: Tls
    # The same text read again within this time is the same read.
    repeat_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command == "enroll":
            return enroll(parsed.server, parsed.data, parsed.code, _read_tls(parsed))
        if parsed.command == "undo-code":
            return print_undo_code(parsed.data, is_new=parsed.new)
        return run(_read_run_options(parsed))
    except (CommandError, CredentialError, InputError, StoreError, sqlite3.Error) as error:
        # At the start, the file cannot be used at all.
        return _fail(error)
    except OutputError as error:
        # At its end, Python would write the rest once more, and fail once more.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(error)


def _fail(error: Exception) -> int:
    if sys.stderr is not None:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
    return 1


def enroll(server: str, data: Path, code: str, tls: Tls) -> int:
    """Exchange the one-time code for the device's access token, and store the token."""
    with ExitStack() as stack:
        # The file is opened first: the code is used up even if the token cannot be stored.
        store = _open_store(data, stack)
        channel = _open_channel(server, tls, stack)
        # The id is stored before the call: if the answer is lost, the next try or run gets the same token.
        request_id = store.setting("enrollment_request_id") or str(uuid4())
        store.save_setting("enrollment_request_id", request_id)
        request = EnrollDeviceRequest(enrollment_code=code, request_id=request_id)
        enrolled = _enroll(DeviceServiceStub(channel), request)
        with store.transaction():
            store.save_setting("token", enrolled.access_token)
            store.clear_refusals()
            store.save_setting("enrollment_request_id", "")
    print(f'enrolled as "{enrolled.device.name}"')
    return 0


def _enroll(
    devices: DeviceServiceStub, request: EnrollDeviceRequest, tries: int = ENROLL_TRIES
) -> EnrollDeviceResponse:
    try:
        return devices.EnrollDevice(request, timeout=ENROLL_SECONDS)
    except grpc.RpcError as error:
        if tries > 1 and error.code() in NO_ANSWER:
            return _enroll(devices, request, tries - 1)
        raise CommandError(f"not enrolled: {error_text(error, with_code=False)}") from error


def print_undo_code(data: Path, *, is_new: bool) -> int:
    """Print the undo code of the gate as text and, if the package `qrcode` is installed, as a QR code."""
    _make_folder(data)
    undo_code = UndoCode(data)
    try:
        code = (None if is_new else undo_code.read()) or undo_code.create()
    except OSError as error:
        raise CommandError(f"--data {data}: {error.strerror}") from error
    with suppress(ImportError):
        from qrcode import QRCode  # noqa: PLC0415 - the extra `screen`

        drawing = QRCode(border=2)
        drawing.add_data(code)
        drawing.print_ascii(out=sys.stdout)
    print(code)
    return 0


def run(options: RunOptions) -> int:
    """Scan until the end of the input, until a person quits, or until a signal."""
    with ExitStack() as stack:
        stack.enter_context(ending_by_signals())
        store = _open_store(options.data, stack)
        channel = _open_channel(options.server, options.tls, stack)
        client = ScanServiceClient(ScanServiceStub(channel), _credential(options, store), gate_message(options.gate))
        clock = DeviceClock(store.read_clock())
        connection = Connection(client, store, clock)
        device = Device(options.gate, options.scan_type, store, connection, clock)
        input_status = InputStatus()
        read = stack.enter_context(open_input(options.input, input_status))
        replica = DeviceReplica(client, options.gate.event_id, store, clock)
        for thread in (connection, replica):
            thread.start()
            stack.callback(thread.stop)
        read_status = StatusReader(
            options.gate,
            store,
            clock,
            lambda: connection.status,
            lambda: [input_status.problem, connection.thread.problem, replica.thread.problem],
        )
        dialogue = Dialogue(
            device,
            _open_view(options, read_status, stack),
            UndoCode(options.data),
            options.gate.event_id,
            lambda: _keys(store, options.gate),
            has_keyboard=is_keyboard(options.input),
            look_up=LookUps(client, connection.is_reachable).start,
            repeat_seconds=options.repeat_seconds,
        )
        try:
            connection.wait_for_first_attempt(FIRST_CONNECTION_SECONDS)
            for event in input_events(read):
                if not dialogue.handle(event):
                    break
            connection.wait_for_delivery(DELIVERY_SECONDS)
        except KeyboardInterrupt:
            return 130
    return 0


def _read_tls(parsed: argparse.Namespace) -> Tls:
    """Read the TLS options; plain text is only for the same machine, because it shows the credential to others."""
    if (parsed.certificate is None) != (parsed.key is None):
        raise CommandError("--certificate and --key belong together")
    if parsed.ca is None and not parsed.plaintext and not is_loopback(parsed.server.rpartition(":")[0]):
        raise CommandError(
            f"--server {parsed.server}: without TLS, others can read the token; give --ca or --plaintext"
        )
    identity = None if parsed.certificate is None else Identity(parsed.certificate, parsed.key)
    return Tls(identity, server_ca=parsed.ca)


def _open_channel(server: str, tls: Tls, stack: ExitStack) -> grpc.Channel:
    try:
        if tls.server_ca is not None:
            x509.load_pem_x509_certificates(tls.server_ca.read_bytes())
        return stack.enter_context(tls.channel(server, CHANNEL_OPTIONS))
    except (OSError, ValueError) as error:
        raise CommandError(f"the certificates cannot be used: {error}") from error


def _open_store(data: Path, stack: ExitStack) -> Store:
    """Open the device's file."""
    _make_folder(data)
    store = Store(data / "gate.sqlite")
    stack.callback(store.close)
    return store


def _make_folder(data: Path) -> None:
    """Make the device's folder; only its owner can read it, because it contains a credential and the undo code."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--data {data}: {error.strerror}") from error


def _keys(store: Store, gate: Gate) -> Mapping[int, PublicKey]:
    """Return the keys that verify the tokens of the gate's event; none before the replica has them."""
    rules = store.rules(gate.event_id)
    return {} if rules is None else rules.keys


def _open_view(options: RunOptions, read_status: StatusReader, stack: ExitStack) -> View:
    """Return the full-screen view on a terminal, and the printer of lines otherwise."""
    if sys.stdout is None:
        raise CommandError("standard output is closed, so answers cannot be shown")
    if not options.as_json and sys.stdout.isatty():
        try:
            from rich.console import Console  # noqa: PLC0415 - the extra `screen`

            from ticketing.gate.screen import Screen  # noqa: PLC0415 - as above
        except ImportError:
            pass
        else:
            return stack.enter_context(Screen(Console(), read_status))
    if sys.stderr is not None:
        status = StatusPrinter(read_status, sys.stderr, as_json=options.as_json)
        status.start()
        stack.callback(status.stop)
    return LinePrinter(sys.stdout, read_status, as_json=options.as_json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="A gate device: scans tickets, online and offline.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="scan at a gate")
    run_parser.add_argument("--event", required=True, type=UUID, help="the event's id")
    run_parser.add_argument("--location", required=True, help='the name of the gate, such as "North 3"')
    run_parser.add_argument("--token-file", type=Path, help="contains the access token; default: that of `enroll`")
    run_parser.add_argument("--input", default="stdin", help="stdin, serial:/dev/… or file:PATH")
    run_parser.add_argument("--check-out", action="store_true", help="scan people who leave")
    run_parser.add_argument("--types", default="", help="admitted ticket types, such as VIP,GROUP; all by default")
    run_parser.add_argument("--json", action="store_true", help="print a line of JSON for each answer, for programs")
    run_parser.add_argument(
        "--repeat-seconds", type=float, default=REPEAT_SECONDS, help="the same text within this time is one read"
    )
    undo_parser = commands.add_parser("undo-code", help="print the code that annuls the last admission at this gate")
    undo_parser.add_argument("--new", action="store_true", help="replace the code; the gate may be running")
    enroll_parser = commands.add_parser("enroll", help="exchange a one-time code for the device's access token")
    enroll_parser.add_argument("code", help="the one-time code that the organizer received")
    data = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / PROGRAM
    undo_parser.add_argument("--data", type=Path, default=data, help="the device's folder")
    for command in (run_parser, enroll_parser):
        command.add_argument("--server", default="127.0.0.1:50052", help="the scan service's host:port")
        command.add_argument("--ca", type=Path, help="authorities (PEM) that verify the service; turns TLS on")
        command.add_argument("--certificate", type=Path, help="certificate (PEM), if the service requires one")
        command.add_argument("--key", type=Path, help="private key (PEM) of the certificate")
        command.add_argument("--plaintext", action="store_true", help="send the credential without TLS")
        command.add_argument("--data", type=Path, default=data, help="the device's folder")
    return parser


def _read_run_options(parsed: argparse.Namespace) -> RunOptions:
    try:
        types = frozenset(TicketType(name.strip().upper()) for name in parsed.types.split(",") if name.strip())
    except ValueError as error:
        raise CommandError(f"--types: {error}") from error
    if not 1 <= len(parsed.location) <= MAX_LOCATION:
        raise CommandError(f"--location: has to be of 1 to {MAX_LOCATION} characters")
    return RunOptions(
        server=parsed.server,
        gate=Gate(parsed.event, parsed.location, types),
        scan_type=ScanType.CHECK_OUT if parsed.check_out else ScanType.CHECK_IN,
        input=parsed.input,
        as_json=parsed.json,
        data=parsed.data,
        credential=Credential.of_file(parsed.token_file) if parsed.token_file else None,
        tls=_read_tls(parsed),
        repeat_seconds=parsed.repeat_seconds,
    )


def _credential(options: RunOptions, store: Store) -> Credential:
    if options.credential is not None:
        return options.credential
    token = store.setting("token")
    if not token:
        raise CommandError("this device has no credential: enroll it, or give a --token-file")
    return Credential(token)
