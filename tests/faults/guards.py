"""The negative controls: guards that a service loses, one at a time, and the violation that a run must then find.

A control replaces a function or a statement in the process of one service, so no other program can run without it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any, Final

from tests.faults.database import ALONE, LAGGING

# The time by which a control widens a race, so that a short run meets it.
RACE_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Guard:
    """A guard, the services that lose it, how, and a part of the violation.

    `faults` are those of the run, if any, and `servers` the kind of its database servers, which may lack the guard. `work`
    is the least number of answers, by kind, with which the run meets the race; CONTROL_WORK holds for the other kinds.
    """

    services: tuple[str, ...]
    remove: Callable[[], None]
    violation: str
    faults: tuple[str, ...] = ()
    servers: str = ALONE
    work: Mapping[str, float] = field(default_factory=dict)


def _replace(name: str, value: Any) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute), name
    setattr(import_module(module), attribute, value)


def _edit(module: str, statements: Mapping[str, tuple[str, str]]) -> None:
    """Replace a text in prepared statements of a module."""
    prepared = import_module(module).STATEMENTS
    for name, (old, new) in statements.items():
        assert old in prepared[name], name
        prepared[name] = prepared[name].replace(old, new)


def _event_lock() -> None:
    lock = "FOR NO KEY UPDATE"
    _edit("ticket_service.store.sales", {"lock_events": (lock, ""), "lock_free_events": (f"{lock} SKIP LOCKED", "")})


def _idempotency_key() -> None:
    columns = "SELECT {}, fingerprint, event_id, purchase_id"
    old, new = columns.format("caller, request_id"), columns.format("caller, gen_random_uuid()")
    _edit("ticket_service.store.sales", {"write_sales": (old, new)})


def _revocation() -> None:
    outcome = import_module("ticket_service.domain.revocations").Outcome

    async def revoke(_client: Any, _event_id: Any, revocations: Sequence[Any]) -> list[Any]:
        return [outcome(revoked=True) for _ in revocations]

    import_module("ticket_service.adapters.scans").ScanServiceClient.revoke = revoke


def _revision_lock() -> None:
    find_event = import_module("ticket_service.store.events").find_event

    def read_event(connection: Any, event_id: Any) -> Any:
        event = find_event(connection, event_id)
        time.sleep(RACE_SECONDS)  # Another change takes the same revision meanwhile.
        return event

    _replace("ticket_service.use_cases.reissues.lock_event", read_event)


def _feed_snapshot() -> None:
    database, feed = import_module("ticketing.chassis.database").Database, import_module("ticket_service.store.feed")
    run, pages = database.run, feed.pages

    async def run_without_snapshot(self: Any, work: Any, *, isolation: str | None = None) -> Any:
        return await run(self, work)

    def slow_pages(connection: Any, afters: Mapping[Any, int], limit: int) -> list[Any]:
        found = pages(connection, afters, limit)
        time.sleep(RACE_SECONDS)  # A ticket commits meanwhile, and the revision that is read now is above it.
        heads = feed.named_heads(connection, list(afters))
        return [replace(page, revision=max(page.revision, heads[page.event.event_id])) for page in found]

    database.run = run_without_snapshot
    _replace("ticket_service.store.feed.pages", slow_pages)


def _ticket_lock() -> None:
    lock = ("FOR UPDATE OF t", "")
    names = ("lock_tickets", "lock_groups", "lock_and_read", "lock_and_read_groups")
    _edit("scan_service.store.admission", dict.fromkeys(names, lock))
    batch = import_module("scan_service.use_cases.admission").ScanBatch
    decide = batch.decide

    def decide_slowly(self: Any, attempt: Any) -> Any:
        time.sleep(RACE_SECONDS)  # The other process decides about the ticket meanwhile.
        return decide(self, attempt)

    batch.decide = decide_slowly


def _locked_rows() -> None:
    settings = import_module("ticketing.chassis.connections").session_settings

    def without_lock_timeout(limits: Mapping[str, int] | None = None) -> str:
        return f"{settings(limits)}; SET lock_timeout = 0"

    _replace("ticketing.chassis.loop_connection.session_settings", without_lock_timeout)


def _nothing() -> None:
    """Do nothing: the database servers lack the guard."""


_asynchronous = partial(_replace, "ticketing.chassis.connections._DURABLE", "SET synchronous_commit = off")

GUARDS: Final[Mapping[str, Guard]] = {
    "event-lock": Guard(("tickets",), _event_lock, "reserved places"),
    "idempotency-key": Guard(("tickets",), _idempotency_key, "one request of", ("lose answers", "kill")),
    "revocation": Guard(("tickets",), _revocation, "no order explains"),
    "withdrawal": Guard(
        ("tickets",),
        partial(_replace, "ticket_service.domain.holds.has_other_charge", lambda *_: False),
        "although its buyer had released it",
        ("delay",),
    ),
    # Two tickets then take one revision, which the unique key of the table refuses.
    "revision-lock": Guard(("tickets",), _revision_lock, "ReissueTicket: INTERNAL"),
    "feed-snapshot": Guard(("tickets",), _feed_snapshot, "the feed left out"),
    # A commit of one service would make those of the other durable, because both databases share a server here.
    "durable-commit": Guard(("tickets", "scans"), _asynchronous, "is lost", ("stop database",)),
    "synchronous-standby": Guard((), _nothing, "is lost", ("promote standby",), LAGGING),
    "ticket-lock": Guard(("scans",), _ticket_lock, "no order explains"),
    "upload-bound": Guard(
        ("scans",),
        partial(_replace, "scan_service.domain.annulment.WINDOW", timedelta(days=1)),
        "beyond the bound",
        # Only a late annulment that no other scan of its ticket precludes shows the bound.
        work={"upload": 40},
    ),
    "locked-rows": Guard(("tickets",), _locked_rows, "waited for a stranger", ("lock rows",)),
}
