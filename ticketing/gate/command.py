"""The command line of the device: what it is asked, and the parts put together."""

import argparse
import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import grpc
from cryptography import x509

from ticketing.admission.scans import Gate, ScanType
from ticketing.admission.tickets import TicketType
from ticketing.chassis.channel import CHANNEL_OPTIONS
from ticketing.chassis.clock import system_clock
from ticketing.chassis.tls import Identity, Tls, is_loopback
from ticketing.chassis.version import VERSION
from ticketing.gate.connection import Connection
from ticketing.gate.copy import Copy
from ticketing.gate.device import Device, Show
from ticketing.gate.inputs import InputError, opened
from ticketing.gate.link import Link, Metadata, Status, said
from ticketing.gate.messages import gate_message
from ticketing.gate.plain import Lines
from ticketing.gate.reading import lines
from ticketing.gate.store import Store, StoreError
from ticketing.scans.v1.device_service_pb2 import EnrollDeviceRequest
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

# Scanned or typed instead of a ticket: the person of the scan before did not pass.
TAKE_BACK: Final = "GATE-UNDO"
# A service that is there answers sooner; one that is not does not hold up the door.
FIRST_CONNECTION_SECONDS: Final = 2.0
# What is not delivered by then stays for the next run.
DELIVERY_SECONDS: Final = 5.0
MAX_LOCATION: Final = 100
ENROLL_SECONDS: Final = 10.0


class CommandError(Exception):
    """The command cannot be carried out; the message says why."""


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What `enroll` was asked."""

    server: str
    data: Path
    code: str
    tls: Tls


@dataclass(frozen=True, slots=True)
class Setup:
    """What `run` was asked."""

    server: str
    gate: Gate
    scan_type: ScanType
    input: str
    as_json: bool
    data: Path
    token: str | None
    tls: Tls


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "enroll":
            return enroll(Enrollment(asked.server, asked.data, asked.code, _tls(asked)))
        return run(_setup(asked))
    except (CommandError, InputError, StoreError, sqlite3.Error) as error:
        # Among them a full disk: what cannot be written down is not shown.
        print(f"ticketing-gate: {error}", file=sys.stderr)
        return 1


def enroll(asked: Enrollment) -> int:
    """Trade the one-time code for this device's access token, and keep it."""
    with ExitStack() as stack:
        # First, so that the code is not used up where the token cannot be kept.
        store = _store(asked.data, stack)
        channel = _channel(asked.server, asked.tls, stack)
        request = EnrollDeviceRequest(enrollment_code=asked.code)
        try:
            enrolled = DeviceServiceStub(channel).EnrollDevice(request, timeout=ENROLL_SECONDS)
        except grpc.RpcError as error:
            raise CommandError(f"not enrolled: {said(error)}") from error
        with store.transaction():
            store.keep_setting("token", enrolled.access_token)
            store.keep_setting("refused", "")
    print(f'enrolled as "{enrolled.device.name}"')
    return 0


def run(setup: Setup) -> int:
    """Scan until the input ends or Ctrl-C."""
    with ExitStack() as stack:
        store = _store(setup.data, stack)
        channel = _channel(setup.server, setup.tls, stack)
        link = Link(ScanServiceStub(channel), _credential(setup, store), gate_message(setup.gate))
        connection = Connection(link, store, system_clock)
        device = Device(setup.gate, setup.scan_type, store, connection, system_clock)
        read = stack.enter_context(opened(setup.input))
        copy = Copy(link, setup.gate.event_id, store, system_clock)
        for follower in (connection, copy):
            follower.start()
            stack.callback(follower.stop)
        show = _view(setup, stack, lambda: (connection.status, store.queue_length()))
        try:
            connection.settle(FIRST_CONNECTION_SECONDS)
            for text in lines(read):
                if text != TAKE_BACK:
                    device.scan(text, show)
                elif (answer := device.take_back()) is not None:
                    show(answer)
            connection.deliver(DELIVERY_SECONDS)
        except KeyboardInterrupt:
            return 130
    return 0


def _tls(asked: argparse.Namespace) -> Tls:
    """Read how the service is reached; what a device sends lets whoever overhears it scan."""
    if (asked.certificate is None) != (asked.key is None):
        raise CommandError("--certificate and --key belong together")
    if asked.ca is None and not asked.plaintext and not is_loopback(asked.server.rpartition(":")[0]):
        raise CommandError(f"--server {asked.server}: others can overhear it without TLS; give --ca, or --plaintext")
    identity = None if asked.certificate is None else Identity(asked.certificate, asked.key)
    return Tls(identity, server_ca=asked.ca)


