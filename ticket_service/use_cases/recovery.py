"""Recover a tickets database that was restored to an earlier moment, or that lost its latest commits in a failover.

While a recovery is open, services refuse changes. Each step compares this database with the scan service or the payment
providers, and stores what it mends with the finding in one transaction. So a recovery may be interrupted and repeated
at any point: what is mended is no difference any more, and its finding is stored already.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.adapters.known_state import KnownState
from ticket_service.adapters.payment_provider import ProviderHistory
from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.event_cancellation import begin as begin_event_cancellation
from ticket_service.domain.events import EventStatus
from ticket_service.domain.recovery import (
    Cause,
    Finding,
    FindingKind,
    KnownEvent,
    KnownKey,
    KnownTicket,
    Recovery,
    event_findings,
)
from ticket_service.domain.tokens import PublicKey
from ticket_service.store import changes, event_cancellation, keys
from ticket_service.store import recoveries as store
from ticket_service.store.events import lock_event, take_revision, update_event
from ticket_service.store.restored import missing_tickets
from ticket_service.use_cases import recovery_money as money
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.reconciler import Reconciler
from ticket_service.use_cases.recovery_guard import VALID_SECONDS
from ticket_service.use_cases.recovery_purchases import PurchaseRestorer
from ticket_service.use_cases.recovery_tickets import TicketMender, cancelled_ids
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import overloaded
from ticketing.chassis.ids import new_id
from ticketing.chassis.parsing import NIL

# The audit trail names a command instead of a caller.
COMMAND: Final = Caller("command line", frozenset())
# Transactions that began before the recovery end within this time, or hang.
MAX_WAIT_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 0.2
# The providers count the time of a record by another clock, and the operator knows the moment roughly.
MARGIN: Final = timedelta(days=1)
REASON: Final = "restored after a restore of the database"


@dataclass(frozen=True, slots=True)
class Sources:
    """The programs that a recovery asks."""

    scans: KnownState
    histories: Mapping[str, ProviderHistory]
    # The age up to which the providers' records are read, unless the restored moment is older.
    window: timedelta


class Recoveries:
    """The use case of recovering the database, step by step, each of which may be repeated."""

    def __init__(self, database: Database, sources: Sources, clock: Clock) -> None:
        self._database = database
        self._sources = sources
        self._clock = clock

    async def begin(self, since: datetime | None) -> Recovery:
        """Open a recovery, or continue the open one; return once no other process changes the database.

        Raises:
            Failure: OVERLOADED: a transaction of another program does not end.
        """
        now = self._clock()
        recovery = await self._database.run(lambda c: store.begin(c, new_id(), Cause.OPERATOR, since, now))
        if await self._database.run(store.count_sessions):
            # Each process reads the state again within this time, or refuses changes by itself.
            await asyncio.sleep(VALID_SECONDS)
            await self._wait_for_changes()
        return recovery

    async def restore_keys(self, recovery: Recovery) -> None:
        """Restore lost keys with their ids, and retire what the scan service has retired for good."""
        known, retired = await self._sources.scans.keys()
        await self._store(recovery, lambda c: self._restore_keys(c, known, retired))

    async def restore_events(self, recovery: Recovery) -> list[KnownEvent]:
        """Restore the publication and the cancellation of events; return the events that both databases have."""
        present = list[KnownEvent]()
        async for page in self._sources.scans.events():
            for known in page:
                found = await self._store(recovery, partial(self._restore_event, known=known))
                if all(one.kind is not FindingKind.EVENT_LOST for one in found):
                    present.append(known)
        return present

    async def restore_tickets(self, recovery: Recovery, events: Sequence[KnownEvent], issuing: Issuing) -> None:
        """Restore the purchases of lost tickets, then the lost changes of all tickets, event by event."""
        state = self._provider_state(recovery)
        charges = await state.unrecorded_charges()
        for event in events:
            lost = [ticket async for ticket in self._lost_tickets(event.event_id)]
            if lost:
                restorer = PurchaseRestorer(issuing, charges, self._clock())
                await self._store(recovery, partial(restorer.restore, event_id=event.event_id, lost=lost))
            mender = TicketMender(issuing, self._clock())
            async for page in self._sources.scans.tickets(event.event_id):
                paid = await state.payments_of(event.event_id, cancelled_ids(page))
                await self._store(recovery, partial(mender.mend, known_event=event, known=page, paid=paid))

    async def restore_money(self, recovery: Recovery, reconciler: Reconciler) -> None:
        """Compare all payments, refunds and disputes with their providers, and apply the differences."""
        state, providers = self._provider_state(recovery), list(self._sources.histories)
        async for provider, refund in state.refunds_without_order():
            refunded, now = await state.refunded(provider, refund.payment_id), self._clock()
            judge = partial(money.judge_refund, provider=provider, refund=refund, refunded=refunded, now=now)
            await self._store(recovery, judge)
        await money.reconcile(self._database, reconciler, providers, self._clock())
        await self._store(recovery, money.unmatched)
        await self._store(recovery, partial(money.unconfigured, configured=providers))

    async def findings(self, recovery: Recovery) -> list[Finding]:
        """Read what the recovery found, in all its runs."""
        return await self._database.run(lambda c: store.list_findings(c, recovery.recovery_id))

    async def end(self, recovery: Recovery, facts: Mapping[str, object]) -> None:
        """End the recovery: replicas are filled anew, and services change the database again."""
        now = self._clock()

        def work(connection: Connection) -> None:
            store.renew_epoch(connection)
            store.end(connection, recovery.recovery_id, now)
            details = {"recovery_id": str(recovery.recovery_id), **facts}
            changes.record(connection, COMMAND, Change(ChangeKind.DATABASE_RECOVERED, NIL, details=details), now)

        await self._database.run(work)

    async def _store(self, recovery: Recovery, work: Callable[[Connection], list[Finding]]) -> list[Finding]:
        """Run a step in one transaction with its findings."""

        def step(connection: Connection) -> list[Finding]:
            found = work(connection)
            store.store_findings(connection, recovery.recovery_id, found, self._clock())
            return found

        return await self._database.run(step)

    async def _wait_for_changes(self) -> None:
        """Wait for the transactions that began before this process knew that all others refuse changes."""
        before, waited = self._clock(), 0.0
        while await self._database.run(lambda c: store.count_changing(c, before)):
            if waited >= MAX_WAIT_SECONDS:
                raise overloaded("a transaction of another program that changes this database and does not end")
            await asyncio.sleep(WAIT_SECONDS)
            waited += WAIT_SECONDS

    def _provider_state(self, recovery: Recovery) -> money.ProviderState:
        since = self._clock() - self._sources.window
        if recovery.since is not None:
            since = min(since, recovery.since - MARGIN)
        return money.ProviderState(self._database, self._sources.histories, since)

    async def _lost_tickets(self, event_id: UUID) -> AsyncIterator[KnownTicket]:
        async for page in self._sources.scans.tickets(event_id):
            ids = [ticket.ticket_id for ticket in page]
            missing = await self._database.run(partial(missing_tickets, event_id=event_id, ticket_ids=ids))
            for ticket in page:
                if ticket.ticket_id in missing:
                    yield ticket

    def _restore_keys(
        self, connection: Connection, known: Sequence[KnownKey], retired: Sequence[KnownKey]
    ) -> list[Finding]:
        keys.lock(connection)
        own = {key.public_key: key for key in keys.all_keys(connection)}
        taken = {key.key_id for key in own.values()}
        found = list[Finding]()
        for key in known:
            if key.public_key in own or key.key_id is None or key.activate_time is None:
                continue
            if key.key_id in taken:
                found.append(Finding(FindingKind.KEY_ID_TAKEN, str(key.key_id)))
                continue
            restored = PublicKey(key.key_id, key.public_key, key.activate_time, key.retire_time)
            keys.add(connection, restored)
            own[key.public_key] = restored
            found.append(Finding(FindingKind.KEY_RESTORED, str(key.key_id)))
        for key in [*known, *retired]:
            mine = own.get(key.public_key)
            if mine is not None and mine.retire_time is None and key.retire_time is not None:
                keys.retire(connection, [mine.key_id], key.retire_time)
                own[key.public_key] = replace(mine, retire_time=key.retire_time)
                found.append(Finding(FindingKind.KEY_RETIRED, str(mine.key_id)))
        return found

    def _restore_event(self, connection: Connection, known: KnownEvent) -> list[Finding]:
        event, now = lock_event(connection, known.event_id), self._clock()
        found = event_findings(event, known)
        if event is not None and known.revision > event.revision:
            # What the recovery changes gets revisions that the lost changes did not have: so a repetition can tell it
            # from them.
            event = replace(event, revision=known.revision)
            take_revision(connection, event.event_id, event.revision)
        for finding in found:
            status = _RESTORED_STATUSES.get(finding.kind)
            if event is None or status is None:
                continue
            revision = event.revision + 1
            event = replace(
                event,
                status=status,
                revision=revision,
                changed_revision=revision,
                version=event.version + 1,
                update_time=now,
            )
            update_event(connection, event)
            if status is EventStatus.CANCELLED and event_cancellation.lock(connection, event.event_id) is None:
                # The sweeper cancels the tickets that the recovery leaves; the gates are closed already.
                begun = begin_event_cancellation(event.event_id, REASON, now)
                event_cancellation.insert(connection, begun)
        return found


_RESTORED_STATUSES: Final = {
    FindingKind.EVENT_PUBLISHED: EventStatus.PUBLISHED,
    FindingKind.EVENT_CANCELLED: EventStatus.CANCELLED,
}
