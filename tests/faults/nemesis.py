"""The nemesis: a seeded sequence of faults. The seed repeats the faults, their targets and times, not the threads."""

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import psycopg2

from tests.environment.databases import connected
from tests.faults.lanes import Lane
from tests.faults.network import Link
from tests.faults.record import Record
from tests.faults.site import SCANS, TICKETS, Site
from tests.faults.slots import Slot
from tests.faults.world import World

T = TypeVar("T")

MIN_GAP_SECONDS, MAX_GAP_SECONDS = 0.2, 2.0
# The clock of a service jumps between these bounds. Work that is due by a fast clock waits so long once the clock is right
# again, and the run with it. A slow clock may be an hour behind, because access tokens last so long.
MIN_JUMP_SECONDS, MAX_JUMP_SECONDS = -1_800.0, 15.0
CONTROL_GAPS: Final = 3
# A lock that lasts shows who waits for it.
LONG_LOCK_SECONDS: Final = 4.0
MAX_DEVICE_JUMP_SECONDS: Final = 7 * 86_400
# The operations of the payment provider that fail.
OPERATIONS: Final = ("create", "confirm", "cancel", "retrieve", "refund")


@dataclass(frozen=True)
class Injection:
    """A fault, its target by the number in the list of its targets, and its duration."""

    gap_seconds: float
    fault: str
    target: float
    seconds: float


