"""Deliver to one receiver: several deliveries at once, each in a slot of its own."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from prometheus_client import Counter
from sqlalchemy.engine import Connection

from ticket_service.delivery.receiver import Delivery, Receiver, UndeliveredError
from ticket_service.delivery.settings import DeliveryTerms
from ticket_service.delivery.store import deliveries as store
from ticket_service.delivery.store import receiver_states
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)

# A claim outlasts the deadline of its deliveries by this time, so that the relay can store the results.
CLAIM_MARGIN: Final = timedelta(seconds=2)
MAX_RETRY_SECONDS: Final = 300.0
# The number of characters of a failure that are stored and logged.
MAX_FAILURE: Final = 500

DELIVERED = Counter("notifications_delivered", "Notifications that a receiver accepted.", ["receiver"])
FAILED = Counter("notifications_failed", "Tries that a receiver did not accept.", ["receiver"])


@dataclass(slots=True)
class Running:
    """A delivery in progress."""

    delivery: Delivery
    # The monotonic time at which the worker renews the claim.
    renew_time: float


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """The end of one try; without a failure the receiver has accepted the notification."""

    delivery: Delivery
    failure: UndeliveredError | None


class ReceiverWorker:
    """The sweeper that delivers to one receiver.

    Each sweep records the deliveries that have ended and claims others for the free slots, in one transaction. A
    delivery that ends causes the next sweep, so a slow delivery occupies its own slot and delays no other delivery.

    Every second claim takes the newest deliveries: the mails of new purchases do not wait for the 20,000 mails about an
    event that was moved, and the oldest deliveries still get half of the slots.

    A sweep also renews the claims of deliveries that take longer, so that a claim is short: another relay repeats the
    deliveries of a killed one soon.
    """

    def __init__(self, database: Database, receiver: Receiver, terms: DeliveryTerms, clock: Clock) -> None:
        self._database = database
        self._receiver = receiver
        self._terms = terms
        self._clock = clock
        self._claimed = timedelta(seconds=terms.deadline_seconds) + CLAIM_MARGIN
        # Called when a delivery has ended, so that the next sweep follows at once.
        self.wake: Callable[[], None] = lambda: None
        self._running: dict[asyncio.Task[None], Running] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._outcomes: list[DeliveryOutcome] = []
        # The number of slots in use: it halves with each failure and doubles with each success.
        self._slots = receiver.max_parallel
        # The monotonic time until which nothing is claimed.
        self._rests_until = 0.0
        # The next claim takes the newest deliveries.
        self._takes_newest = False

    async def stop(self) -> None:
        """Wait for the deliveries in progress for at most `drain_seconds`, and record them; sweeping has stopped.

        Another relay repeats the others after the end of their claims.
        """
        if self._alarm is not None:
            self._alarm.cancel()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=self._terms.drain_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            await self._store_outcomes(0)
        except Failure as failure:
            log.warning("could not record deliveries", extra={"reason": failure.reason})

    async def sweep(self) -> bool:
        """Record the deliveries that have ended and start others; return whether more may be due at once."""
        now = time.monotonic()
        free = self._slots - len(self._running) if now >= self._rests_until else 0
        late = [running for running in self._running.values() if running.renew_time <= now]
        if free <= 0 and not self._outcomes and not late:
            return False
        claim = await self._store_outcomes(max(free, 0), late)
        renew_time = now + self._claimed.total_seconds() / 2
        for running in late:
            running.renew_time = renew_time
        for delivery in claim.deliveries:
            task = asyncio.create_task(self._deliver(delivery), name=f"delivery to {self._receiver.name}")
            self._running[task] = Running(delivery, renew_time)
        self._set_alarm()
        return claim.has_more

    def _set_alarm(self) -> None:
        """Cause a sweep when the next claim is to be renewed: the usual interval may be longer."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._running:
            wait = min(running.renew_time for running in self._running.values()) - time.monotonic()
            self._alarm = asyncio.get_running_loop().call_later(max(0.0, wait), self.wake)

    async def _store_outcomes(self, limit: int, late: Sequence[Running] = ()) -> store.Claim:
        """Record the outcomes, renew the claims of `late` and claim up to `limit` deliveries.

        After a failure the outcomes are still there.
        """
        outcomes = list(self._outcomes)

        def work(connection: Connection) -> store.Claim:
            store.renew(connection, [running.delivery for running in late], self._clock() + self._claimed)
            return self._record_and_claim(connection, outcomes, limit)

        claim = await self._database.run(work)
        del self._outcomes[: len(outcomes)]
        return claim

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            failure = await self._try(delivery)
            self._outcomes.append(DeliveryOutcome(delivery, failure))
            self._adapt(failure)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.pop(task, None)
            self.wake()

    def _adapt(self, failure: UndeliveredError | None) -> None:
        """Deliver more at once after a success and fewer after a failure, which may mean that the receiver is down."""
        if failure is None:
            DELIVERED.labels(self._receiver.name).inc()
            self._slots = min(self._receiver.max_parallel, 2 * self._slots)
            return
        FAILED.labels(self._receiver.name).inc()
        if failure.is_permanent:
            # The notification was refused; the receiver works.
            return
        if self._slots == 1:
            self._rests_until = time.monotonic() + self._terms.interval_seconds
        self._slots = 1 if failure.retry_after is not None else max(1, self._slots // 2)

    async def _try(self, delivery: Delivery) -> UndeliveredError | None:
        """Try a delivery; return its failure, or None."""
        seconds = self._terms.deadline_seconds + self._receiver.preparation_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._receiver.deliver(delivery)
        except UndeliveredError as error:
            return error
        except TimeoutError:
            return UndeliveredError(f"no answer within {seconds:g} s")
        except Failure as failure:
            return UndeliveredError(failure.message)
        except Exception as error:
            # A notification that the relay cannot send must not block the others: it becomes a dead letter.
            log.exception("a delivery failed unexpectedly", extra=_log_fields(delivery))
            return UndeliveredError(type(error).__name__)
        return None

    def _record_and_claim(self, connection: Connection, outcomes: Sequence[DeliveryOutcome], limit: int) -> store.Claim:
        now, name = self._clock(), self._receiver.name
        failed = [(one.delivery, one.failure) for one in outcomes if one.failure is not None]
        store.delete_delivered(connection, [one.delivery for one in outcomes if one.failure is None], now)
        gone = [(delivery, failure) for delivery, failure in failed if failure.is_gone]
        if gone:
            self._disable(connection, gone)
        for delivery, failure in failed:
            if not failure.is_gone:
                self._record_failure(connection, delivery, failure)
        if failed:
            # One line reports all failures: a line for each would fill the log while a receiver is down.
            facts = {**_log_fields(failed[0][0]), "cause": _text(failed[0][1]), "failed": len(failed)}
            log.warning("a receiver did not accept notifications", extra=facts)
        if limit == 0 or not receiver_states.takes_deliveries(connection, name, now):
            return store.Claim([], has_more=False)
        claim_due = store.claim_newest_due if self._takes_newest else store.claim_due
        claim = claim_due(connection, name, now, now + self._claimed, limit)
        if claim.deliveries:
            self._takes_newest = not self._takes_newest
        return claim

    def _record_failure(self, connection: Connection, delivery: Delivery, failure: UndeliveredError) -> None:
        now, cause = self._clock(), _text(failure)
        if failure.is_permanent or delivery.attempts >= self._terms.max_attempts:
            log.error("a notification is now a dead letter", extra={**_log_fields(delivery), "cause": cause})
            store.make_dead_letter(connection, delivery, now, cause)
            return
        wait = self._wait(delivery)
        if failure.retry_after is not None:
            wait = max(wait, failure.retry_after)
            receiver_states.pause(connection, self._receiver.name, now + failure.retry_after, cause)
        store.postpone(connection, delivery, now + wait, cause)

    def _disable(self, connection: Connection, gone: Sequence[tuple[Delivery, UndeliveredError]]) -> None:
        """Disable the receiver; its notifications wait until an operator enables it, so that none is lost."""
        now, cause = self._clock(), _text(gone[0][1])
        store.release(connection, [delivery for delivery, _ in gone], now, cause)
        if receiver_states.disable(connection, self._receiver.name, now, cause):
            log.error(
                "a receiver is gone and now disabled; its notifications wait for `receivers enable`",
                extra={"receiver": self._receiver.name, "cause": cause},
            )

    def _wait(self, delivery: Delivery) -> timedelta:
        first, max_seconds = self._terms.retry_seconds, max(self._terms.retry_seconds, MAX_RETRY_SECONDS)
        return timedelta(seconds=backoff_seconds(delivery.attempts - 1, first=first, max_seconds=max_seconds))


def _text(failure: UndeliveredError) -> str:
    return str(failure)[:MAX_FAILURE]


def _log_fields(delivery: Delivery) -> dict[str, object]:
    return {
        "receiver": delivery.receiver,
        "kind": delivery.notification.kind,
        "notification_id": delivery.notification_id,
        "event_id": delivery.notification.event_id,
        "attempts": delivery.attempts,
    }
