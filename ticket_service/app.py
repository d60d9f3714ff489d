"""The composition root: everything the ticket service is made of, put together once."""

from contextlib import AsyncExitStack

from sqlalchemy.engine import URL

from chassis.authentication import Authenticator, Expected, KeySet
from chassis.calls import CallInterceptor, Limit
from chassis.clock import Clock, system_clock
from chassis.database import Database
from chassis.server import Register, Server
from ticket_service.catalog import Catalog
from ticket_service.errors import CATALOGUE
from ticket_service.policy import POLICY
from ticket_service.servicers.events import EventServicer
from ticket_service.settings import Settings
from ticketing.tickets.v1 import event_service_pb2_grpc


class App:
    """One ticket service.

    Args:
        settings: its own.
        url: its database, migrated.
        clock: the present time.
    """

    def __init__(self, settings: Settings, url: URL, clock: Clock = system_clock) -> None:
        self._settings = settings
        self._url = url
        self._clock = clock
        # What has been opened, closed in reverse order.
        self._opened = AsyncExitStack()

    async def start(self) -> int:
        """Serve; return the port."""
        database = Database(self._url, "ticket_service")
        self._opened.push_async_callback(database.close)
        server = Server(self._settings.service.listen, self._interceptor(), self._services(database))
        port = await server.start()
        self._opened.push_async_callback(server.drain, lambda: None)
        return port

    async def stop(self) -> None:
        """Drain, then let go of everything."""
        await self._opened.aclose()

    def _services(self, database: Database) -> dict[str, Register]:
        catalog = Catalog(database, self._clock, lambda: None)
        events = EventServicer(catalog, self._clock, self._settings.max_per_purchase)  # type: ignore[abstract]  # not all RPCs are built yet
        return {
            "ticketing.tickets.v1.EventService": (
                lambda server: event_service_pb2_grpc.add_EventServiceServicer_to_server(events, server)
            ),
        }

    def _interceptor(self) -> CallInterceptor:
        settings = self._settings.service
        authenticator = Authenticator(
            KeySet(settings.jwks_file, self._clock),
            Expected(settings.issuer, settings.audience, settings.roles_claim),
            settings.peer_secret,
            self._clock,
        )
        return CallInterceptor(authenticator, POLICY, CATALOGUE, Limit(settings.max_calls))
