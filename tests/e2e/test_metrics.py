"""The metrics of the running programs: those of docs/metrics.md, counted once by two workers, and no cause for an alert."""

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import grpc
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import URL

from dev.clients import ApiClient, free_ports
from tests.alerts.documented_metrics import documented
from tests.alerts.promtool import alerts_firing, run_unit_tests
from tests.e2e.service_pair import NewServicePair, ServicePair, buy, new_gate, on_sale, purchase_request
from tests.environment.http_port import get
from tests.environment.waiting import eventually
from tests.stand_ins.webhook import SECRET
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import event_pb2, ticket_service_pb2

pytestmark = pytest.mark.slow

METHOD = "/ticketing.tickets.v1.PurchaseService/PurchaseTickets"
EUR = 'currency="EUR"'
PORTS = {"ticket_service": "TICKETS_METRICS_PORT", "scan_service": "SCANS_METRICS_PORT"}
# The Python client exports these by itself; docs/metrics.md names them in one sentence.
OF_THE_CLIENT = re.compile(r"^(process|python)_|_created$")
# A supervisor alone exports it, and only the ticket service has one here.
RESTARTS = "ticketing_worker_restarts_total"
# The settings that turn everything on. Nothing listens at the addresses.
EVERYTHING = {
    "TICKETS_STRIPE_KEY": "sk_test_1",
    "TICKETS_STRIPE_API_BASE": "http://127.0.0.1:1",
    "TICKETS_WEBHOOK_URL": "http://127.0.0.1:1",
    "TICKETS_WEBHOOK_SECRET": SECRET,
    "TICKETS_SMTP_URL": "smtp://127.0.0.1:1",
    "TICKETS_MAIL_FROM": "tickets@example.com",
    "TICKETS_NATS_URL": "nats://127.0.0.1:1",
}


@pytest.fixture
def pair(new_pair: NewServicePair, tickets_url: URL, scans_url: URL) -> ServicePair:
    ports = dict(zip(("TICKETS_METRICS_PORT", "SCANS_METRICS_PORT"), map(str, free_ports(2)), strict=True))
    pair = new_pair(tickets_url, scans_url, **ports, **EVERYTHING, TICKETS_WORKERS="2")
    for module in ("ticket_service", "scan_service", "relay"):
        pair.start(module)
    return pair


def families(pair: ServicePair, job: str) -> Iterator[Metric]:
    """Yield the metrics of a program, or of its supervisor."""
    port = pair.running["relay"].metrics_port if job == "relay" else int(pair.variables[PORTS[job]])
    yield from text_string_to_metric_families(get(port, "/metrics")[1])


def exported(pair: ServicePair, job: str) -> dict[str, str]:
    """Return the type of each exported metric by its name."""
    return dict(_name_and_type(one) for one in families(pair, job) if not OF_THE_CLIENT.search(one.name))


def _name_and_type(family: Metric) -> tuple[str, str]:
    if family.name.endswith("_info"):
        # The text format has no type of its own for it.
        return family.name, "info"
    return (f"{family.name}_total" if family.type == "counter" else family.name), family.type


def exposed(pair: ServicePair, job: str) -> Iterator[tuple[str, float]]:
    """Yield the series and values of a program, or of its supervisor."""
    for family in families(pair, job):
        for sample in family.samples:
            labels = ", ".join(f'{name}="{value}"' for name, value in sample.labels.items())
            yield f"{sample.name}{{{labels}}}", sample.value


def shown(pair: ServicePair, job: str, *series: str) -> list[float | None]:
    values = dict(exposed(pair, job))
    return [values.get(one) for one in series]


def sell_and_scan(pair: ServicePair) -> event_pb2.Event:
    """Sell three tickets, hold one place, refuse an order, cancel one ticket and refund it, and scan two."""
    event = on_sale(pair.caller("organizer", "alice"), max_participants=10)
    # A channel each, so that the kernel distributes the calls over the workers.
    first, cancelled = buy(pair.caller("service", "shop"), event, quantity=2).tickets
    second = buy(pair.caller("service", "shop"), event).tickets[0]
    shop = pair.caller("service", "shop")
    held = purchase_request(event)
    held.ClearField("external_payment_id")
    shop.ask(shop.purchases.PurchaseTickets, held)
    with suppress(grpc.RpcError):
        buy(shop, event, quantity=10)
    cancel(shop, cancelled.ticket_id)
    with closing(new_gate(pair, event.event_id)) as gate:
        for token, verdict in ((first.token, "ADMITTED"), (second.token, "ADMITTED"), (first.token, "DENIED")):
            assert scan_pb2.Verdict.Name(gate.scan(token).verdict) == f"VERDICT_{verdict}"
    return event


