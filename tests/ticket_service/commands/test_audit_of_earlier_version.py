"""The audit names each fault that the version before left in a database, and the reconciler repairs what it can.

`faults_of_revision_0008.json.gz` contains the rows that the service wrote at migration 0008 while a test let each fault
happen, and the objects at the stand-in of Stripe. The test loads the rows at that revision and then migrates.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.environment import ROOT
from tests.environment.clock import SettableClock
from tests.environment.databases import execute
from tests.environment.serving import running
from tests.selling.comparison import StillApp
from tests.stand_ins.stripe import KEY, StripeStandIn
from ticket_service.adapters.stripe.records import read_records
from ticket_service.commands.audit import audit
from ticket_service.use_cases.reconciler import Reconciler
from ticketing.chassis.migrations import migrate

pytestmark = pytest.mark.slow

FAULTS: Any = json.loads(gzip.decompress((Path(__file__).parent / "faults_of_revision_0008.json.gz").read_bytes()))
NAMES: dict[str, str] = FAULTS["faults"]
LAST_TIME = max(datetime.fromisoformat(row["create_time"]) for row in FAULTS["rows"]["ledger"])
# The reconciler cannot know what people meant.
FOR_PEOPLE = {"minor units", "past date", "currency", "worsened terms", "annulled check-in"}


@pytest.fixture
def clock() -> SettableClock:
    """Make a clock that stands an hour after the last fault."""
    return SettableClock(LAST_TIME.astimezone(UTC).replace(microsecond=0) + timedelta(hours=1))


@pytest.fixture
def url(tickets_url: URL) -> Iterator[URL]:
    """Make a database of revision 0008 with the faults, and migrate it."""
    maintenance, made = tickets_url.set(database="postgres"), tickets_url.set(database="earlier_version")
    execute(maintenance, 'DROP DATABASE IF EXISTS "earlier_version" WITH (FORCE)')
    execute(maintenance, 'CREATE DATABASE "earlier_version"')
    engine = sa.create_engine(made, poolclass=sa.NullPool)
    scripts = ROOT / "ticket_service" / "store" / "migrations"
    migrate(made, scripts, "0008")
    with engine.begin() as connection:
        for table, rows in FAULTS["rows"].items():
            insert = f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, CAST(:rows AS json))"
            connection.execute(sa.text(insert), {"rows": json.dumps(rows)})
    migrate(made, scripts)
    yield made
    execute(maintenance, 'DROP DATABASE "earlier_version" WITH (FORCE)')


@pytest.fixture(autouse=True)
def objects(stripe: StripeStandIn) -> None:
    """Give the stand-in of Stripe the objects of the faults, and a dispute."""
    for intent in FAULTS["intents"]:
        stripe.intents[intent["id"]] = {"livemode": False, **intent}
    for refund in FAULTS["refunds"]:
        stripe.refunds.append({"charge": "", "reason": None, **refund})
    stripe.dispute(NAMES["dispute"])


async def lines_of_audit(url: URL, stripe: StripeStandIn) -> str:
    lines: list[str] = []
    records = {"stripe": lambda: read_records(KEY, stripe.api_base)}
    await asyncio.to_thread(audit, url, lines.append, records)
    return "\n".join(lines)


@pytest.fixture
async def reconciler(
    make_settings: Any, url: URL, stripe: StripeStandIn, clock: SettableClock
) -> AsyncIterator[Reconciler]:
    app = StillApp(make_settings(TICKETS_STRIPE_KEY=KEY, TICKETS_STRIPE_API_BASE=stripe.api_base), url, clock)
    async with running(app):
        [reconciler] = [work for work in app.unfinished if isinstance(work, Reconciler)]
        yield reconciler


async def test_the_audit_names_each_fault(url: URL, stripe: StripeStandIn) -> None:
    said = await lines_of_audit(url, stripe)
    assert [fault for fault, name in NAMES.items() if name not in said] == []


async def test_the_reconciler_repairs_what_the_provider_shows(
    url: URL, stripe: StripeStandIn, reconciler: Reconciler
) -> None:
    for _ in range(2):
        while await reconciler.sweep():
            pass
    said = await lines_of_audit(url, stripe)
    assert {fault for fault, name in NAMES.items() if name in said} == FOR_PEOPLE, said
