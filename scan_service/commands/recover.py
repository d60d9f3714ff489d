"""Recover after the scans database was restored to an earlier moment: `python -m scan_service recover`.

The command may run before the service or beside it, be stopped at any time, and run again: it continues the open
recovery. The service continues it too, and asks the gate devices.
"""

import asyncio
import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.engine import URL

from scan_service.adapters.tickets import TicketService
from scan_service.commands.retire_keys import read_key_id, retire_named_keys
from scan_service.commands.revoke_devices import ALL, read_device, revoke_devices
from scan_service.domain.recoveries import ListedDevice, Recovery, RecoveryReport
from scan_service.settings import Settings, read_settings
from scan_service.store.clock import DatabaseClock
from scan_service.use_cases.recoveries import Recoveries, UnknownMomentError
from ticketing.admission.codes import Codes
from ticketing.chassis.arguments import read_past
from ticketing.chassis.command_line import Command
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.settings import Environment, SettingsError

Write = Callable[[str], None]

# The text lists so many of a kind; `--json` lists all.
MAX_LISTED: Final = 20
# The ticket service may be starting.
ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 1.0
POLL_SECONDS: Final = 1.0


def recover(url: URL, given: Namespace, write: Write = print) -> int:
    """Begin or continue a recovery, and print its progress; return 0 where nothing is pending, else 1."""
    environment = Environment(os.environ)
    settings = read_settings(environment)
    environment.check()
    report_line: Write = (lambda _: None) if given.json else write
    if given.retire_keys:
        retire_named_keys(url, given.retire_keys, report_line)
    if given.revoke_devices:
        revoke_devices(url, given.revoke_devices, report_line)
    report, problem = asyncio.run(_run(url, settings, given))
    for line in _json_lines(report, problem) if given.json else _lines(report, problem, given.since):
        write(line)
    return 0 if report.is_complete and not problem else 1


def add_arguments(parser: ArgumentParser) -> None:
    """Add the given."""
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=read_past,
        help="the moment to which the database was restored, such as 2030-05-01T20:00:00Z; by default the last time at"
        " which the service has seen it",
    )
    parser.add_argument("--retire-keys", metavar="ID", type=read_key_id, nargs="+", help="retire signing keys for good")
    parser.add_argument(
        "--revoke-devices", metavar="ID", type=read_device, nargs="+", help=f"revoke gate devices, or `{ALL}`"
    )
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=0.0, help="wait for gate devices")
    parser.add_argument("--close", action="store_true", help="ask gate devices no longer, at the end of the command")
    parser.add_argument("--json", action="store_true", help="print lines of JSON, with every ticket and device")


async def _run(url: URL, settings: Settings, given: Namespace) -> tuple[RecoveryReport, str]:
    """Return the report, and the reason why the ticket service was not asked to the end; empty where it was."""
    database = Database(url, "scan_service recover", threads=2)
    peer = settings.service.peer(settings.tickets_address)
    recoveries = Recoveries(database, TicketService(peer), Codes(settings.code_secret), DatabaseClock())
    try:
        try:
            recovery = await recoveries.begin(given.since)
        except UnknownMomentError:
            raise SettingsError(
                "recover: the service has run on this database, so nothing shows whether and to which moment it was"
                " restored; give --since TIME"
            ) from None
        problem = await _ask_ticket_service(recoveries)
        report = await _wait(recoveries, recovery, given.wait)
        if given.close:
            await recoveries.close(recovery)
        return report, problem
    finally:
        await peer.close()
        await database.close()


async def _ask_ticket_service(recoveries: Recoveries) -> str:
    attempts = 0
    while True:
        try:
            while await recoveries.step():
                attempts = 0
        except Failure as failure:
            attempts += 1
            if attempts >= ATTEMPTS:
                return failure.message
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return ""


