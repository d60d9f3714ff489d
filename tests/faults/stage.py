"""The site of a replay: one process of each service, few clients, and no load.

A scenario acts step by step, and the checks of the torture compare what it was answered with what is stored.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.environment.backups import back_up, restore_whole
from tests.environment.databases import connected
from tests.environment.waiting import eventually
from tests.faults.buyers import Buyer
from tests.faults.callers import Caller, Clock
from tests.faults.evidence import Evidence
from tests.faults.gate_checks import GATE_CHECKS, feed
from tests.faults.gates import StreamGate, plain_connections
from tests.faults.lanes import Lane
from tests.faults.record import Record
from tests.faults.sales_checks import SALES_CHECKS
from tests.faults.settling import finish_at_the_provider, unfinished
from tests.faults.shops import Cashier, Holder, Organizer, random_of
from tests.faults.site import SCANS, START_SECONDS, TICKETS, Site
from tests.faults.stored import Stored
from tests.faults.world import PRICE, SoldEvent, SoldTicket, World
from tests.stand_ins.stripe import CARD
from ticketing.scans.v1 import device_service_pb2 as devices_pb

Check = Callable[[Evidence], Iterator[str]]

# A state that is wrong so long after a scenario stays wrong. The present code gets more time to finish its work.
OLD_SECONDS: Final = 20.0
PRESENT_SECONDS: Final = 90.0
# The pause between two looks.
LOOK_SECONDS: Final = 0.3
WAITING: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class Stage:
    """A site with its clients; `violations` are those that the scenario itself has found."""

    def __init__(self, site: Site, folder: Path, stack: ExitStack, seed: int) -> None:
        self.site, self._folder, self._stack, self._seed = site, folder, stack, seed
        self.record, self.clock, self.world = Record(folder / "record.jsonl"), Clock(), World()
        stack.callback(self.record.close)
        self.random = random_of(seed, "scenario")
        self._errors = Counter[str]()
        self.shop = self._caller("service", "shop", TICKETS)
        self.office = self._caller("organizer", "olga", TICKETS, SCANS)
        self.buyer = Buyer(self.shop, self.world, site.stripe)
        self.holder = Holder(self.shop, self.world)
        self.organizer = Organizer(self.office, self.world)
        self._cashier = Cashier(self.shop)
        self.violations: list[str] = []
        self.seconds = PRESENT_SECONDS if site.runs_present_code else OLD_SECONDS

    def event(self, price: int = PRICE, *, is_doomed: bool = False) -> SoldEvent:
        """Publish an event, and wait until the gates have it."""
        event = self.organizer.publish(price, 1_000, is_doomed=is_doomed)
        self.await_at_gates(event)
        return event

    def await_at_gates(self, event: SoldEvent, status: str = "PUBLISHED") -> None:
        """Wait until the scan service has an event in a state."""
        query = f"SELECT count(*) FROM events WHERE event_id = '{event.event_id}' AND status = '{status}'"
        eventually(lambda: self.site.rows(SCANS, query), [(1,)], seconds=START_SECONDS)

    def sell(self, event: SoldEvent, quantity: int) -> list[SoldTicket]:
        """Sell tickets for nothing or by card."""
        how = {"payment_method_id": CARD} if event.price else {}
        user_id = self.world.new_user()
        self.buyer.buy(event, "card" if event.price else "free", quantity, user_id=user_id, **how)
        sold = self.tickets_of(user_id)
        # A scenario in which nothing happens proves nothing.
        assert len(sold) == quantity, sold
        return sold

    def tickets_of(self, user_id: str) -> list[SoldTicket]:
        """Return the tickets that a buyer has received."""
        return [one for one in self.world.tickets if one.user_id == user_id]

    def await_replica(self) -> None:
        """Wait until the scan service has every change of the tickets."""
        eventually(lambda: unfinished(self.site).get("the feed"), None, seconds=START_SECONDS)

    def gate(self, number: int = 0) -> StreamGate:
        """Open a gate."""
        name = f"gate {number}"
        gate = StreamGate(
            name,
            plain_connections(self.site.addresses(SCANS)),
            self.site.issuer.metadata("scanner", f"door-{number}"),
            self.record,
            self.clock,
            random_of(self._seed, name),
            self.world,
            self._errors,
        )
        self._stack.callback(gate.close)
        return gate

    def lane(self, event: SoldEvent) -> Lane:
        """Enroll a handheld at an event."""
        created = self.office.call("CreateDevice", devices_pb.CreateDeviceRequest(name="lane"))
        lane = Lane(
            "lane",
            self.site.addresses(SCANS)[0],
            created.enrollment_code,
            event.event_id,
            self._folder,
            self.record,
            self.clock,
            random_of(self._seed, "lane"),
            self.world,
        )
        self._stack.callback(lane.close)
        return lane

    def locked_event(self, service: str, event: SoldEvent) -> AbstractContextManager[None]:
        """Lock the row of an event while a block runs."""
        return self._locked(service, f"events WHERE event_id = '{event.event_id}'", event.event_id)

    def locked_ticket(self, service: str, ticket: SoldTicket) -> AbstractContextManager[None]:
        """Lock the row of a ticket while a block runs."""
        return self._locked(service, f"tickets WHERE ticket_id = '{ticket.ticket_id}'", ticket.event_id)

    @contextmanager
    def _locked(self, service: str, rows: str, event_id: str) -> Iterator[None]:
        """Lock rows, as a person with psql does, while a block runs."""
        with connected(self.site.urls[service]) as cursor:
            cursor.execute(f"SELECT FROM {rows} FOR UPDATE")
            number = self.record.begin("lock", event_id=event_id, service=service, table=rows, alone=True)
            try:
                yield
            finally:
                self.record.end(number)

    def await_waiting(self, service: str, count: int, seconds: float = 3.0) -> None:
        """Wait until some sessions wait for a lock; the present code may have none that does."""
        with suppress(AssertionError):
            eventually(lambda: self.site.rows(service, WAITING)[0][0] >= count, seconds=seconds)

    def back_up(self, *services: str) -> dict[str, dict[str, str]]:
        """Return the rows of the databases of some services."""
        return {name: back_up(self.site.urls[name], is_whole=True) for name in services}

    def restore(self, backup: dict[str, dict[str, str]], act: Callable[[], object] = lambda: None) -> None:
        """Stop the services of some databases, replace the rows, act, and start the services."""
        with self.site.down(*backup):
            for name, rows in backup.items():
                restore_whole(self.site.urls[name], rows)
            act()

    def settle(self) -> None:
        """End every fault, and wait until no work is unfinished; work that never ends is a violation."""
        self.site.heal()
        until = time.monotonic() + self.seconds
        while left := self._unfinished(()):
            if time.monotonic() > until:
                self.violations += [f"not settled: {name}: {rows[:3]}" for name, rows in left.items()]
                return
            self._finish()
            self.clock.stopped.wait(LOOK_SECONDS)  # The sweepers work meanwhile.

    def expect(self, name: str, ignore: Sequence[str] = ()) -> None:
        """Wait until some kind of work is finished; rows whose text contains one of `ignore` do not count."""
        until = time.monotonic() + self.seconds
        while rows := self._unfinished(ignore).get(name):
            if time.monotonic() > until:
                self.violations.append(f"not settled: {name}: {rows[:3]}")
                return
            self.clock.stopped.wait(LOOK_SECONDS)  # The service works meanwhile.

    def _finish(self) -> None:
        """Let the provider, the shop's cashier and the organizer do their part."""
        finish_at_the_provider(self.site.stripe)
        self._cashier.work()
        self.organizer.retry_refunds()

    def _unfinished(self, ignore: Sequence[str]) -> dict[str, list[Any]]:
        kept = {
            name: [row for row in rows if not any(text in str(row) for text in ignore)]
            for name, rows in unfinished(self.site).items()
        }
        return {name: rows for name, rows in kept.items() if rows}

    def check(self, *checks: Check, only: Sequence[SoldEvent] = ()) -> None:
        """Compare record and state, by all checks unless some are named; `only` are the events that count.

        A violation of named checks counts if it is still there after some seconds.
        """
        world = self.world
        if only:
            world = World(events=list(only), tickets=self.world.tickets)
        find = partial(self._found, world, checks or (*SALES_CHECKS, *GATE_CHECKS, partial(feed, followers=())))
        until = time.monotonic() + self.seconds
        while (found := find()) and time.monotonic() < until and checks:
            self._finish()
            self.clock.stopped.wait(LOOK_SECONDS)  # The services work meanwhile.
        self.violations += found
        if not checks:
            operations = self.record.operations()
            if idle := {one.kind for one in operations} - {one.kind for one in operations if one.answered}:
                self.violations.append(f"no answer to: {sorted(idle)}")
            # INTERNAL and UNKNOWN are faults of a service; the others are those of a network that is cut.
            self.violations += [error for error in self._errors if ": INTERNAL" in error or ": UNKNOWN" in error]

    def _found(self, world: World, checks: Sequence[Check]) -> list[str]:
        stored = Stored.read(self.shop, self.office, world)
        evidence = Evidence(self.site, world, self.record.operations(), stored)
        return [violation for check in checks for violation in check(evidence)]

    def _caller(self, role: str, subject: str, *services: str) -> Caller:
        caller = Caller(
            {one: self.site.addresses(one) for one in services},
            self.site.issuer.metadata(role, subject),
            self.record,
            self.clock,
            random.Random(f"{self._seed} {subject}"),
            self._errors,
        )
        self._stack.callback(caller.close)
        return caller
