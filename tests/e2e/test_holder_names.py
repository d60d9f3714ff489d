"""The name of a ticket's holder, from the purchase to the gate's display: both services and the gate's program."""

import signal
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.e2e.service_pair import ServicePair, new_gate, on_sale, purchase_request
from tests.environment.access import Issuer
from tests.environment.databases import read_value
from tests.environment.waiting import eventually
from tests.processes.terminal import TerminalGate

pytestmark = pytest.mark.slow


def test_the_name_is_shown_and_without_the_ticket_service_the_verdict_alone(
    pair: ServicePair, issuer: Issuer, tmp_path: Path
) -> None:
    event, shop = on_sale(pair.caller("organizer", "alice"), show_holder_name=True), pair.caller("service", "shop")
    request = purchase_request(event, 2)
    request.metadata.update({"holder_name": "Anna Schmidt"})
    first, second = shop.ask(shop.purchases.PurchaseTickets, request).purchase.tickets
    (tmp_path / "token").write_text(issuer.token("scanner", "door"))
    command = [sys.executable, "-m", "ticketing.gate", "run", "--server", pair.address("SCANS"), "--location", "North"]
    command += ["--event", event.event_id, "--token-file", str(tmp_path / "token"), "--data", str(tmp_path / "gate")]
    with closing(new_gate(pair, event.event_id)):
        query = f"SELECT count(*) FROM tickets WHERE event_id = '{uuid.UUID(event.event_id)}'"
        eventually(lambda: read_value(make_url(pair.variables["SCANS_DATABASE_URL"]), query), 2)
    with TerminalGate(command) as gate:
        admitted = gate.scan(first.token.encode() + b"\r")
        assert (admitted["open"], admitted["offline"]) == (True, False)
        named = gate.answer()
        assert (named["holder"], named["scan_id"]) == ("Anna Schmidt", admitted["scan_id"])
        pair.stop("ticket_service", signal.SIGKILL)
        admitted = gate.scan(second.token.encode() + b"\r")
        assert (admitted["open"], admitted["offline"]) == (True, False)
        # The next line is the answer to the next scan.
        denied = gate.scan(b"TKT-0123456789ABCDEF\r")
        assert denied["denial_reason"] == "TICKET_NOT_FOUND"
    # No copy of the name is left: neither in the scans database nor on the device.
    scans = make_url(pair.variables["SCANS_DATABASE_URL"])
    for table in ("scans", "tickets", "events"):
        assert read_value(scans, f"SELECT count(*) FROM {table} WHERE {table}::text LIKE '%Schmidt%'") == 0
    assert all(b"Schmidt" not in file.read_bytes() for file in (tmp_path / "gate").iterdir())
