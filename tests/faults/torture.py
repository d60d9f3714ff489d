"""One run: a load of clients on a site, the nemesis, the time in which the dust settles, and the checks."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.environment.waiting import eventually
from tests.faults.buyers import Buyer
from tests.faults.callers import PATIENCE_SECONDS, Caller, Clock
from tests.faults.database import ALONE
from tests.faults.evidence import Evidence
from tests.faults.feed import Follower
from tests.faults.gate_checks import GATE_CHECKS, devices, feed, linearizable
from tests.faults.gates import StreamGate, Uploader, plain_connections
from tests.faults.guards import GUARDS
from tests.faults.lanes import Lane
from tests.faults.nemesis import Nemesis
from tests.faults.readiness import FULL_DISK, ReadinessWatch
from tests.faults.record import Record
from tests.faults.result import Result
from tests.faults.sales_checks import SALES_CHECKS
from tests.faults.settling import finish_at_the_provider, unfinished
from tests.faults.shops import Cashier, Holder, Organizer, random_of
from tests.faults.site import SCANS, START_SECONDS, TICKETS, new_site
from tests.faults.stored import Stored
from tests.faults.world import PRICE, World
from ticketing.scans.v1 import device_service_pb2 as devices_pb

BUYERS, HOLDERS, GATES, LANES = 4, 3, 4, 2
SETTLE_SECONDS: Final = 120.0
CONTROL_SETTLE_SECONDS: Final = 20.0
# The clients run in one process with the checks: a pause lets every thread come in turn.
PAUSE_SECONDS: Final = 0.02
# A run with less work a second proves nothing: on a busy machine the load lasts longer, at most MAX_TIMES as long. A quiet
# machine does ten times this.
MIN_WORK: Final = {"buy": 0.5, "scan": 1.0, "cancel": 0.1, "lane scan": 0.1}
# A control meets its race in so much work.
CONTROL_WORK: Final = {"buy": 80.0, "scan": 250.0}
MAX_TIMES: Final = 6
MIN_FAULTS_A_SECOND: Final = 0.3
LOGGED_FULL_DISK: Final = "the disk of the database is full"
MIN_LOGGED: Final = 2


class Torture:
    """A run of some seconds, with faults from a seed.

    `without` is a guard that one of the services lacks; its run has the faults of the guard, or none. `calm` runs the load
    alone, and `only` chooses the kinds of faults. `servers` is the kind of the database servers.
    """

    def __init__(  # noqa: PLR0913 - the run, and keywords
        self,
        folder: Path,
        seed: int,
        seconds: float,
        *,
        without: str = "",
        calm: bool = False,
        only: Sequence[str] = (),
        servers: str = ALONE,
    ) -> None:
        self._folder, self._seconds = folder, seconds
        self._is_control = bool(without)
        every = {kind: rate * seconds for kind, rate in MIN_WORK.items()}
        self._least = {**CONTROL_WORK, **GUARDS[without].work} if without else every
        self._guards = dict.fromkeys(GUARDS[without].services, without) if without else {}
        self._servers = GUARDS[without].servers if without else servers
        self._only = only or (GUARDS[without].faults if without else ())
        self._faults = not calm and not (without and not self._only)
        self.result = Result(seed)
        self._stack = ExitStack()
        self._callers: list[Caller] = []

    def run(self) -> Result:
        """Run the load and the nemesis; return what the checks found."""
        with new_site(self._folder, self._servers, self._guards) as site, self._stack:
            self._site = site
            try:
                self._prepare()
                self._work()
                self._settle()
                self._check()
            finally:
                for slot in site.slots.values():
                    (self._folder / f"{slot.name}.log").write_text(slot.log)
        return self.result

    def _prepare(self) -> None:
        self._record = Record(self._folder / "record.jsonl")
        self._stack.callback(self._record.close)
        self._clock, self._world = Clock(), World()
        self._shop = self._caller("shop", "service", "shop")
        self._office = self._caller("office", "organizer", "olga", TICKETS, SCANS)
        self._organizer = Organizer(self._office, self._world)
        self._cashier = Cashier(self._caller("cashier", "service", "shop"))
        # Few places, so that buyers compete for them; many; none to pay; and an event that is cancelled.
        self._organizer.publish(PRICE, 40)
        self._organizer.publish(PRICE, 2_000)
        self._organizer.publish(0, 500)
        self._organizer.publish(PRICE, 300, is_doomed=True)
        published = "SELECT count(*) FROM events WHERE status = 'PUBLISHED'"
        try:
            eventually(lambda: self._site.rows(SCANS, published), [(len(self._world.events),)], seconds=START_SECONDS)
        except AssertionError:
            # On a slow machine, a service without the guard `feed-snapshot` loses a change before the load begins.
            self.result.violations.append("the feed left out an event that was published before the load")
            raise
        self._followers = [
            Follower(self._site.addresses(TICKETS), random_of(self.result.seed, f"follower {number}"))
            for number in range(2)
        ]
        for follower in self._followers:
            self._stack.callback(follower.close)
        self._lanes = [self._new_lane(number) for number in range(LANES)]
        # Without durable commits, a stop would lose the events themselves.
        self._site.database.save()

    def _new_lane(self, number: int) -> Lane:
        name = f"lane {number}"
        created = self._office.call("CreateDevice", devices_pb.CreateDeviceRequest(name=name))
        lane = Lane(
            name,
            self._site.addresses(SCANS)[number % 2],
            created.enrollment_code,
            self._world.events[1].event_id,
            self._folder,
            self._record,
            self._clock,
            random_of(self.result.seed, name),
            self._world,
        )
        self._stack.callback(lane.close)
        return lane

    def _work(self) -> None:
        """Run the clients and the nemesis for the given time, end the faults, and let the clients finish."""
        faults = list[str]()
        nemesis = Nemesis(self._site, self._world, self._lanes, self._record, self.result.seed, faults, self._only)
        threads = [
            threading.Thread(target=self._repeat, args=(name, work), name=name, daemon=True)
            for name, work in self._clients()
        ]
        for thread in threads:
            thread.start()
        watch = ReadinessWatch(list(self._site.slots.values()))
        if self._faults:
            nemesis.start()
        time.sleep(self._seconds / 2)  # The load is the test.
        threads.append(threading.Thread(target=self._organizer.cancel_event, name="cancellation of an event"))
        threads[-1].start()
        time.sleep(self._seconds / 2)  # As above.
        until = time.monotonic() + (MAX_TIMES - 1) * self._seconds
        while self._missing_work() and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)  # As above.
        if self._faults:
            nemesis.stop()
        self._site.heal()
        self._clock.stop(CONTROL_SETTLE_SECONDS if self._is_control else PATIENCE_SECONDS)
        for thread in threads:
            thread.join()
        self.result.injected = nemesis.injected
        watch.close()
        self.result.causes = watch.seen
        self.result.effects.update(self._site.database.effects())
        self.result.left_out = self._site.database.left_out
        self.result.starts = sum(slot.starts for slot in self._site.slots.values())
        self.result.violations += faults

    def _clients(self) -> Iterator[tuple[str, Callable[[], None]]]:
        stripe = self._site.stripe
        for number in range(BUYERS):
            name = f"buyer {number}"
            yield name, Buyer(self._caller(name, "service", "shop"), self._world, stripe).work
        for number in range(HOLDERS):
            name = f"holder {number}"
            yield name, Holder(self._caller(name, "service", "shop"), self._world).work
        for number in range(GATES):
            # The first one uploads.
            name = f"gate {number}"
            gate = StreamGate(
                name,
                plain_connections(self._site.addresses(SCANS)),
                self._site.issuer.metadata("scanner", f"door-{number}"),
                self._record,
                self._clock,
                random_of(self.result.seed, name),
                self._world,
                self.result.errors,
            )
            self._stack.callback(gate.close)
            yield name, gate.work if number else Uploader(gate, self._world).work
        for lane in self._lanes:
            yield lane.name, lane.work
        yield "organizer", self._organizer.work
        yield "cashier", self._cashier.work

    def _repeat(self, name: str, work: Callable[[], None]) -> None:
        try:
            while self._clock.is_running():
                work()
                time.sleep(PAUSE_SECONDS)  # See PAUSE_SECONDS.
        except Exception as error:  # noqa: BLE001 - the run reports it
            self.result.violations.append(f"{name} failed: {error!r}")

    def _settle(self) -> None:
        """Wait until no work is unfinished; the cashier and the organizer do theirs meanwhile."""
        begin = time.monotonic()
        left: dict[str, Any] = {}
        # Without a guard, some work may never end.
        while time.monotonic() < begin + (CONTROL_SETTLE_SECONDS if self._is_control else SETTLE_SECONDS):
            finish_at_the_provider(self._site.stripe)
            self._cashier.work()
            self._organizer.retry_refunds()
            left = self._unfinished()
            if not left:
                self.result.settle_seconds = time.monotonic() - begin
                return
            time.sleep(0.3)  # The sweepers work meanwhile.
        self.result.violations += [f"not settled: {name}: {rows[:3]}" for name, rows in left.items()]

    def _unfinished(self) -> dict[str, Any]:
        found = unfinished(self._site)
        wanted = self._site.rows(TICKETS, "SELECT event_id, revision FROM events WHERE revision > 0")
        found["followers"] = [
            one for one in wanted if any(follower.revisions.get(str(one[0])) != one[1] for follower in self._followers)
        ]
        found["devices"] = [
            (lane.name, lane.handheld.state, lane.handheld.store.queue_length())
            for lane in self._lanes
            if not lane.is_delivered()
        ]
        return {name: rows for name, rows in found.items() if rows}

    def _check(self) -> None:
        operations = self._record.operations()
        for operation in operations:
            counts = self.result.unanswered if operation.answered is None else self.result.answered
            counts[operation.kind] += 1
        # The patience of the clients may be over. A read on a busy machine needs its own.
        self._clock.stop(PATIENCE_SECONDS)
        stored = Stored.read(self._shop, self._office, self._world)
        evidence = Evidence(self._site, self._world, operations, stored)
        for check in (*SALES_CHECKS, *GATE_CHECKS):
            self.result.violations += check(evidence)
        self.result.violations += feed(evidence, self._followers)
        self.result.violations += eventually_no(lambda: list(devices(evidence, self._lanes)))
        if output := self._site.audit():
            self.result.violations.append(f"the audit is not clean: {output}")
        self.result.linearized, self.result.sold = len(linearizable(evidence)), len(stored.tickets)
        self._check_work()

    def _missing_work(self) -> dict[str, str]:
        """Return the kinds of operations of which the run has too few answers."""
        done = self._record.answers
        return {kind: f"{done[kind]} of {count:.0f}" for kind, count in self._least.items() if done[kind] < int(count)}

    def _check_work(self) -> None:
        if missing := self._missing_work():
            self.result.violations.append(f"the run did too little: {missing}")
        injected = self.result.injected.total()
        if self._faults and not self._only and injected < MIN_FAULTS_A_SECOND * self._seconds:
            self.result.violations.append(f"the run had {injected} faults only")
        # A process that ends at once is not asked in time.
        logged = sum(slot.log.count(LOGGED_FULL_DISK) for slot in self._site.slots.values())
        if logged > MIN_LOGGED and not self.result.causes[FULL_DISK]:
            self.result.violations.append("no process reported the full disk on /readyz")
        for error, count in self.result.errors.items():
            if ": INTERNAL" in error or ": UNKNOWN" in error:
                self.result.violations.append(f"{count} times {error}")

    def _caller(self, name: str, role: str, subject: str, *services: str) -> Caller:
        caller = Caller(
            {one: self._site.addresses(one) for one in services or (TICKETS,)},
            self._site.issuer.metadata(role, subject),
            self._record,
            self._clock,
            random_of(self.result.seed, name),
            self.result.errors,
        )
        self._stack.callback(caller.close)
        return caller


def eventually_no(find: Callable[[], list[str]], seconds: float = 15.0) -> list[str]:
    """Return what a check still finds after some seconds; a device gets changes a moment later than the service."""
    until = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < until:
        time.sleep(0.2)  # The device's replica follows meanwhile.
    return found
