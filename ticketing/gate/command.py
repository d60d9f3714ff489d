"""The command line of the gate device: it reads the options and runs the parts of the device."""

import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509

from ticketing.admission.scans import Gate
from ticketing.admission.tokens import PublicKey
from ticketing.chassis.tls import Tls
from ticketing.client.channel_options import CHANNEL_OPTIONS
from ticketing.gate.answer_text import LinePrinter, OutputError, StatusPrinter
from ticketing.gate.client import GATE_CHANNEL_OPTIONS, ScanServiceClient
from ticketing.gate.connection import Connection
from ticketing.gate.credential import Credential, CredentialError
from ticketing.gate.device import Device
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.device_file import StoreError
from ticketing.gate.device_status import StatusReader
from ticketing.gate.dialogue import Dialogue, View
from ticketing.gate.enrollment import enroll_device
from ticketing.gate.holder_names import HolderNames
from ticketing.gate.inputs import InputError, InputStatus, is_keyboard, open_input
from ticketing.gate.kept_scans import KEPT
from ticketing.gate.look_ups import LookUps
from ticketing.gate.messages import gate_message
from ticketing.gate.options import PROGRAM, CommandError, RunOptions, build_parser, read_run_options, read_tls
from ticketing.gate.reads import input_events
from ticketing.gate.replica import DeviceReplica
from ticketing.gate.store import Store
from ticketing.gate.terminal import ending_by_signals
from ticketing.gate.undo_code import UndoCode
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub

# An unreachable service delays the first scan by this time; a reachable one answers sooner.
FIRST_CONNECTION_SECONDS: Final = 2.0
# The next run delivers the decisions that remain after this time.
DELIVERY_SECONDS: Final = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parsed = build_parser().parse_args(arguments)
    try:
        if parsed.command == "enroll":
            return enroll(parsed.server, parsed.data, parsed.code, read_tls(parsed))
        if parsed.command == "undo-code":
            return print_undo_code(parsed.data, is_new=parsed.new)
        return run(read_run_options(parsed))
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
    """Enroll this device, and print its name."""
    with ExitStack() as stack:
        # The file is opened first: the code is used up even if the token cannot be stored.
        store = _open_store(data, stack)
        _check_certificates(tls)
        channel = stack.enter_context(tls.channel(server, CHANNEL_OPTIONS))
        name = enroll_device(store, DeviceServiceStub(channel), code)
    print(f'enrolled as "{name}"')
    return 0


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
        store = _open_store(options.data, stack, options.kept_for)
        _check_certificates(options.tls)
        open_channel = partial(options.tls.channel, options.server, GATE_CHANNEL_OPTIONS)
        client = ScanServiceClient(open_channel, _credential(options, store), gate_message(options.gate))
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
        view = _open_view(options, read_status, stack)
        names = HolderNames(client, connection.is_reachable, view.show_holder)
        names.start()
        stack.callback(names.stop)
        dialogue = Dialogue(
            device,
            view,
            UndoCode(options.data),
            options.gate.event_id,
            lambda: _keys(store, options.gate),
            has_keyboard=is_keyboard(options.input),
            look_up=LookUps(client, connection.is_reachable).start,
            request_name=names.request,
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


def _check_certificates(tls: Tls) -> None:
    """Raise CommandError where a certificate file is missing or has no certificate."""
    try:
        if tls.server_ca is not None:
            x509.load_pem_x509_certificates(tls.server_ca.read_bytes())
        tls.channel_credentials()
    except (OSError, ValueError) as error:
        raise CommandError(f"the certificates cannot be used: {error}") from error


def _open_store(data: Path, stack: ExitStack, kept_for: timedelta = KEPT) -> Store:
    """Open the device's file."""
    _make_folder(data)
    store = Store(data / "gate.sqlite", kept_for)
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


def _credential(options: RunOptions, store: Store) -> Credential:
    if options.credential is not None:
        return options.credential
    token = store.setting("token")
    if not token:
        raise CommandError("this device has no credential: enroll it, or give a --token-file")
    return Credential(token)
