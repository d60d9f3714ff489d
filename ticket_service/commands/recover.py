"""Recover a restored database: `python -m ticket_service recover [--since TIME] [--accept] [--json]`.

Services refuse changes from the first step until the recovery has ended. It ends when nothing is lost and the audit finds
no fault; with `--accept` also when a person has judged what is listed as lost. Until then the command may be repeated,
also after it was interrupted.
"""

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.adapters.known_state import KnownState
from ticket_service.adapters.payment_provider import ProviderHistory
from ticket_service.commands.audit import broken_checks
from ticket_service.domain.codes import Codes
from ticket_service.domain.looks import LookSettings
from ticket_service.domain.recovery import LOSSES, Finding, Recovery
from ticket_service.settings import Settings, read_settings
from ticket_service.store import recoveries as store
from ticket_service.use_cases.holds import Holds
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import SigningKeys
from ticket_service.use_cases.payment_records import PaymentRecords
from ticket_service.use_cases.reconciler import Reconciler
from ticket_service.use_cases.reconciliation import Reconciliation
from ticket_service.use_cases.recovery import Recoveries, Sources
from ticket_service.use_cases.sales import SaleSettings
from ticketing.chassis.arguments import read_past
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.command_line import Command
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.settings import Environment

Write = Callable[[str], None]

CLEAN: Final = 0
NOT_CLEAN: Final = 1
# The audit finds these payments until somebody has refunded them; they are listed as lost.
UNMATCHED: Final = "every payment of the provider matches a purchase here, or was refunded"
# Threads of the command, and so connections.
THREADS: Final = 3


def run_recover(url: URL, given: argparse.Namespace) -> int:
    """Recover the database; return the exit status."""
    settings = read_settings(Environment(os.environ))
    write = partial(print, file=sys.stderr) if given.json else print
    with store.locked(url) as is_alone:
        if not is_alone:
            write("another recover of this database runs; wait for its end")
            return NOT_CLEAN
        try:
            run = RecoverRun(url, settings, write, system_clock)
            return asyncio.run(run.run(given.since, accepts=given.accept, writes_json=given.json))
        except Failure as failure:
            write(f"not recovered, and changes stay refused: {failure.message}; run the command again")
            return NOT_CLEAN


class RecoverRun:
    """One run of the command."""

    def __init__(self, url: URL, settings: Settings, write: Write, clock: Clock) -> None:
        self._url = url
        self._settings = settings
        self._write = write
        self._clock = clock

    async def run(self, since: datetime | None, *, accepts: bool, writes_json: bool) -> int:
        """Recover, audit and report; return the exit status."""
        async with AsyncExitStack() as opened:
            database = Database(self._url, "ticket_service recover", THREADS)
            opened.push_async_callback(database.close)
            sources = await self._sources(opened)
            recoveries = Recoveries(database, sources, self._clock)
            recovery = await recoveries.begin(since)
            self._write(f"changes are refused until this recovery has ended; {_restored_moment(recovery)}")
            await recoveries.restore_keys(recovery)
            events = await recoveries.restore_events(recovery)
            # Keys of the file of this host that neither database has are published now.
            keys = await SigningKeys.open(database, self._settings.signing_key_file, self._clock)
            issuing = Issuing(Codes(self._settings.code_secret), keys)
            await recoveries.restore_tickets(recovery, events, issuing)
            await recoveries.restore_money(recovery, self._reconciler(database, sources, issuing, recovery))
            found = await recoveries.findings(recovery)
            broken = await asyncio.to_thread(self._audit)
            lost = [one for one in found if one.is_lost]
            is_clean = set(broken) <= ({UNMATCHED} if accepts else set()) and (accepts or not lost)
            if is_clean:
                await recoveries.end(recovery, {"mended": len(found) - len(lost), "lost": len(lost)})
            self._report(found, recovery, is_clean=is_clean, writes_json=writes_json)
            return CLEAN if is_clean else NOT_CLEAN

    async def _sources(self, opened: AsyncExitStack) -> Sources:
        peer = self._settings.service.peer(self._settings.scans_address)
        opened.push_async_callback(peer.close)
        histories: dict[str, ProviderHistory] = {}
        for name, provider in self._settings.providers.items():
            if (history := provider.history()) is not None:
                histories[name] = history
                opened.push_async_callback(history.close)
        return Sources(KnownState(peer), histories, self._settings.looks.window)

    def _reconciler(self, database: Database, sources: Sources, issuing: Issuing, recovery: Recovery) -> Reconciler:
        looks = self._settings.looks
        window = looks.window if recovery.since is None else max(looks.window, self._clock() - recovery.since)
        sales = SaleSettings(issuing, self._settings.max_per_purchase, looks.interval, self._settings.customers)
        records = PaymentRecords(issuing, lambda: sales.context(self._clock()))
        holds = Holds(database, records, lambda: sales.context(self._clock()), lambda: None)
        reconciliation = Reconciliation(
            database, holds, self._clock, lambda: None, blocks_disputed=self._settings.blocks_disputed
        )
        settings = LookSettings(looks.interval, window)
        return Reconciler(database, sources.histories, reconciliation, settings, self._clock)

    def _audit(self) -> list[str]:
        providers = self._settings.providers
        return broken_checks(
            self._url, self._write, {name: settings.read_records for name, settings in providers.items()}
        )

    def _report(self, found: Sequence[Finding], recovery: Recovery, *, is_clean: bool, writes_json: bool) -> None:
        lost = Counter(one.kind for one in found if one.is_lost)
        mended = Counter(one.kind for one in found if not one.is_lost)
        if writes_json:
            for one in found:
                print(json.dumps(_line(one)))  # noqa: T201 - the answer of the command
            summary = {"recovery_id": str(recovery.recovery_id), "mended": mended, "lost": lost, "clean": is_clean}
            print(json.dumps(summary))  # noqa: T201 - the answer of the command
        for one in found:
            if one.is_lost:
                self._write(f"{'lost':>10} {one.kind} {one.subject}: {LOSSES[one.kind]} {json.dumps(one.details)}")
        for kind, count in mended.items():
            self._write(f"{count:>10} mended: {kind}")
        for kind, count in lost.items():
            self._write(f"{count:>10} lost: {kind}")
        if is_clean:
            self._write("recovered; changes are allowed again")
        elif lost:
            self._write("changes stay refused; judge what is lost, then run the command with --accept")
        else:
            self._write("changes stay refused; the audit has found a fault")


def _restored_moment(recovery: Recovery) -> str:
    if recovery.since is None:
        return "the restored moment is not known"
    return f"the database was restored to {recovery.since.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _line(one: Finding) -> dict[str, object]:
    event_id = None if one.event_id is None else str(one.event_id)
    return {
        "kind": one.kind,
        "subject": one.subject,
        "event_id": event_id,
        "lost": one.is_lost,
        "details": one.details,
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=read_past,
        help="the moment to which the database was restored, such as 2030-05-01T20:00:00Z",
    )
    parser.add_argument("--accept", action="store_true", help="accept what is lost, and allow changes again")
    parser.add_argument("--json", action="store_true", help="print each finding as a line of JSON")


COMMAND: Final = Command(
    "recover", "recover a restored database; services change nothing meanwhile", run_recover, _add_arguments
)