async def _wait(recoveries: Recoveries, recovery: Recovery, seconds: float) -> RecoveryReport:
    """Return the report once every known device has sent its scans, or after the time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        report = await recoveries.report(recovery)
        if not report.pending or loop.time() >= end:
            return report
        await asyncio.sleep(min(POLL_SECONDS, seconds))


def _lines(report: RecoveryReport, problem: str, given: datetime | None) -> Iterator[str]:
    recovery = report.recovery
    since, begin = _text(recovery.since_time), _text(recovery.begin_time)
    yield f"scans after {since} may be lost; recovery {recovery.recovery_id} began at {begin}"
    if given is not None and given != recovery.since_time:
        yield f"the moment stays {since}: gates are still asked for everything since then, also after {_text(given)}"
    yield f"check-ins taken back from the ticket service: {recovery.recovered}; annulled again: {recovery.annulled}"
    yield (
        f"gate devices taken back from the ticket service: {recovery.restored_devices}; revoked again:"
        f" {recovery.revoked_devices}"
    )
    if problem:
        yield f"the ticket service was not asked to the end: {problem}; the running scan service goes on"
    yield f"scans sent again by gates: {report.resent}"
    yield f"check-ins taken back whose gate has not sent the scan: {len(report.recovered)}"
    yield from _listed(
        f"  ticket {one.ticket_id} of event {one.event_id}, {_text(one.check_in_time)}" for one in report.recovered
    )
    yield f"incidents since then: {len(report.incidents)}"
    yield from _listed(f"  {one.kind}, ticket {one.ticket_id} of event {one.event_id}" for one in report.incidents)
    yield f"gate devices that have not sent their scans again: {len(report.pending)}"
    yield from _listed(_device_lines(report.pending))
    yield f"gate devices that are not revoked: {len(report.active)}"
    yield from _listed(_device_lines(report.active))
    if report.active:
        yield (
            "  a revocation that the ticket service did not have is lost: revoke with --revoke-devices the devices that"
            f" the lines `a device was revoked` of the logs name since {since}"
        )
    yield "lost: denied scans, and admitted ones that neither a gate nor the ticket service has"
    yield "gates with the token of a person are asked too, but are not listed here"


def _device_lines(devices: Sequence[ListedDevice]) -> Iterator[str]:
    for one in devices:
        seen = _text(one.last_seen_time)
        yield f"  {one.device_id} {one.name!r} of {one.organizer_id}, {one.location or 'no gate'}, last seen {seen}"


def _listed(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == MAX_LISTED:
            yield "  and more: --json lists all"
            return
        yield line


def _json_lines(report: RecoveryReport, problem: str) -> Iterator[str]:
    recovery = report.recovery
    yield _json(
        "recovery",
        recovery_id=recovery.recovery_id,
        cause=recovery.cause,
        since_time=recovery.since_time,
        begin_time=recovery.begin_time,
        recovered=recovery.recovered,
        annulled=recovery.annulled,
        restored_devices=recovery.restored_devices,
        revoked_devices=recovery.revoked_devices,
        resent=report.resent,
        problem=problem,
        complete=report.is_complete and not problem,
    )
    for check_in in report.recovered:
        yield _json(
            "recovered_check_in",
            event_id=check_in.event_id,
            ticket_id=check_in.ticket_id,
            check_in_time=check_in.check_in_time,
        )
    for incident in report.incidents:
        yield _json(
            "incident",
            event_id=incident.event_id,
            incident_kind=incident.kind,
            ticket_id=incident.ticket_id,
            incident_id=incident.incident_id,
        )
    for kind, devices in (("pending_device", report.pending), ("active_device", report.active)):
        for device in devices:
            yield _json(
                kind,
                device_id=device.device_id,
                organizer_id=device.organizer_id,
                name=device.name,
                location=device.location,
                last_seen_time=device.last_seen_time,
            )


def _json(kind: str, **values: Any) -> str:
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
    return json.dumps({"kind": kind} | plain, default=str)


def _text(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


COMMAND: Final = Command(
    "recover", "recover after the database was restored, or a failover lost commits", recover, add_arguments
)
