"""The services for which the runbook is written, and a shell like that of the operator."""

import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from sqlalchemy.engine import URL, make_url

from dev.clients import ApiClient
from dev.keys import DevelopmentKeys
from tests.e2e.service_pair import ServicePair, on_sale, purchase_request
from tests.environment import ROOT
from tests.environment.databases import read_value
from tests.environment.waiting import eventually
from tests.runbook.recipes import Command
from tests.stand_ins.stripe import CARD, StripeStandIn
from ticketing.chassis.postgres.launcher import find_programs
from ticketing.scans.v1 import device_service_pb2, device_service_pb2_grpc
from ticketing.tickets.v1 import event_pb2, purchase_pb2, purchase_service_pb2

BASH = shutil.which("bash") or "bash"
# A line that no command prints.
SEPARATOR = "\x1e"
SECONDS = 200


@dataclass(frozen=True)
class Site:
    """Both services, the relay, the payment provider and a webhook; `ports` are those of the runbook and the real ones."""

    pair: ServicePair
    stripe: StripeStandIn
    webhook: "Webhook"
    keys: DevelopmentKeys
    ports: Mapping[str, str]
    folder: Path

    def client(self, role: str, subject: str) -> ApiClient:
        return self.client_with(self.keys.token(role, subject))

    def client_with(self, token: str) -> ApiClient:
        return ApiClient(self._channel("TICKETS"), self._channel("SCANS"), token)

    @property
    def shop(self) -> ApiClient:
        return self.client("service", "shop")

    def on_sale(self, **fields: Any) -> event_pb2.Event:
        """Publish an event, and wait until the gates have it."""
        event = on_sale(self.client("organizer", "alice"), **fields)
        query = f"SELECT count(*) FROM events WHERE event_id = '{event.event_id}' AND status = 'PUBLISHED'"
        eventually(lambda: self.value("SCANS", query), 1)
        return event

    def buy(self, event: event_pb2.Event, quantity: int = 1, **fields: Any) -> purchase_pb2.Purchase:
        """Buy tickets that the shop was paid for, and wait until the gates have them."""
        request = purchase_request(event, quantity)
        for name, value in fields.items():
            if name == "metadata":
                request.metadata.update(value)
            else:
                setattr(request, name, value)
        purchase = self.shop.ask(self.shop.purchases.PurchaseTickets, request).purchase
        query = f"SELECT count(*) FROM tickets WHERE event_id = '{event.event_id}'"
        eventually(lambda: self.value("SCANS", query) >= quantity)
        return purchase

    def buy_by_card(self, event: event_pb2.Event) -> purchase_pb2.Purchase:
        """Buy a ticket that the payment provider charges."""
        request = purchase_request(event)
        request.ClearField("external_payment_id")
        request.payment_method_id = CARD
        held = self.shop.ask(self.shop.purchases.PurchaseTickets, request).purchase
        confirm = purchase_service_pb2.ConfirmPurchaseRequest(purchase_id=held.purchase_id)
        return self.shop.ask(self.shop.purchases.ConfirmPurchase, confirm).purchase

    def enroll(self, name: str) -> tuple[str, str]:
        """Enroll a gate device of the organizer; return its id and its access token."""
        stub = device_service_pb2_grpc.DeviceServiceStub(self._channel("SCANS"))
        creation = device_service_pb2.CreateDeviceRequest(name=name)
        created = self.client("organizer", "alice").ask(stub.CreateDevice, creation)
        enrollment = device_service_pb2.EnrollDeviceRequest(enrollment_code=created.enrollment_code)
        return created.device.device_id, stub.EnrollDevice(enrollment, timeout=10).access_token

    def url(self, prefix: str) -> URL:
        return make_url(self.pair.variables[f"{prefix}_DATABASE_URL"])

    def value(self, prefix: str, query: str) -> Any:
        return read_value(self.url(prefix), query)

    def run(self, commands: Sequence[Command], before: Sequence[Command], more: Mapping[str, str]) -> list[list[str]]:
        """Run commands in one shell after those of `before`; return the lines that each of them printed."""
        # The development environment of the test is complete, so make has nothing to install.
        script = ['make() { command make -o .venv/runtime "$@"; }', *(one.typed for one in before)]
        for one in commands:
            script += [f"echo '{SEPARATOR}'", one.typed]
        text = "\n".join(script)
        for of_the_page, real in self.ports.items():
            text = text.replace(of_the_page, real)
        done = subprocess.run(
            [BASH, "-c", text],
            cwd=self.folder,
            env={**self._environment(), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        printed = done.stdout
        for of_the_page, real in self.ports.items():
            printed = printed.replace(real, of_the_page)
        setting_up, *parts = printed.split(f"{SEPARATOR}\n")
        assert setting_up == ""
        return [part.splitlines() for part in parts]

    def _environment(self) -> dict[str, str]:
        folders = [Path(sys.executable).parent, find_programs()]
        path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
        return {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}",
            **self.pair.variables,
        }

    def _channel(self, prefix: str) -> grpc.Channel:
        return self.pair.stack.enter_context(grpc.insecure_channel(self.pair.address(prefix)))


@dataclass
class Webhook:
    """A webhook that answers every post with `status`."""

    url: str
    status: int = 204


@contextmanager
def listening_webhook() -> Iterator[Webhook]:
    hook = Webhook("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(hook.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


def new_id() -> str:
    return str(uuid.uuid4())
