"""The callers of a history: shop, buyer and organizer, who repeat a call until they know its outcome, and their log."""

from random import Random
from typing import Any, Final

import grpc

from dev.clients import ApiClient
from tests.drill.log import Kind, Log, TicketState, World
from tests.drill.site import SCANS, SECONDS, Site
from tests.environment.waiting import eventually
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub

# After these errors the call may have been done.
UNKNOWN: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}


class PatientClient:
    """A client that repeats a call until it is acknowledged or refused: nobody knows the outcome of any other call."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.events, self.purchases = client.events, client.purchases
        self.tickets, self.scans = client.tickets, client.scans

    def ask(self, rpc: Any, request: Any) -> Any:
        """Make one call."""
        answers: list[Any] = []

        def is_answered() -> bool:
            try:
                answers.append(self._client.ask(rpc, request))
            except grpc.RpcError as error:
                if code_of(error) not in UNKNOWN:
                    raise
            return bool(answers)

        eventually(is_answered, seconds=SECONDS)
        return answers[0]


class Callers:
    """The callers of a site. Each part of a history adds what was acknowledged to their log."""

    def __init__(self, site: Site, random: Random) -> None:
        self.site, self.random = site, random
        self.log = Log()
        self.connect()

    def connect(self) -> None:
        """Connect the callers, also after a restart of the services."""
        self.organizer, self.shop, self.alice = (
            PatientClient(self.site.caller(*by))
            for by in (("organizer", "olga"), ("service", "shop"), ("user", "alice"))
        )
        self.devices = DeviceServiceStub(self.site.channel(SCANS))

    @property
    def world(self) -> World:
        """Return the state that the log adds up to."""
        return self.log.world()

    def settle(self) -> None:
        """Wait until both services have everything of each other."""
        self.site.settle()
        self.log.add(Kind.SETTLED)

    def choose(self, among: list[Any]) -> Any:
        """Choose one at random; None where there is none."""
        return self.random.choice(among) if among else None

    def events(self, status: str) -> list[str]:
        """Return the events with a status."""
        return [event.event_id for event in self.world.events.values() if event.status == status]

    def tickets(self, event_id: str = "", *, is_open: bool = False) -> list[TicketState]:
        """Return the tickets, of one event or all; the open ones are those that are not cancelled."""
        world = self.world
        return [
            ticket
            for ticket in world.tickets.values()
            if ticket.event_id == (event_id or ticket.event_id)
            and not (is_open and (ticket.cancellation_id or world.events[ticket.event_id].status == "CANCELLED"))
        ]


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of a failed call."""
    assert isinstance(error, grpc.Call)
    code: grpc.StatusCode = error.code()
    return code
