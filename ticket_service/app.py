"""Compose the ticket service: database, use cases, servicers, sweepers and the relay."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from sqlalchemy.engine import URL

from ticket_service.adapters.drawers import Drawers, DrawingLimits
from ticket_service.adapters.external import ExternalPayments
from ticket_service.adapters.payment_provider import PaymentProvider, ProviderHistory, Providers
from ticket_service.adapters.providers import RULES
from ticket_service.adapters.scans import ScanServiceClient
from ticket_service.convert.tickets import TicketMessages
from ticket_service.delivery.app import DeliveryApp
from ticket_service.delivery.backlog import INTERVAL_SECONDS, BacklogMetrics
from ticket_service.domain.calendar_entries import organizer_of
from ticket_service.domain.codes import Codes
from ticket_service.domain.purchases import EXTERNAL
from ticket_service.errors import CATALOGUE
from ticket_service.policy import POLICY, REFUSED_IN_RECOVERY
from ticket_service.servicers.changes import ChangeServicer
from ticket_service.servicers.erasures import ErasureServicer
from ticket_service.servicers.events import EventServicer, EventUseCases
from ticket_service.servicers.feed import FeedServicer
from ticket_service.servicers.purchases import PurchaseServicer
from ticket_service.servicers.tickets import TicketChanges, TicketServicer
from ticket_service.settings import Settings
from ticket_service.store.sales import STATEMENTS
from ticket_service.use_cases.cancellation_preview import CancellationPreviews
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.changes import Changes
from ticket_service.use_cases.confirmations import Confirmations
from ticket_service.use_cases.contacts import Contacts
from ticket_service.use_cases.erasures import Erasures
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticket_service.use_cases.events import Events
from ticket_service.use_cases.feed import Feed
from ticket_service.use_cases.figures import INTERVAL_SECONDS as FIGURES_SECONDS
from ticket_service.use_cases.figures import FiguresExport
from ticket_service.use_cases.gate_replica import GateReplicas
from ticket_service.use_cases.holds import Holds
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import LOOK_SECONDS, SigningKeys
from ticket_service.use_cases.look_ups import LookUps
from ticket_service.use_cases.payment_records import PaymentRecords
from ticket_service.use_cases.payments import Payments
from ticket_service.use_cases.provider_sweeps import ProviderSweep, ProviderWork, UnconfiguredSweep
from ticket_service.use_cases.purchases import Purchases
from ticket_service.use_cases.reconciler import Reconciler
from ticket_service.use_cases.reconciliation import Reconciliation
from ticket_service.use_cases.recovery_guard import LOOK_SECONDS as RECOVERY_LOOK_SECONDS
from ticket_service.use_cases.recovery_guard import RecoveryGuard
from ticket_service.use_cases.refund_confirmations import RefundConfirmations
from ticket_service.use_cases.refunds import Refunds
from ticket_service.use_cases.reissues import Reissues
from ticket_service.use_cases.rendering import Rendering
from ticket_service.use_cases.sales import Sales, SaleSettings
from ticket_service.use_cases.ticket_refunds import TicketRefunds
from ticket_service.use_cases.tickets import Tickets
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.health import Health
from ticketing.chassis.loop_connection import LoopConnection
from ticketing.chassis.server import RegisterServicer, Server
from ticketing.chassis.service import call_interceptor
from ticketing.chassis.tasks import Sweepable, Tasks
from ticketing.tickets.v1 import (
    change_service_pb2_grpc,
    erasure_service_pb2_grpc,
    event_service_pb2_grpc,
    purchase_service_pb2_grpc,
    ticket_feed_service_pb2_grpc,
    ticket_service_pb2_grpc,
)

# The threads, and so the connections, of each kind of work. A kind waits for no other kind.
CALL_THREADS = 6
# Reports and the poll of the feed, and the reads of its streams.
FEED_THREADS = 2
# One for the look, one for compared payments and events.
RECONCILER_THREADS = 2
LOOK_UP_THREADS = 2
NAME_THREADS = 1
# The longest wait for a locked row. Sales batches lock an event for some hundredths of a second, and a batch of an event
# cancellation for a quarter.
SALES_LOCK_MILLISECONDS = {"lock_timeout": 1_000}
LOCK_MILLISECONDS = {"lock_timeout": 2_000}
# A report may wait twice. The scan service gives the call up after CALL_SECONDS and repeats it, so with longer waits one
# locked ticket would stop the reports of all.
REPORT_LOCK_MILLISECONDS = {"lock_timeout": 400}


class App:
    """One ticket service on its migrated database."""

    def __init__(self, settings: Settings, url: URL, clock: Clock = system_clock) -> None:
        self._settings = settings
        self._url = url
        self._clock = clock
        self.tasks = Tasks()
        self.health = Health(self.tasks)
        # The port of the listener for the providers' events; None: it does not run.
        self.webhook_port: int | None = None
        # The stack closes in reverse order.
        self._opened = AsyncExitStack()
        self._guard = RecoveryGuard(Database(url, "ticket_service recovery state", 1), clock)

    async def start(self) -> int:
        """Start serving; return the port.

        Raises:
            SettingsError: the signing key file cannot be used.
        """
        self._opened.push_async_callback(self.tasks.stop)
        await self._guard.sweep()
        self._always("recovery", self._guard, RECOVERY_LOOK_SECONDS)
        database = self._database("calls", CALL_THREADS)
        feed_database = self._database("feed", FEED_THREADS, REPORT_LOCK_MILLISECONDS)
        feed = Feed(feed_database, self._clock, self._guard)
        feed.start(self.tasks)
        self._opened.push_async_callback(feed.stop)
        keys = await SigningKeys.open(database, self._settings.signing_key_file, self._clock, self._guard.refusal)
        self._always("signing_keys", keys, LOOK_SECONDS)
        messages = TicketMessages(Codes(self._settings.code_secret), keys.signer, self._clock)
        peer = self._settings.service.peer(self._settings.scans_address)
        self._opened.push_async_callback(peer.close)
        scans = ScanServiceClient(peer)
        cancellations = Cancellations(database, scans, self._clock, feed.wake)
        self._sweep("cancellations", cancellations)
        issuing = Issuing(messages.codes, keys)
        reissues = Reissues(database, scans, issuing, self._clock, feed.wake)
        self._sweep("reissues", reissues)
        providers = self._providers()
        hold = timedelta(seconds=self._settings.hold_seconds)
        sale_settings = SaleSettings(issuing, self._settings.max_per_purchase, hold, self._settings.customers)
        records = PaymentRecords(issuing, lambda: sale_settings.context(self._clock()))
        holds = Holds(database, records, lambda: sale_settings.context(self._clock()), feed.wake)
        self._sweep("holds", holds)
        reconciliation = Reconciliation(
            database, holds, self._clock, feed.wake, blocks_disputed=self._settings.blocks_disputed
        )
        refunds = Refunds(database, providers, reconciliation, self._clock)
        self._sweep_providers("refunds", refunds)
        await self._reconcile(reconciliation)
        confirmations = Confirmations(database, records, self._clock, feed.wake)
        payments = Payments(database, holds, confirmations, providers, self._clock)
        self._sweep_providers("payments", payments)
        changes = TicketChanges(
            cancellations,
            reissues,
            refunds,
            TicketRefunds(database, self._clock),
            RefundConfirmations(database, self._clock),
        )
        self._always("figures", FiguresExport(self._database("figures", 1), self._clock), FIGURES_SECONDS)
        services = {
            **self._event_service(database, feed, scans, cancellations),
            **self._purchase_service(database, feed, messages, sale_settings, payments),
            **self._ticket_service(database, messages, changes),
            **self._feed_service(feed_database, feed),
            **_change_service(database),
            **self._erasure_service(scans),
        }
        interceptor = call_interceptor(
            self._settings.service, POLICY, CATALOGUE, self._clock, self.tasks, check_method=self._check_method
        )
        server = Server(self._settings.service.listen, interceptor, services, self.health)
        await self._relay(database)
        port = await server.start()
        self._opened.push_async_callback(server.drain, feed.drain)
        return port

    async def stop(self) -> None:
        """Drain, then close everything."""
        await self._opened.aclose()

    def _database(self, pool: str, threads: int, limits: Mapping[str, int] = LOCK_MILLISECONDS) -> Database:
        """Make a pool of its own, which connects with its first work."""
        database = Database(self._url, f"ticket_service {pool}", threads, limits, self._guard.refusal)
        self._opened.push_async_callback(database.close)
        return database

    def _providers(self) -> Providers:
        providers: dict[str, PaymentProvider] = {EXTERNAL: ExternalPayments()}
        for name, settings in self._settings.providers.items():
            providers[name] = settings.connect()
            self._opened.push_async_callback(providers[name].close)
        return providers

    async def _reconcile(self, reconciliation: Reconciliation) -> None:
        """Start the reconciler of all providers with records and, with a port, the listener for their events."""
        histories: dict[str, ProviderHistory] = {}
        for name, provider in self._settings.providers.items():
            if (history := provider.history()) is not None:
                histories[name] = history
                self._opened.push_async_callback(history.close)
        if not histories:
            return
        # A pool of its own: neither a whole look nor many events delay a caller.
        database = self._database("reconciler", RECONCILER_THREADS)
        for name, history in histories.items():
            # One for each provider, so that a provider that hangs delays no comparison of another.
            reconciler = Reconciler(database, {name: history}, reconciliation, self._settings.looks, self._clock)
            self._sweep(f"reconciler.{name}", reconciler)
        if self._settings.webhook_port is not None:
            providers = self._settings.providers.items()
            parsers = {name: provider.webhook_parser() for name, provider in providers if provider.takes_webhooks}
            # aiohttp takes 0.2 s to load, so only a process with the port loads it.
            from ticket_service.adapters.webhook_listener import WebhookListener  # noqa: PLC0415 - see above

            listen = self._settings.service.listen
            listener = WebhookListener(listen, self._settings.webhook_port, parsers, reconciler.wake, self.tasks)
            self.webhook_port = await listener.start()
            self._opened.push_async_callback(listener.stop)

    async def _relay(self, database: Database) -> None:
        """Start the built-in relay or, by default, look whether a relay runs elsewhere."""
        if self._settings.delivery.is_built_in:
            delivery = DeliveryApp(self._settings.delivery, self._url, self._clock, self.tasks, self._guard)
            self._opened.push_async_callback(delivery.stop)
            await delivery.start()
        else:
            self._always("backlog", BacklogMetrics(database, self._clock), INTERVAL_SECONDS)

    def _sweep(self, name: str, work: Sweepable) -> None:
        """Sweep work that pauses while the database is recovered."""
        self._always(name, self._guard.pausing(work), self._settings.sweep_seconds)

    def _always(self, name: str, work: Sweepable, interval_seconds: float) -> None:
        task = self.tasks.sweep(name, work, interval_seconds)
        self._opened.push_async_callback(task.stop)

    def _check_method(self, method: str) -> None:
        if method in REFUSED_IN_RECOVERY:
            self._guard.check()

    def _sweep_providers(self, name: str, work: ProviderWork) -> None:
        for provider in self._settings.providers:
            self._sweep(f"{name}.{provider}", ProviderSweep(work, provider))
        self._sweep(f"{name}.unconfigured", UnconfiguredSweep(work))

    def _event_service(
        self, database: Database, feed: Feed, scans: ScanServiceClient, cancellations: Cancellations
    ) -> dict[str, RegisterServicer]:
        event_cancellations = EventCancellations(database, scans, cancellations, self._settings.changes, self._clock)
        self._sweep("event_cancellations", event_cancellations)
        rules = {name: RULES[name] for name in self._settings.providers}
        events = Events(database, self._settings.changes, rules, self._clock, feed.wake)
        previews = CancellationPreviews(
            self._database("previews", 1), self._settings.providers, self._settings.changes, self._clock
        )
        use_cases = EventUseCases(events, event_cancellations, previews, GateReplicas(database, scans))
        servicer = EventServicer(use_cases, self._clock, self._settings.max_per_purchase)
        register = event_service_pb2_grpc.add_EventServiceServicer_to_server
        return {"ticketing.tickets.v1.EventService": partial(register, servicer)}

    def _purchase_service(
        self, database: Database, feed: Feed, messages: TicketMessages, sale_settings: SaleSettings, payments: Payments
    ) -> dict[str, RegisterServicer]:
        connection = LoopConnection(self._url, "ticket_service sales", STATEMENTS, SALES_LOCK_MILLISECONDS)
        sales = Sales(connection, sale_settings, self._clock, feed.wake, self._guard.check)
        self._opened.push_async_callback(sales.close)
        contacts, smtputf8 = Contacts(database, self._clock), self._settings.delivery.smtputf8
        servicer = PurchaseServicer(
            sales, payments, Purchases(database, self._clock), contacts, messages, smtputf8=smtputf8
        )
        register = purchase_service_pb2_grpc.add_PurchaseServiceServicer_to_server
        return {"ticketing.tickets.v1.PurchaseService": partial(register, servicer)}

    def _ticket_service(
        self, database: Database, messages: TicketMessages, changes: TicketChanges
    ) -> dict[str, RegisterServicer]:
        delivery = self._settings.delivery
        drawers = Drawers("calls", DrawingLimits(delivery.drawing_workers), delivery.wallets)
        self._opened.push_async_callback(drawers.close)
        organizer = organizer_of(delivery.mail_from)
        rendering = Rendering(drawers, delivery.mail_language, delivery.page, delivery.wallets)
        smtputf8 = delivery.smtputf8
        tickets = Tickets(database, organizer, self._clock)
        servicer = TicketServicer(tickets, rendering, changes, messages, smtputf8=smtputf8)
        register = ticket_service_pb2_grpc.add_TicketServiceServicer_to_server
        return {"ticketing.tickets.v1.TicketService": partial(register, servicer)}

    def _feed_service(self, database: Database, feed: Feed) -> dict[str, RegisterServicer]:
        searching = self._database("look-ups", LOOK_UP_THREADS)
        # Names are read by key; they wait for no search, and no search waits for them.
        names = self._database("names of holders", NAME_THREADS)
        servicer = FeedServicer(database, names, feed, LookUps(searching, self._clock), self._clock)
        register = ticket_feed_service_pb2_grpc.add_TicketFeedServiceServicer_to_server
        return {"ticketing.tickets.v1.TicketFeedService": partial(register, servicer)}

    def _erasure_service(self, scans: ScanServiceClient) -> dict[str, RegisterServicer]:
        # A pool of its own: an erasure of many rows delays no caller.
        erasures = Erasures(self._database("erasures", 1), scans, self._clock)
        self._sweep("erasures", erasures)
        register = erasure_service_pb2_grpc.add_ErasureServiceServicer_to_server
        return {"ticketing.tickets.v1.ErasureService": partial(register, ErasureServicer(erasures))}


def _change_service(database: Database) -> dict[str, RegisterServicer]:
    register = change_service_pb2_grpc.add_ChangeServiceServicer_to_server
    return {"ticketing.tickets.v1.ChangeService": partial(register, ChangeServicer(Changes(database)))}
