"""The options of the gate device's commands, as the command line gives them."""

import argparse
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from ticketing.admission.scans import Gate, ScanType
from ticketing.admission.tickets import TicketType
from ticketing.chassis.arguments import Parser
from ticketing.chassis.bounds import bounds_of
from ticketing.chassis.texts import composed, fault_of_name
from ticketing.chassis.tls import Identity, Tls, is_loopback
from ticketing.chassis.version import VERSION
from ticketing.gate.credential import Credential
from ticketing.gate.dialogue import REPEAT_SECONDS
from ticketing.gate.kept_scans import KEPT
from ticketing.scans.v1 import scan_pb2

PROGRAM: Final = "ticketing-gate"
MAX_KEEP_DAYS: Final = 30
MAX_LOCATION: Final = bounds_of(scan_pb2.Gate, "location").max_length


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
    # Admitted scans are kept for this time.
    kept_for: timedelta


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = Parser(prog=PROGRAM, description="A gate device: scans tickets, online and offline.")
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
    run_parser.add_argument(
        "--keep-days",
        type=float,
        default=KEPT / timedelta(days=1),
        help="keep admitted scans for so many days, to send them again if the service loses them; 0 keeps none",
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


def read_run_options(parsed: argparse.Namespace) -> RunOptions:
    """Read the options of `run`; raise CommandError or CredentialError where one is wrong."""
    try:
        types = frozenset(TicketType(name.strip().upper()) for name in parsed.types.split(",") if name.strip())
    except ValueError as error:
        raise CommandError(f"--types: {error}") from error
    # The service would refuse the gate later, when people wait.
    location = composed(parsed.location) or ""
    if not 1 <= len(location) <= MAX_LOCATION:
        raise CommandError(f"--location: has to be of 1 to {MAX_LOCATION} characters")
    if (fault := fault_of_name(location)) is not None:
        raise CommandError(f"--location: {fault}")
    if not 0 <= parsed.keep_days <= MAX_KEEP_DAYS:
        raise CommandError(f"--keep-days: has to be from 0 to {MAX_KEEP_DAYS}")
    return RunOptions(
        server=parsed.server,
        gate=Gate(parsed.event, location, types),
        scan_type=ScanType.CHECK_OUT if parsed.check_out else ScanType.CHECK_IN,
        input=parsed.input,
        as_json=parsed.json,
        data=parsed.data,
        credential=Credential.of_file(parsed.token_file) if parsed.token_file else None,
        tls=read_tls(parsed),
        repeat_seconds=parsed.repeat_seconds,
        kept_for=timedelta(days=parsed.keep_days),
    )


def read_tls(parsed: argparse.Namespace) -> Tls:
    """Read the TLS options; plain text is only for the same machine, because it shows the credential to others."""
    if (parsed.certificate is None) != (parsed.key is None):
        raise CommandError("--certificate and --key belong together")
    if parsed.ca is None and not parsed.plaintext and not is_loopback(parsed.server.rpartition(":")[0]):
        raise CommandError(
            f"--server {parsed.server}: without TLS, others can read the token; give --ca or --plaintext"
        )
    identity = None if parsed.certificate is None else Identity(parsed.certificate, parsed.key)
    return Tls(identity, server_ca=parsed.ca)
