"""The command line of the device: what it is asked, and the parts put together."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import grpc

from chassis.clock import system_clock
from gate.connection import OPTIONS, Connection, Link, Metadata
from gate.copy import Copy
from gate.device import Device
from gate.inputs import InputError, opened
from gate.messages import gate_message
from gate.plain import Lines
from gate.reading import lines
from gate.store import Store, StoreError
from scan_service.domain.scans import Gate, ScanType
from scan_service.domain.tickets import TicketType
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

# Scanned or typed instead of a ticket: the person of the scan before did not pass.
TAKE_BACK: Final = "GATE-UNDO"
# A service that is there answers sooner; one that is not does not hold up the door.
FIRST_CONNECTION_SECONDS: Final = 2.0
# What is not delivered by then stays for the next run.
DELIVERY_SECONDS: Final = 5.0


class CommandError(Exception):
    """The command cannot be carried out; the message says why."""


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    asked = _parser().parse_args(arguments)
    try:
        return run(_setup(asked))
    except (CommandError, InputError, StoreError) as error:
        print(f"gate: {error}", file=sys.stderr)
        return 1


def run(setup: Setup) -> int:
    """Scan until the input ends or Ctrl-C."""
    with ExitStack() as stack:
        setup.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = Store(setup.data / "gate.sqlite")
        stack.callback(store.close)
        channel = stack.enter_context(grpc.insecure_channel(setup.server, options=OPTIONS))
        link = Link(ScanServiceStub(channel), _credential(setup), gate_message(setup.gate))
        connection = Connection(link, store, system_clock)
        device = Device(setup.gate, setup.scan_type, store, connection, system_clock)
        view = Lines(sys.stdout, as_json=setup.as_json)
        read = stack.enter_context(opened(setup.input))
        copy = Copy(link, setup.gate.event_id, store, system_clock)
        for follower in (connection, copy):
            follower.start()
            stack.callback(follower.stop)
        connection.settle(FIRST_CONNECTION_SECONDS)
        try:
            for text in lines(read):
                if text != TAKE_BACK:
                    device.scan(text, view.show)
                elif (answer := device.take_back()) is not None:
                    view.show(answer)
        except KeyboardInterrupt:
            return 130
        connection.deliver(DELIVERY_SECONDS)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gate", description="A gate device: scans tickets, online and offline.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="scan at a gate")
    run_parser.add_argument("--event", required=True, type=UUID, help="the event's id")
    run_parser.add_argument("--location", required=True, help='what the gate is called, such as "North 3"')
    run_parser.add_argument("--token-file", type=Path, help="holds the access token; otherwise that of `enroll`")
    run_parser.add_argument("--input", default="stdin", help="stdin, serial:/dev/… or file:PATH")
    run_parser.add_argument("--check-out", action="store_true", help="scan people who leave")
    run_parser.add_argument("--types", default="", help="ticket types let through, such as VIP,GROUP; all by default")
    run_parser.add_argument("--json", action="store_true", help="a line of JSON for each answer, for programs")
    for command in (run_parser,):
        command.add_argument("--server", default="127.0.0.1:50052", help="the scan service's host:port")
        command.add_argument("--data", type=Path, default=_default_data(), help="the device's folder")
    return parser


def _default_data() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ticketing-gate"


def _setup(asked: argparse.Namespace) -> Setup:
    try:
        types = frozenset(TicketType(name.strip().upper()) for name in asked.types.split(",") if name.strip())
    except ValueError as error:
        raise CommandError(f"--types: {error}") from error
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
    )


def _credential(setup: Setup) -> Metadata:
    if setup.token is None:
        raise CommandError("--token-file is needed")
    return (("authorization", f"Bearer {setup.token}"),)