def _channel(server: str, tls: Tls, stack: ExitStack) -> grpc.Channel:
    try:
        if tls.server_ca is not None:
            x509.load_pem_x509_certificates(tls.server_ca.read_bytes())
        return stack.enter_context(tls.channel(server, CHANNEL_OPTIONS))
    except (OSError, ValueError) as error:
        raise CommandError(f"the certificates cannot be used: {error}") from error


def _store(data: Path, stack: ExitStack) -> Store:
    """Open the device's file; it holds a credential and stays its owner's."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--data {data}: {error.strerror}") from error
    store = Store(data / "gate.sqlite")
    stack.callback(store.close)
    return store


def _view(setup: Setup, stack: ExitStack, standing: Callable[[], tuple[Status, int]]) -> Show:
    """Show answers on the whole terminal where there is one, line by line otherwise."""
    if setup.as_json or not sys.stdout.isatty():
        return Lines(sys.stdout, as_json=setup.as_json).show
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra: a turnstile does without

        from ticketing.gate.screen import Screen, Standing  # noqa: PLC0415 - as said
    except ImportError:
        return Lines(sys.stdout, as_json=False).show

    def stands() -> Standing:
        status, queued = standing()
        return Standing(status, setup.gate.location, queued)

    return stack.enter_context(Screen(Console(), stands)).show


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ticketing-gate", description="A gate device: scans tickets, online and offline."
    )
    parser.add_argument("--version", action="version", version=f"ticketing-gate {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="scan at a gate")
    run_parser.add_argument("--event", required=True, type=UUID, help="the event's id")
    run_parser.add_argument("--location", required=True, help='what the gate is called, such as "North 3"')
    run_parser.add_argument("--token-file", type=Path, help="holds the access token; otherwise that of `enroll`")
    run_parser.add_argument("--input", default="stdin", help="stdin, serial:/dev/… or file:PATH")
    run_parser.add_argument("--check-out", action="store_true", help="scan people who leave")
    run_parser.add_argument("--types", default="", help="ticket types let through, such as VIP,GROUP; all by default")
    run_parser.add_argument("--json", action="store_true", help="a line of JSON for each answer, for programs")
    enroll_parser = commands.add_parser("enroll", help="trade a one-time code for this device's access token")
    enroll_parser.add_argument("code", help="the one-time code, as the organizer was given it")
    for command in (run_parser, enroll_parser):
        command.add_argument("--server", default="127.0.0.1:50052", help="the scan service's host:port")
        command.add_argument("--ca", type=Path, help="authorities (PEM) that verify the service; TLS")
        command.add_argument("--certificate", type=Path, help="certificate (PEM) where the service asks for one")
        command.add_argument("--key", type=Path, help="its private key (PEM)")
        command.add_argument(
            "--plaintext", action="store_true", help="let the credential leave this machine without TLS"
        )
        command.add_argument("--data", type=Path, default=_default_data(), help="the device's folder")
    return parser


def _default_data() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ticketing-gate"


def _setup(asked: argparse.Namespace) -> Setup:
    try:
        types = frozenset(TicketType(name.strip().upper()) for name in asked.types.split(",") if name.strip())
    except ValueError as error:
        raise CommandError(f"--types: {error}") from error
    if not 1 <= len(asked.location) <= MAX_LOCATION:
        raise CommandError(f"--location: has to be of 1 to {MAX_LOCATION} characters")
    try:
        token = asked.token_file and asked.token_file.read_text().strip()
    except OSError as error:
        raise CommandError(f"--token-file {asked.token_file}: {error.strerror}") from error
    return Setup(
        server=asked.server,
        gate=Gate(asked.event, asked.location, types),
        scan_type=ScanType.CHECK_OUT if asked.check_out else ScanType.CHECK_IN,
        input=asked.input,
        as_json=asked.json,
        data=asked.data,
        token=token,
        tls=_tls(asked),
    )


def _credential(setup: Setup, store: Store) -> Metadata:
    token = setup.token or store.setting("token")
    if not token:
        raise CommandError("this device has no credential: enroll it, or give a --token-file")
    return (("authorization", f"Bearer {token}"),)
