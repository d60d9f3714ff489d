"""The composition root: everything the ticket service is made of, put together once."""

from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from sqlalchemy.engine import URL

from ticket_service.adapters.no_provider import External, Free
from ticket_service.adapters.scans import RemoteScans
from ticket_service.convert.tickets import TicketMessages
from ticket_service.delivery.app import DeliveryApp
from ticket_service.domain.codes import Codes
from ticket_service.domain.purchases import Provider
from ticket_service.errors import CATALOGUE
from ticket_service.policy import POLICY
from ticket_service.servicers.events import EventServicer
from ticket_service.servicers.feed import FeedServicer
from ticket_service.servicers.purchases import PurchaseServicer
from ticket_service.servicers.tickets import TicketChanges, TicketServicer
from ticket_service.settings import Settings
from ticket_service.store.sales import STATEMENTS
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticket_service.use_cases.events import Catalog
from ticket_service.use_cases.feed import Feed
from ticket_service.use_cases.holds import Holds
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import LOOK_SECONDS, SigningKeys
from ticket_service.use_cases.payments import PaymentProvider, Payments, Providers
from ticket_service.use_cases.purchases import Purchases
from ticket_service.use_cases.refunds import Refunds
from ticket_service.use_cases.reissues import Reissues
from ticket_service.use_cases.sales import Sales, SaleTerms
from ticket_service.use_cases.tickets import Tickets
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.loop_connection import LoopConnection
from ticketing.chassis.server import RegisterServicer, Server
from ticketing.chassis.service import call_interceptor
from ticketing.chassis.sweeper import Sweepable, Sweeper
from ticketing.tickets.v1 import (
    event_service_pb2_grpc,
    purchase_service_pb2_grpc,
    ticket_feed_service_pb2_grpc,
    ticket_service_pb2_grpc,
)


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
        """Serve; return the port.

        Raises:
            SettingsError: the signing key file cannot be used.
        """
        database = Database(self._url, "ticket_service")
        self._opened.push_async_callback(database.close)
        feed = Feed(database, self._clock)
        feed.start()
        self._opened.push_async_callback(feed.stop)
        keys = await SigningKeys.open(database, self._settings.signing_key_file, self._clock)
        looking = Sweeper(keys, LOOK_SECONDS)
        looking.start()
        self._opened.push_async_callback(looking.stop)
        messages = TicketMessages(Codes(self._settings.code_secret), keys, self._clock)
        peer = self._settings.service.peer(self._settings.scans_address)
        self._opened.push_async_callback(peer.close)
        scans = RemoteScans(peer)
        cancellations = Cancellations(database, scans, self._clock, feed.wake)
        self._sweep(cancellations)
        issuing = Issuing(messages.codes, messages.keys)
        reissues = Reissues(database, scans, issuing, self._clock, feed.wake)
        self._sweep(reissues)
        providers = self._providers()
        refunds = Refunds(database, providers, self._clock)
        self._sweep(refunds)
        terms = SaleTerms(issuing, self._settings.max_per_purchase, timedelta(seconds=self._settings.hold_seconds))
        holds = Holds(database, issuing, lambda: terms.at(self._clock()), feed.wake)
        self._sweep(holds)
        payments = Payments(database, holds, providers, self._clock)
        self._sweep(payments)
        services = {
            **self._event_service(database, feed, scans, cancellations),
            **self._purchase_service(database, feed, messages, terms, payments),
            **self._ticket_service(database, messages, TicketChanges(cancellations, reissues, holds, refunds)),
            **self._feed_service(database, feed),
        }
        server = Server(
            self._settings.service.listen,
            call_interceptor(self._settings.service, POLICY, CATALOGUE, self._clock),
            services,
        )
        await self._relay()
        port = await server.start()
        self._opened.push_async_callback(server.drain, feed.drain)
        return port

    async def stop(self) -> None:
        """Drain, then let go of everything."""
        await self._opened.aclose()

    def _providers(self) -> Providers:
        providers: dict[Provider, PaymentProvider] = {Provider.FREE: Free(), Provider.EXTERNAL: External()}
        if self._settings.stripe_key is not None:
            from ticket_service.adapters.stripe_payments import (  # noqa: PLC0415 - half a second, for who needs it
                StripePayments,
            )

            stripe = StripePayments(self._settings.stripe_key, self._settings.stripe_api_base)
            self._opened.push_async_callback(stripe.close)
            providers[Provider.STRIPE] = stripe
        return providers

    async def _relay(self) -> None:
        if self._settings.delivery.is_built_in:
            delivery = DeliveryApp(self._settings.delivery, self._url, self._clock)
            self._opened.push_async_callback(delivery.stop)
            await delivery.start()

    def _sweep(self, work: Sweepable) -> None:
        sweeper = Sweeper(work, self._settings.sweep_seconds)
        sweeper.start()
        self._opened.push_async_callback(sweeper.stop)

    def _event_service(
        self, database: Database, feed: Feed, scans: RemoteScans, cancellations: Cancellations
    ) -> dict[str, RegisterServicer]:
        event_cancellations = EventCancellations(database, scans, cancellations, self._clock, feed.wake)
        self._sweep(event_cancellations)
        catalog = Catalog(database, self._clock, feed.wake)
        servicer = EventServicer(catalog, event_cancellations, self._clock, self._settings.max_per_purchase)
        register = event_service_pb2_grpc.add_EventServiceServicer_to_server
        return {"ticketing.tickets.v1.EventService": partial(register, servicer)}

    def _purchase_service(
        self, database: Database, feed: Feed, messages: TicketMessages, terms: SaleTerms, payments: Payments
    ) -> dict[str, RegisterServicer]:
        connection = LoopConnection(self._url, "ticket_service sales", STATEMENTS)
        sales = Sales(connection, terms, self._clock, feed.wake)
        self._opened.push_async_callback(sales.close)
        servicer = PurchaseServicer(sales, payments, Purchases(database), messages)
        register = purchase_service_pb2_grpc.add_PurchaseServiceServicer_to_server
        return {"ticketing.tickets.v1.PurchaseService": partial(register, servicer)}

    def _ticket_service(
        self, database: Database, messages: TicketMessages, changes: TicketChanges
    ) -> dict[str, RegisterServicer]:
        servicer = TicketServicer(Tickets(database, self._clock), changes, messages)
        register = ticket_service_pb2_grpc.add_TicketServiceServicer_to_server
        return {"ticketing.tickets.v1.TicketService": partial(register, servicer)}

    def _feed_service(self, database: Database, feed: Feed) -> dict[str, RegisterServicer]:
        servicer = FeedServicer(database, feed, self._clock)
        register = ticket_feed_service_pb2_grpc.add_TicketFeedServiceServicer_to_server
        return {"ticketing.tickets.v1.TicketFeedService": partial(register, servicer)}
