"""The client of the package against a real ticket service that restarts, is overloaded or behind a bad network."""

import itertools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import grpc
import psycopg2
import pytest
from sqlalchemy.engine import URL, make_url

from tests.e2e.service_pair import NewServicePair, ServicePair, on_sale, purchase_request
from tests.environment.databases import read_value
from tests.environment.proxy import Proxy
from tests.environment.waiting import eventually
from ticketing.client import DeadlineExceededError, Reason, UnavailableError, connect
from ticketing.tickets.v1 import event_pb2, purchase_service_pb2, purchase_service_pb2_grpc

pytestmark = pytest.mark.slow

ORDERS = 12


@pytest.fixture
def shop(new_pair: NewServicePair, tickets_url: URL, scans_url: URL) -> ServicePair:
    """Start a ticket service; the scan service is down, which sales do not notice."""
    pair = new_pair(tickets_url, scans_url)
    pair.start("ticket_service")
    return pair


def purchases_on(channel: grpc.Channel) -> purchase_service_pb2_grpc.PurchaseServiceStub:
    return purchase_service_pb2_grpc.PurchaseServiceStub(channel)


def order_of(event: event_pb2.Event) -> purchase_service_pb2.PurchaseTicketsRequest:
    """Build an order without a request_id, which the client chooses."""
    order = purchase_request(event)
    order.ClearField("request_id")
    return order


def sold(
    purchases: purchase_service_pb2_grpc.PurchaseServiceStub, order: purchase_service_pb2.PurchaseTicketsRequest
) -> str:
    """Buy tickets; on a busy machine a service starts for longer than the client repeats the call."""
    for _ in range(5):
        with suppress(UnavailableError):
            return purchases.PurchaseTickets(order).purchase.purchase_id
    pytest.fail("the service does not come back")


def buy_while_disturbed(
    shop: ServicePair, address: str, event: event_pb2.Event, disturb: Iterator[object]
) -> list[str]:
    """Buy tickets one after the other, and advance `disturb` before each; return the ids of the purchases."""
    with connect(address, lambda: shop.issuer.token("service", "shop"), plain_text=True, call_seconds=30) as channel:
        return [sold(purchases_on(channel), order_of(event)) for _ in itertools.islice(disturb, ORDERS)]


def assert_each_order_sold_once(shop: ServicePair, event: event_pb2.Event, purchase_ids: list[str]) -> None:
    query = "SELECT count(*) FROM {} WHERE event_id = '" + event.event_id + "'"
    url = make_url(shop.variables["TICKETS_DATABASE_URL"])
    assert len(set(purchase_ids)) == ORDERS
    assert [read_value(url, query.format(table)) for table in ("purchases", "tickets")] == [ORDERS, ORDERS]


def test_purchases_survive_the_restart_of_the_service(shop: ServicePair) -> None:
    event = on_sale(shop.caller("organizer", "olga"))

    def restarting() -> Iterator[object]:
        with ThreadPoolExecutor(1) as restarts:
            for number in itertools.count():
                if number == ORDERS // 3:
                    # The next orders meet the dying service, then a closed port, then the new process.
                    restart = restarts.submit(
                        lambda: (shop.stop("ticket_service", signal.SIGKILL), shop.start("ticket_service"))
                    )
                yield number
                if number == ORDERS - 1:
                    restart.result()

    assert_each_order_sold_once(shop, event, buy_while_disturbed(shop, shop.address("TICKETS"), event, restarting()))


def test_purchases_survive_a_network_that_cuts_connections(shop: ServicePair) -> None:
    event = on_sale(shop.caller("organizer", "olga"))
    host, port = shop.address("TICKETS").split(":")
    proxy = Proxy((host, int(port)))

    def cutting() -> Iterator[object]:
        with ThreadPoolExecutor(1) as cuts:
            for number in itertools.count():
                yield cuts.submit(proxy.cut_connections) if number % 3 == 1 else None

    try:
        assert_each_order_sold_once(shop, event, buy_while_disturbed(shop, proxy.address, event, cutting()))
    finally:
        proxy.cut()


@contextmanager
def locked(shop: ServicePair, event: event_pb2.Event) -> Iterator[None]:
    """Lock the row of an event, as a long transaction does; purchases of it are OVERLOADED."""
    url = make_url(shop.variables["TICKETS_DATABASE_URL"])
    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        connection.cursor().execute("SELECT 1 FROM events WHERE event_id = %s FOR UPDATE", [event.event_id])
        yield
    finally:
        connection.close()


def test_a_purchase_waits_for_a_locked_event_and_for_a_new_token(shop: ServicePair) -> None:
    event = on_sale(shop.caller("organizer", "olga"))
    expired = shop.issuer.token("service", "shop", exp=datetime.now(UTC) - timedelta(minutes=5))
    tokens = iter([expired, shop.issuer.token("service", "shop")])
    log = shop.running["ticket_service"].log
    with (
        connect(shop.address("TICKETS"), lambda: next(tokens), plain_text=True) as channel,
        ThreadPoolExecutor(1) as threads,
    ):
        with locked(shop, event):
            sold = threads.submit(purchases_on(channel).PurchaseTickets, purchase_request(event))
            eventually(lambda: min(log().count('OVERLOADED"'), 1), 1)
            assert not sold.done()
        assert sold.result().purchase.tickets[0].code
        with locked(shop, event), pytest.raises(DeadlineExceededError) as caught:
            purchases_on(channel).PurchaseTickets(purchase_request(event), timeout=0.3)
    assert caught.value.reason is Reason.UNSPECIFIED
