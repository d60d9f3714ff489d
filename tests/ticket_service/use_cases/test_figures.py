"""The metrics of the tickets database show what is held, left, unfinished and owed."""

from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import REGISTRY

from tests.environment.clock import SettableClock
from tests.environment.messages import at
from tests.selling.shop import STANDARD, VIP, Shop, money
from ticket_service import app
from ticket_service.domain.figures import places_left
from ticket_service.store import figures as store
from ticket_service.use_cases.figures import MAX_NAME, FiguresExport
from ticketing.chassis.database import Database
from ticketing.tickets.v1 import event_pb2, ticket_service_pb2
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub


@pytest.mark.parametrize(
    ("capacity", "offers", "left"),
    [
        (None, [], None),
        (100, [], 70),
        (None, [(20, 5), (30, 25)], 20),
        (100, [(20, 5), (30, 25)], 20),
        (40, [(20, 5), (30, 25)], 10),
        # An offer without a capacity sells up to that of the event.
        (100, [(20, 5), (None, 25)], 70),
        (None, [(20, 5), (None, 25)], None),
    ],
)
def test_places_left_are_the_fewest_that_a_bound_permits(
    capacity: int | None, offers: list[tuple[int | None, int]], left: int | None
) -> None:
    assert places_left(capacity, 30, offers) == left


@pytest.fixture(autouse=True)
def _own_export_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the export of the service from setting the same gauges: both stand in one process here."""

    class NoExport:
        def __init__(self, *_: object) -> None:
            pass

        async def sweep(self) -> bool:
            return False

    monkeypatch.setattr(app, "FiguresExport", NoExport)


def value(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"ticketing_{metric}", labels)


async def export(database: Database, clock: SettableClock) -> None:
    await FiguresExport(database, clock).sweep()


async def test_holds_and_places_of_the_next_events_are_shown(shop: Shop, database, clock, monkeypatch):
    monkeypatch.setattr(store, "MAX_EVENTS", 2)
    offers = [event_pb2.TicketOffer(ticket_type=kind, price=money(2_500), capacity=10) for kind in (STANDARD, VIP)]
    far = await shop.on_sale(name="Far", max_participants=5)
    near = await shop.on_sale(name="N" * 60, offers=offers, start_time=shop_time(clock, 5))
    next_one = await shop.on_sale(name="Next", start_time=shop_time(clock, 1))
    await shop.create(name="Draft", start_time=shop_time(clock, 2))
    await shop.buy(near.event_id, quantity=3)
    await export(database, clock)
    assert (value("holds"), value("holds_overdue_seconds")) == (1, 0)
    labels = {"event_id": near.event_id, "name": "N" * MAX_NAME}
    assert (value("event_places_reserved", **labels), value("event_places_left", **labels)) == (3, 17)
    unbounded = {"event_id": next_one.event_id, "name": "Next"}
    assert (value("event_places_reserved", **unbounded), value("event_places_left", **unbounded)) == (0, None)
    assert value("event_places_reserved", event_id=far.event_id, name="Far") is None


def shop_time(clock: SettableClock, days: int) -> Timestamp:
    return at(clock() + timedelta(days=days))


async def test_an_event_that_is_no_longer_on_sale_loses_its_series(shop: Shop, database, clock):
    event = await shop.on_sale(max_participants=5)
    exporting = FiguresExport(database, clock)
    await exporting.sweep()
    labels = {"event_id": event.event_id, "name": event.name}
    assert value("event_places_left", **labels) == 5
    clock.advance(timedelta(days=30))
    exporting._next_read = 0.0  # noqa: SLF001 - nothing else ends the rest after a read
    await exporting.sweep()
    assert value("event_places_left", **labels) is None


async def test_unfinished_work_and_its_age_are_shown(shop: Shop, database, clock, channel):
    event = await shop.on_sale()
    [ticket] = (await shop.buy(event.event_id)).tickets
    # Nothing answers at the address of the scan service.
    request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.ticket_id)
    await TicketServiceStub(channel).CancelTicket(request, metadata=shop.metadata())
    clock.advance(timedelta(minutes=20))
    await export(database, clock)
    assert (value("pending", work="cancellations"), value("pending", work="reissues")) == (1, 0)
    assert 1_200 <= (value("pending_oldest_seconds", work="cancellations") or 0) < 1_300
    assert value("pending_oldest_seconds", work="reissues") == 0
    assert value("refunds_owed", status="REFUSED") == 0
