"""Shops and gates behind proxies that follow the retry advice and nothing else, and the record of their answers."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, cast

import grpc

from tests.faults.buyers import Buyer
from tests.faults.callers import ASK_AGAIN, CHANNEL_OPTIONS, STUBS, Caller, Clock, GaveUpError, RefusedError
from tests.faults.evidence import Evidence
from tests.faults.gate_checks import admissions, attendance, conflicts, shown_scans
from tests.faults.gates import StreamGate
from tests.faults.record import Record
from tests.faults.sales_checks import acknowledged_purchases, cancellations, capacity, renewals
from tests.faults.shops import Holder, Organizer
from tests.faults.site import SCANS, TICKETS, Site
from tests.faults.stored import Stored
from tests.faults.world import World
from tests.proxies.farm import PROXY_HOST, Farm
from tests.proxies.programs import Program
from tests.stand_ins.stripe import StripeStandIn
from ticketing.chassis.tls import Tls
from ticketing.client import DeadlineExceededError, TicketingError, connect
from ticketing.tickets.v1 import ticket_pb2

PLACES: Final = 20_000
# The pause of a client between two calls, so that every thread comes in turn.
PAUSE_SECONDS: Final = 0.02
PATIENCE_SECONDS: Final = 60.0
# After these the client has no answer, or the service has a fault.
FAILURES: Final = ASK_AGAIN | {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
# These need neither a payment provider nor the rows of a database.
SALES_CHECKS: Final = (acknowledged_purchases, capacity, renewals, cancellations)
GATE_CHECKS: Final = (admissions, shown_scans, conflicts, attendance)


class ClientCaller(Caller):
    """A caller with the project's client, whose retries are its only ones."""

    def __init__(  # noqa: PLR0913, PLR0917 - its surroundings
        self, farm: Farm, role: str, subject: str, record: Record, clock: Clock, errors: Counter[str]
    ) -> None:
        super().__init__({}, (), record, clock, random.Random(subject), errors)
        credentials = Tls(server_ca=farm.certificates.ca).channel_credentials()
        token = farm.issuer.token(role, subject)
        for service, port in ((TICKETS, farm.proxy.tickets), (SCANS, farm.proxy.scans)):
            channel = connect(f"{PROXY_HOST}:{port}", token, credentials=credentials)
            self._channels.append(channel)
            for stub in STUBS[service]:
                self._methods |= {name: [method] for name, method in vars(stub(channel)).items()}

    def call(self, rpc: str, request: Any, give_up: float = 0.0) -> Any:
        """Make a call, and repeat it after its deadline, as a busy machine exceeds it; count every other lost answer.

        Raises:
            RefusedError: the service refused the call.
            GaveUpError: the call failed after the retries of the client, which a program would notice.
        """
        [method] = self._methods[rpc]
        while True:
            try:
                return method(request)
            except DeadlineExceededError as error:
                if time.monotonic() > self.clock.patience_until:
                    raise GaveUpError(rpc) from error
            except TicketingError as error:
                if error.code() not in FAILURES:
                    raise RefusedError(error.reason_name or error.code().name) from error
                self._errors[f"{rpc}: {error.code().name} {error}"] += 1
                raise GaveUpError(rpc) from error


class Customers(AbstractContextManager["Customers"]):
    """A shop with a buyer and a holder, and two gates, behind each proxy; they work until the end of the context."""

    def __init__(self, fronts: Mapping[Program, Farm], folder: Path) -> None:
        self.record = Record(folder / "record.jsonl")
        self.world = World()
        # The failures that programs noticed, and the ends of streams.
        self.errors = Counter[str]()
        self.ends = Counter[str]()
        self._clock = Clock()
        self._fronts = fronts
        self._stack = ExitStack()
        self._threads = list[threading.Thread]()
        self._office = self._caller(next(iter(fronts.values())), "organizer", "olga")
        Organizer(self._office, self.world).publish(0, PLACES)

    def __enter__(self) -> Self:
        for program, farm in self._fronts.items():
            for name, work in self._clients(program.name, farm):
                self._threads.append(threading.Thread(target=self._repeat, args=(name, work), name=name))
                self._threads[-1].start()
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()
        self._stack.close()
        self.record.close()

    def finish(self) -> None:
        """Let every client finish its call; each scan is repeated until it is answered."""
        self._clock.stop(PATIENCE_SECONDS)
        for thread in self._threads:
            thread.join()

    def figures(self) -> dict[str, float]:
        """Return the number of answered operations of each kind, and the longest time of an answer in seconds."""
        longest = max(one.answered - one.sent for one in self.record.operations() if one.answered is not None)
        return {**self.record.answers, "longest": round(longest, 1)}

    def violations(self) -> Iterator[str]:
        """Yield what a client noticed, and every promise that the stored state breaks."""
        yield from self.errors
        farm = next(iter(self._fronts.values()))
        stored = Stored.read(self._caller(farm, "service", "shop"), self._office, self.world)
        evidence = Evidence(cast(Site, None), self.world, self.record.operations(), stored)
        for check in (*SALES_CHECKS, *GATE_CHECKS):
            yield from check(evidence)
        for user_id, count in Counter(one.user_id for one in stored.purchases.values()).items():
            if count > 1:
                yield f"one request of {user_id} made {count} purchases"
        for made in stored.cancellations.values():
            if made.status == ticket_pb2.CANCELLATION_STATUS_PENDING:
                yield f"the cancellation {made.cancellation_id} is still PENDING"

    def _clients(self, name: str, farm: Farm) -> Iterator[tuple[str, Callable[[], None]]]:
        # Free tickets need no provider.
        no_provider = cast(StripeStandIn, None)
        yield f"buyer {name}", Buyer(self._caller(farm, "service", f"shop-{name}"), self.world, no_provider).work
        yield f"holder {name}", Holder(self._caller(farm, "service", f"office-{name}"), self.world).work
        tls = Tls(server_ca=farm.certificates.ca)
        for number in range(2):
            gate_name = f"gate {name} {number}"
            gate = StreamGate(
                gate_name,
                [partial(tls.channel, f"{PROXY_HOST}:{farm.proxy.scans}", CHANNEL_OPTIONS)],
                farm.issuer.metadata("scanner", f"door-{name}-{number}"),
                self.record,
                self._clock,
                random.Random(gate_name),
                self.world,
                self.ends,
            )
            self._stack.callback(gate.close)
            yield gate_name, gate.work

    def _repeat(self, name: str, work: Callable[[], None]) -> None:
        try:
            while self._clock.is_running():
                work()
                self._clock.stopped.wait(PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - the test reports it
            self.errors[f"{name} failed: {error!r}"] += 1

    def _caller(self, farm: Farm, role: str, subject: str) -> ClientCaller:
        caller = ClientCaller(farm, role, subject, self.record, self._clock, self.errors)
        self._stack.callback(caller.close)
        return caller
