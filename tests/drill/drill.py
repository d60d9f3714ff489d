"""One drill: a history with backups at random moments, the restore of one or both databases, the recovery, the checks."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import grpc
from sqlalchemy.engine import URL

from tests.drill.checks import Checks
from tests.drill.expected import Expected, Moments, expected_findings, orders_in_full
from tests.drill.history import History
from tests.drill.log import Kind, TicketState, key_of
from tests.drill.sales import purchase_request
from tests.drill.site import SCANS, SECONDS, TICKETS, Lane, Site, faster
from tests.environment.access import Issuer
from tests.environment.refusals import reason_of
from tests.environment.waiting import eventually
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb

OPERATIONS: Final = 36
# A history with less work proves nothing.
MIN_ANSWERS: Final = 30
MIN_ADMITTED: Final = 3
# Ids have 32 digits and more, other words fewer.
MIN_ID_LENGTH: Final = 25
RESTORES: Final = ((TICKETS,), (SCANS,), (TICKETS, SCANS))


@dataclass(frozen=True)
class Backup:
    """A dump of a database, and the number of lines that the log had then."""

    path: Path
    number: int
    time: datetime


@dataclass
class Result:
    """The outcome of one drill."""

    seed: int
    restored: tuple[str, ...]
    operations: int = 0
    answers: int = 0
    # The findings of the recovery of the tickets database, by kind.
    found: Counter[str] = field(default_factory=Counter)
    # The scans that gates sent again, and the rows that the ticket service gave back.
    resent: int = 0
    given_back: int = 0
    violations: list[str] = field(default_factory=list)


class Drill:
    """One drill on a site of its own."""

    # Whether commands run in this process, where a test may have removed a guard.
    runs_here = False

    def __init__(self, template: Callable[[str], URL], issuer: Issuer, folder: Path, seed: int) -> None:
        self._template, self._issuer, self._folder = template, issuer, folder
        self._random = Random(seed)
        self._stack = ExitStack()
        self._backups: dict[str, Backup] = {}
        self.result = Result(seed, RESTORES[seed % len(RESTORES)])
        self._end = 0
        self._expected = Expected(frozenset(), frozenset())
        # The lines that `recover` of the tickets database has printed, and the last ones of the scans database.
        self._printed: list[dict[str, Any]] = []

    def run(self) -> Result:
        """Run the drill; return its outcome."""
        with self._stack:
            self._stack.enter_context(faster())
            self.site = self._new_site()
            self._stack.callback(self.site.close)
            self.site.start(TICKETS, SCANS)
            self.history = History(self.site, self._random, self._folder)
            self._stack.callback(self._close_lanes)
            self.history.prepare()
            self.operate()
            self._disaster()
            self._recover()
            self._reconnect()
            self._probe()
            self.result.violations += self._violations()
            return self.result

    def _new_site(self) -> Site:
        return Site(self._template, self._issuer, self._folder, self._stack)

    def operate(self) -> None:
        """Do the operations of the history, and back up the databases at random moments."""
        moments = {name: self._random.randrange(OPERATIONS // 4, OPERATIONS) for name in (TICKETS, SCANS)}
        for number in range(OPERATIONS):
            for name in self.result.restored:
                if moments[name] == number:
                    self.back_up(name)
            self.history.operate()
        if self._random.random() < 0.5:
            self.history.callers.settle()

    def back_up(self, name: str) -> None:
        """Dump a database beside its running service."""
        number, time = len(self.history.log.entries), datetime.now().astimezone()
        self.history.log.add(Kind.BACKED_UP, name=name)
        self._backups[name] = Backup(self.site.back_up(name), number, time)

    def _disaster(self) -> None:
        log = self.history.log
        self._end = len(log.entries)
        self.result.operations, self.result.answers = self.history.operations, self._end
        log.add(Kind.DISASTER)
        self.site.stop()
        for name, backup in self._backups.items():
            self.site.restore(name, backup.path)
        # The doors stay open: gates decide offline.
        for lane in self.history.doors.working():
            eventually(partial(_is_offline, lane))
        for _ in range(4):
            self.history.doors.scan()

    def _recover(self) -> None:
        """Run the commands as docs/operations.md has them."""
        if self.result.restored == (TICKETS,):
            self.site.start(SCANS)
            self._recover_tickets(named_keys=(), delivered=())
        elif self.result.restored == (SCANS,):
            self.site.start(TICKETS)
            self._check_revocations(self.recover_scans())
            self.recover_scans(*self._named_devices())
            self.site.start(SCANS)
        else:
            self.site.start(SCANS)
            keys = self.history.world.retired_keys
            retired = ["--retire-keys", *sorted(map(str, keys))] if keys else []
            self.recover_scans(*retired, *self._named_devices())
            # Admissions that the gates have sent before the tickets are recovered are found by it.
            self._recover_tickets(named_keys=keys, delivered=self._await_gates())
        self.history.callers.connect()

    def _recover_tickets(self, *, named_keys: Collection[int], delivered: Collection[str]) -> None:
        """Recover the tickets database before its service starts, or beside it."""
        scans = self._backups[SCANS].number if SCANS in self._backups else self._end
        moments = Moments(self._backups[TICKETS].number, scans)
        self._expected = expected_findings(self.history.log, moments, self.site.stripe, named_keys, delivered)
        self.recover_tickets()
        self.site.start(TICKETS)

    def _named_devices(self) -> list[str]:
        """Return the option that revokes again what the logs name, which neither database may have."""
        revoked = sorted(self.history.world.revoked)
        return ["--revoke-devices", *revoked] if revoked else []

    def _check_revocations(self, lines: list[dict[str, Any]]) -> None:
        """Compare the devices that the recovery of the scans database cannot vouch for with the log."""
        log = self.history.log
        reported, revoked = log.world(log.last_settled(self._end)).revoked, log.world().revoked
        listed = {line["device_id"] for line in lines if line["kind"] == "active_device"}
        for device_id in sorted(revoked):
            name = log.world().devices[device_id]
            if device_id in reported and device_id in listed:
                self.result.violations.append(f"the revocation of {name} was reported, and did not come back")
            is_revoked = self.site.read(
                SCANS, f"SELECT revoke_time IS NOT NULL FROM devices WHERE device_id = '{device_id}'"
            )
            if not is_revoked and device_id not in listed:
                self.result.violations.append(f"the revocation of {name} is lost, and the device is not listed")

    def _await_gates(self) -> set[str]:
        """Wait for the gates that can send everything before the ticket service runs; return their devices."""
        lanes = {lane.device_id: lane for lane in self.history.doors.working() if lane.is_online}
        keys = {key_id for (key_id,) in self.site.rows(SCANS, "SELECT key_id FROM signing_keys")}
        for entry in self.history.log.of(Kind.SHOWN):
            if key_of(entry.facts["token"]) not in keys:
                # The backup lacks the key. The scan waits for the keys of the ticket service.
                lanes.pop(entry.facts["device_id"], None)
        resent = "SELECT device_id::text FROM devices WHERE resent_recovery_id IS NOT NULL"

        def missing() -> set[str]:
            answered = {device_id for (device_id,) in self.site.rows(SCANS, resent)}
            # The service refuses a device or an event that the backup lacks.
            return {key for key, lane in lanes.items() if key not in answered and lane.handheld.state != "REFUSED"}

        eventually(missing, set(), seconds=SECONDS)
        return {key for key, lane in lanes.items() if lane.handheld.state == "ONLINE"}

    def recover_tickets(self) -> None:
        """Recover the tickets database; judge what is lost, and accept it."""
        since = self._backups[TICKETS].time.isoformat()
        status, lines = self.command(TICKETS, "recover", "--json", "--since", since)
        if self._random.random() < 0.5:
            # The service may run beside the recovery; it refuses changes while a person judges what is lost.
            self.site.start(TICKETS)
        if status:
            if self.site.is_running(TICKETS):
                self._check_refused()
            status, lines = self.command(TICKETS, "recover", "--json", "--accept")
        if status or not lines[-1]["clean"]:
            self.result.violations.append(f"recover of the tickets ended with {status}: {lines}")
        self._printed = lines[:-1]
        self.result.found.update(line["kind"] for line in self._printed)

    def _check_refused(self) -> None:
        """Try to buy while a person judges what is lost."""
        shop, event_id = self.site.caller("service", "shop"), self.history.callers.events("PUBLISHED")[0]
        try:
            shop.ask(shop.purchases.PurchaseTickets, purchase_request(event_id, quantity=1, user_id="alice"))
        except grpc.RpcError as error:
            reason = reason_of(cast(Any, error))
        else:
            reason = "nothing"
        if reason != "RECOVERING":
            self.result.violations.append(f"a sale before the end of the recovery is refused with {reason}")

    def recover_scans(self, *words: str) -> list[dict[str, Any]]:
        """Begin or continue the recovery of the scans database."""
        since = self._backups[SCANS].time.isoformat()
        _, lines = self.command(SCANS, "recover", "--json", "--since", since, *words)
        return lines

    def command(self, name: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
        """Run a command; return its exit status and its lines of JSON."""
        if not self.runs_here:
            return self.site.command(name, *words)
        status, output = self.site.command_here(name, *words)
        return status, [json.loads(line) for line in output.splitlines() if line.startswith("{")]

    def explain(self, violation: str) -> Iterator[str]:
        """Yield the lines of the log about the ids that a violation names."""
        ids = {word.strip(",:") for word in violation.split() if len(word) > MIN_ID_LENGTH}
        for entry in self.history.log.entries:
            facts = {name: value for name, value in entry.facts.items() if name not in {"token", "tickets", "code"}}
            if any(one in str(entry.facts) for one in ids):
                yield f"{entry.number} {entry.time:%H:%M:%S.%f} {entry.kind} {facts}"
        yield f"backups at {[(name, one.number) for name, one in self._backups.items()]}, end at {self._end}"

    def _close_lanes(self) -> None:
        for lane in self.history.doors.lanes:
            lane.close()

    def _settle(self) -> None:
        try:
            self.site.settle()
        except AssertionError as error:
            self.result.violations.append(f"the services do not agree: {error}")

    def _may_be_lost(self, lane: Lane) -> bool:
        """Return whether both databases were restored to a moment before the device was enrolled there."""
        if set(self._backups) != {TICKETS, SCANS}:
            return False
        [number] = [
            one.number for one in self.history.log.of(Kind.DEVICE_ENROLLED) if one.facts["device_id"] == lane.device_id
        ]
        reported = self.history.log.last_settled(self._backups[TICKETS].number)
        return number >= max(self._backups[SCANS].number, reported)

    def _reconnect(self) -> None:
        """Connect the gates again, and wait until they have sent what they have."""
        for lane in self.history.doors.lanes:
            if not lane.is_online:
                lane.plug_in()
        for lane in self.history.doors.working():
            with contextlib.suppress(AssertionError):
                lane.await_delivery()
            if lane.handheld.state == "REFUSED" and self._may_be_lost(lane):
                self.history.log.add(Kind.DEVICE_LOST, device_id=lane.device_id)
            elif lane.handheld.state != "ONLINE":
                self.result.violations.append(f"{lane.name} does not connect: {lane.handheld.connection.status}")
            self.history.doors.delivered(lane)
        if SCANS in self.result.restored:
            lines = self.recover_scans("--wait", "30")
            self._note_scans(lines)
        self._settle()

    def _note_scans(self, lines: list[dict[str, Any]]) -> None:
        """Compare what the recovery of the scans database printed with the log."""
        summary, world = lines[0], self.history.world
        self.result.resent = summary["resent"]
        self.result.given_back = summary["recovered"] + summary["restored_devices"] + summary["revoked_devices"]
        if not summary["complete"]:
            self.result.violations.append(f"the recovery of the scans is not complete: {lines}")
        # Every gate that still works has sent its scans: only those of revoked devices are represented by others.
        shown = {entry.facts["ticket_id"] for entry in self._shown() if entry.facts["device_id"] in world.revoked}
        for line in lines[1:]:
            if line["kind"] == "recovered_check_in" and line["ticket_id"] not in shown:
                self.result.violations.append(f"taken back although its gate has sent it: {line}")

    def _shown(self) -> Iterator[Any]:
        return (entry for entry in self.history.log.of(Kind.SHOWN) if entry.facts["admitted"])

    @property
    def known(self) -> int:
        """Return the number of lines that at least one database has."""
        if set(self._backups) == {TICKETS, SCANS}:
            return max(backup.number for backup in self._backups.values())
        return self._end

    def _probe(self) -> None:
        """Try what has to fail: void prints, used tickets, retired keys, revoked devices, repeated cancellations."""
        known = self.history.log.world(self.known)
        lanes = {lane.event_id: lane for lane in self.history.doors.working()}
        for ticket in known.tickets.values():
            if (lane := lanes.get(ticket.event_id)) is not None and lane.handheld.state == "ONLINE":
                self._probe_ticket(lane, ticket)
        for lane in self.history.doors.lanes:
            if lane.device_id in self.history.world.revoked:
                self._probe_device(lane)
        shop = self.history.callers.shop
        for ticket in self.history.world.tickets.values():
            if ticket.cancellation_id and ticket.ticket_id in known.tickets:
                with contextlib.suppress(grpc.RpcError):
                    shop.ask(shop.tickets.CancelTicket, tickets_pb.CancelTicketRequest(ticket_id=ticket.ticket_id))
        for _ in range(4):
            with contextlib.suppress(grpc.RpcError):
                self.history.sales.buy()
        self._settle()

    def _probe_ticket(self, lane: Lane, ticket: TicketState) -> None:
        world, retired = self.history.world, self.history.world.retired_keys
        was_shown = any(
            one.facts["ticket_id"] == ticket.ticket_id for one in self.history.log.known_admissions(self.known)
        )
        refunded = orders_in_full(self.site.stripe)
        for token in ticket.tokens:
            reasons = {
                "its print is void": token != ticket.tokens[-1],
                "its key is retired": key_of(token) in retired,
                "it is cancelled": bool(ticket.cancellation_id),
                "it is refunded": world.tickets[ticket.ticket_id].cancellation_id in refunded,
                "it is blocked": ticket.is_blocked and world.tickets[ticket.ticket_id].is_blocked,
                "it was admitted": was_shown,
            }
            if any(reasons.values()) and self.history.doors.show(lane, ticket, token):
                why = ", ".join(reason for reason, is_true in reasons.items() if is_true)
                self.result.violations.append(f"ticket {ticket.ticket_id} is admitted, although {why}")

    def _probe_device(self, lane: Lane) -> None:
        eventually(lambda: lane.handheld.state != "CONNECTING")
        if lane.handheld.state == "ONLINE":
            self.result.violations.append(f"{lane.name} was revoked, and connects")

    def _violations(self) -> Iterator[str]:
        checks = Checks(self.history, self.known)
        yield from checks.all()
        yield from checks.recorded()
        if TICKETS in self._backups:
            yield from checks.printed([(line["kind"], line["subject"]) for line in self._printed], self._expected)
        admitted = sum(1 for _ in self._shown())
        if self.result.answers < MIN_ANSWERS or admitted < MIN_ADMITTED:
            yield f"the history is too small: {self.result.answers} answers, {admitted} admissions"


def _is_offline(lane: Lane) -> bool:
    return not lane.handheld.connection.is_reachable()