def cancel(shop: ApiClient, ticket_id: str) -> None:
    done = shop.ask(shop.tickets.CancelTicket, ticket_service_pb2.CancelTicketRequest(ticket_id=ticket_id)).cancellation
    confirmation = ticket_service_pb2.ConfirmRefundRequest(
        cancellation_id=done.cancellation_id, refund_id=str(uuid.uuid4())
    )
    shop.ask(shop.tickets.ConfirmRefund, confirmation)


def test_every_exported_metric_is_documented_counts_once_and_raises_no_alert(pair: ServicePair, tmp_path: Path) -> None:
    """The programs start slowly, so one test looks at everything that they export."""
    check_documentation({job: exported(pair, job) for job in pair.running})
    check_counts(pair, sell_and_scan(pair))
    check_no_alert(pair, tmp_path)


def check_documentation(found: Mapping[str, Mapping[str, str]]) -> None:
    """Compare in both directions; the list comes from the programs, so it contains metrics of which no test knows."""
    rows = documented()
    tickets, scans, relay = (found[job] for job in ("ticket_service", "scan_service", "relay"))
    assert {name for name, row in rows.items() if "scans" in row.programs} - {RESTARTS} == scans.keys()
    assert {name for name, row in rows.items() if row.programs & {"tickets", "relay"}} == tickets.keys()
    assert relay.keys() == tickets.keys() - {RESTARTS}
    assert {name: row.type for name, row in rows.items()} == {**tickets, **scans}


def check_counts(pair: ServicePair, event: event_pb2.Event) -> None:
    of_event = f'event_id="{event.event_id}", name="{event.name}"'
    # Both workers read the figures of the database, which are shown once.
    figures = ("ticketing_holds{}", f"ticketing_event_places_left{{{of_event}}}", "ticketing_ready{}")
    eventually(lambda: shown(pair, "ticket_service", *figures), [1, 7, 2])
    assert shown(
        pair,
        "ticket_service",
        f"ticketing_tickets_sold_total{{{EUR}}}",
        f"ticketing_sales_amount_total{{{EUR}}}",
        f"ticketing_tickets_cancelled_total{{{EUR}}}",
        f"ticketing_refunded_amount_total{{{EUR}}}",
        'ticketing_refunds_total{outcome="made"}',
        'ticketing_purchases_total{status="COMPLETED"}',
        'ticketing_purchases_total{status="HELD"}',
        f'grpc_server_failures_total{{method="{METHOD}", reason="SOLD_OUT"}}',
        "ticketing_feed_followers{}",
    ) == [3, 75, 1, 25, 1, 2, 1, 1, 1]
    assert shown(
        pair,
        "scan_service",
        'ticketing_scans_total{denial_reason="", verdict="ADMITTED"}',
        'ticketing_scans_total{denial_reason="ALREADY_CHECKED_IN", verdict="DENIED"}',
        "ticketing_scan_seconds_count{}",
        "ticketing_leader{}",
    ) == [2, 1, 3, 1]


def check_no_alert(pair: ServicePair, folder: Path) -> None:
    """Evaluate all alerts on the series as the services export them, with the labels that Prometheus adds."""
    series = [
        {"series": f'{name[:-1]}{", " if "=" in name else ""}job="{job}", instance="a"}}', "values": f"{value}x40"}
        for job in pair.running
        for name, value in exposed(pair, job)
    ]
    test = {
        "interval": "1m",
        "input_series": [*series, {"series": 'up{job="scan_service", instance="a"}', "values": "1x40"}],
        "promql_expr_test": [alerts_firing('alertname=~".+"', 30, 0)],
    }
    run_unit_tests(folder, [test])