class Nemesis:
    """The faults on a site; `injected` counts them by kind."""

    def __init__(  # noqa: PLR0913, PLR0917 - its surroundings
        self,
        site: Site,
        world: World,
        lanes: Sequence[Lane],
        record: Record,
        seed: int,
        errors: list[str],
        only: Sequence[str] = (),
    ) -> None:
        self._site, self._world, self._lanes, self._record = site, world, lanes, record
        self._seed = seed
        self._only = only
        self._errors = errors
        self._ends = threading.Event()
        # Faults of the database one after the other; others meet them and each other.
        self._database = threading.Lock()
        self.injected = Counter[str]()
        self._weights: dict[str, float] = {
            "kill": 5,
            "restart": 2,
            "restart all": 0.6,
            "pause": 3,
            "cut databases": 1,
            "cut": 6,
            "end connections": 3,
            "delay": 3,
            "black hole": 4,
            "lose answers": 5,
            "provider fails": 3,
            "provider loses answers": 4,
            "provider breaks": 1,
            "refund fails later": 3,
            "refunds wait": 2,
            "clock jumps": 3,
            "device clock jumps": 1,
            "kill drawing workers": 1,
            "lock rows": 3,
            **site.database.faults,
        }
        if only:
            self._weights = dict.fromkeys(only, 1.0)
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"nemesis {number}", daemon=True)
            # Of one kind alone, one fault follows the other.
            for number in range(1 if len(only) == 1 else 2)
        ]

    def plan(self, number: int, count: int) -> list[Injection]:
        """Return the first faults of one of the threads, which depend on the seed alone."""
        choice = random.Random(f"{self._seed} nemesis {number}")
        faults, weights = list(self._weights), list(self._weights.values())
        return [
            Injection(
                choice.uniform(MIN_GAP_SECONDS, MAX_GAP_SECONDS),
                choice.choices(faults, weights)[0],
                choice.random(),
                choice.choice([0.2, 0.5, 1.0, 2.0, 4.0]),
            )
            for _ in range(count)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the faults under way."""
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        for injection in self.plan(number, 10_000):
            # Between two stops of the database alone, the clients have time to work.
            gaps = CONTROL_GAPS if tuple(self._only) == ("stop database",) else 1
            if self._ends.wait(injection.gap_seconds * gaps):
                return
            self.injected[injection.fault] += 1
            try:
                self._inflict(injection)
            except Exception as error:  # noqa: BLE001 - a fault that could not be made spoils no run, but is reported
                self._errors.append(f"{injection.fault}: {error!r}")

    def _inflict(self, injection: Injection) -> None:
        if injection.fault in self._site.database.faults:
            with self._database:
                self._site.database.inflict(injection.fault, injection.target, injection.seconds)
            return
        method: Callable[[Injection], None] = getattr(self, "_" + injection.fault.replace(" ", "_"))
        method(injection)

    def _kill(self, injection: Injection) -> None:
        self._slot(injection).send(signal.SIGKILL, injection.seconds)

    def _restart(self, injection: Injection) -> None:
        self._slot(injection).send(signal.SIGTERM, injection.seconds / 4)

    def _restart_all(self, injection: Injection) -> None:
        slots = list(self._site.slots.values())
        random.Random(injection.target).shuffle(slots)
        for slot in slots:
            slot.send(signal.SIGTERM, injection.seconds / 2)
            self._ends.wait(0.2)

    def _pause(self, injection: Injection) -> None:
        slot = self._slot(injection)
        if slot.send(signal.SIGSTOP):
            self._wait(injection)
            slot.send(signal.SIGCONT)

    def _cut_databases(self, injection: Injection) -> None:
        links = [link for name, link in self._site.links.items() if " to database " in name]
        for link in links:
            link.refuse()
        self._wait(injection)
        for link in links:
            link.heal()

    def _cut(self, injection: Injection) -> None:
        link = self._link(injection)
        link.refuse()
        self._wait(injection)
        link.heal()

    def _end_connections(self, injection: Injection) -> None:
        self._link(injection).cut_connections()

    def _delay(self, injection: Injection) -> None:
        link = self._link(injection)
        link.delay_seconds = injection.seconds / 20
        self._ends.wait(2.0)
        link.heal()

    def _black_hole(self, injection: Injection) -> None:
        link = self._link(injection)
        link.swallow()
        self._wait(injection)
        link.heal()

    def _lose_answers(self, injection: Injection) -> None:
        link = self._link(injection)
        link.loses_answers = True
        self._wait(injection)
        link.heal()

    def _provider_fails(self, injection: Injection) -> None:
        operation = self._operation(injection)
        self._site.stripe.fails[operation] = 429 if injection.seconds < 1 else 500
        self._wait(injection)
        self._site.stripe.fails.pop(operation, None)

    def _provider_loses_answers(self, injection: Injection) -> None:
        self._site.stripe.loses[self._operation(injection)] += 2

    def _provider_breaks(self, injection: Injection) -> None:
        operation = self._operation(injection)
        self._site.stripe.breaks[operation] = 500
        self._ends.wait(0.5)
        self._site.stripe.breaks.pop(operation, None)

    def _refund_fails_later(self, injection: Injection) -> None:
        made = [one for one in list(self._site.stripe.refunds) if one["status"] in {"succeeded", "pending"}]
        if made:
            self._site.stripe.settle_refund(self._pick(injection, made)["id"], "failed")

    def _refunds_wait(self, injection: Injection) -> None:
        self._site.stripe.refund_status = "pending"
        self._wait(injection)
        self._site.stripe.refund_status = "succeeded"

    def _clock_jumps(self, injection: Injection) -> None:
        slot = self._slot(injection)
        slot.set_clock(MIN_JUMP_SECONDS if injection.target * 7919 % 1 < 0.5 else MAX_JUMP_SECONDS)
        self._wait(injection)
        slot.set_clock(0)

    def _device_clock_jumps(self, injection: Injection) -> None:
        if self._lanes:
            ahead = MAX_DEVICE_JUMP_SECONDS * (2 * (injection.target * 7919 % 1) - 1)
            self._pick(injection, self._lanes).wall_clock.ahead = timedelta(seconds=ahead)

    def _kill_drawing_workers(self, injection: Injection) -> None:
        for slot in self._site.slots.values():
            if slot.name.startswith(TICKETS):
                slot.kill_children()

    def _lock_rows(self, injection: Injection) -> None:
        """Lock the row of an event, or all of its tickets, as a person with psql does."""
        event = self._pick(injection, self._world.events)
        alone = tuple(self._only) == ("lock rows",)
        service = TICKETS if alone or injection.target * 7919 % 1 < 0.5 else SCANS
        table = "events" if alone or injection.target * 104_729 % 1 < 0.5 else "tickets"
        with suppress(psycopg2.Error), connected(self._site.urls[service]) as cursor:
            cursor.execute(f"SELECT FROM {table} WHERE event_id = '{event.event_id}' FOR UPDATE")
            number = self._record.begin("lock", event_id=event.event_id, service=service, table=table, alone=alone)
            self._ends.wait(LONG_LOCK_SECONDS if alone else injection.seconds)
            self._record.end(number)

    def _wait(self, injection: Injection) -> None:
        self._ends.wait(injection.seconds)

    def _slot(self, injection: Injection) -> Slot:
        return self._pick(injection, list(self._site.slots.values()))

    def _link(self, injection: Injection) -> Link:
        return self._pick(injection, list(self._site.links.values()))

    @staticmethod
    def _pick(injection: Injection, among: Sequence[T]) -> T:
        return among[int(injection.target * len(among))]

    def _operation(self, injection: Injection) -> str:
        return self._pick(injection, OPERATIONS)
