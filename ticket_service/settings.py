"""The settings of the ticket service, read from environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from ticket_service.adapters.payment_provider import ProviderSettings
from ticket_service.adapters.providers import read_provider_settings
from ticket_service.delivery.settings import DeliverySettings, read_delivery_settings
from ticket_service.domain.customers import CustomerBounds
from ticket_service.domain.event_changes import ChangeRules
from ticket_service.domain.looks import LookSettings
from ticket_service.domain.terms import MoveRules
from ticketing.chassis.service_settings import (
    SECRET_CHARACTERS,
    ServiceSettings,
    read_peer_address,
    read_service_settings,
)
from ticketing.chassis.settings import Environment

PORT = 50051
METRICS_PORT = 9464
YEAR_SECONDS = 31_536_000
# The largest bound per customer, as in the contract.
MAX_PLACES = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one ticket service."""

    service: ServiceSettings
    # The secret from which both services derive typed codes.
    code_secret: str
    # The host:port of the scan service.
    scans_address: str
    delivery: DeliverySettings
    # The file of the private keys that sign tokens; the first start creates it.
    signing_key_file: Path
    # The pause between two sweeps for unfinished work.
    sweep_seconds: float
    # The bound of tickets of one type in one purchase; an offer may have a lower bound.
    max_per_purchase: int
    # The duration of a hold.
    hold_seconds: float
    changes: ChangeRules
    # The bounds per customer and event; an event may have its own.
    customers: CustomerBounds
    # The configured payment providers, by name.
    providers: Mapping[str, ProviderSettings]
    # The interval and the window of the reconciler.
    looks: LookSettings
    # An open dispute blocks the tickets of its purchase.
    blocks_disputed: bool
    # The port on which providers send events; None: the service takes none.
    webhook_port: int | None


def read_relay_settings(environment: Environment) -> Settings:
    """Read the settings of a relay alone: it exports its metrics on a port of its own."""
    settings = read_settings(environment)
    return replace(settings, service=replace(settings.service, metrics_port=settings.delivery.metrics_port))


def read_settings(environment: Environment) -> Settings:
    """Read all settings; `environment` collects the faults."""
    service = read_service_settings(environment, "TICKETS", PORT, METRICS_PORT)
    code_secret = environment.text("TICKETING_CODE_SECRET", min_length=SECRET_CHARACTERS)
    signing_key_file = environment.path("TICKETS_SIGNING_KEY_FILE", str(service.data_dir / "keys" / "signing.json"))
    sweep_seconds = environment.seconds("TICKETS_SWEEP_SECONDS", 1, minimum=0.01, maximum=3600)
    providers = read_provider_settings(environment)
    delivery = read_delivery_settings(
        environment,
        code_secret=code_secret,
        signing_key_file=signing_key_file,
        interval_seconds=sweep_seconds,
        drain_seconds=service.listen.drain_seconds,
    )
    max_per_purchase = environment.number("TICKETS_MAX_PER_PURCHASE", 20, minimum=1, maximum=1000)
    return Settings(
        service=service,
        code_secret=code_secret,
        scans_address=read_peer_address(environment, "TICKETS_SCANS_ADDRESS", "127.0.0.1:50052", service),
        delivery=delivery,
        signing_key_file=signing_key_file,
        sweep_seconds=sweep_seconds,
        hold_seconds=environment.seconds("TICKETS_HOLD_SECONDS", 600, minimum=1, maximum=86_400),
        providers=providers,
        looks=_read_look_settings(environment),
        blocks_disputed=environment.flag("TICKETS_BLOCK_DISPUTED"),
        webhook_port=_read_webhook_port(environment, providers),
        changes=_read_changes(environment, delivery.page.logos),
        max_per_purchase=max_per_purchase,
        customers=_read_customer_bounds(environment, max_per_purchase),
    )


def _read_look_settings(environment: Environment) -> LookSettings:
    seconds = environment.seconds("TICKETS_RECONCILE_SECONDS", 300, minimum=1, maximum=86_400)
    days = environment.number("TICKETS_RECONCILE_DAYS", 35, minimum=1, maximum=365)
    return LookSettings(timedelta(seconds=seconds), timedelta(days=days))


def _read_webhook_port(environment: Environment, providers: Mapping[str, ProviderSettings]) -> int | None:
    if environment.optional("TICKETS_PROVIDER_WEBHOOK_PORT") is None:
        return None
    if not any(provider.takes_webhooks for provider in providers.values()):
        environment.fault("TICKETS_PROVIDER_WEBHOOK_PORT", "is set, but no provider has a webhook secret")
    return environment.port("TICKETS_PROVIDER_WEBHOOK_PORT", 0)


def _read_customer_bounds(environment: Environment, max_per_purchase: int) -> CustomerBounds:
    max_held = environment.number("TICKETS_MAX_HELD_PER_CUSTOMER", max_per_purchase, minimum=0, maximum=MAX_PLACES)
    window = environment.seconds("TICKETS_UNPAID_SECONDS", 3600, minimum=1, maximum=86_400)
    return CustomerBounds(
        max_held=max_held,
        max_tickets=environment.number("TICKETS_MAX_TICKETS_PER_CUSTOMER", 0, minimum=0, maximum=MAX_PLACES),
        max_unpaid=environment.number("TICKETS_MAX_UNPAID_PER_CUSTOMER", 3 * max_held, minimum=0, maximum=MAX_PLACES),
        unpaid_window=timedelta(seconds=window),
    )


def _read_changes(environment: Environment, logos: Path | None) -> ChangeRules:
    correction, bound, right = (
        timedelta(seconds=environment.seconds(name, default, minimum=0, maximum=YEAR_SECONDS))
        for name, default in (
            ("TICKETS_CORRECTION_SECONDS", 2_592_000),
            ("TICKETS_MOVE_SECONDS", 10_800),
            ("TICKETS_MOVE_REFUND_SECONDS", 1_209_600),
        )
    )
    return ChangeRules(correction, MoveRules(bound, right), logos)
