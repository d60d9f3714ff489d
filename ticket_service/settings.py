"""What the ticket service can be told by its environment."""

from dataclasses import dataclass, field
from pathlib import Path

from ticket_service.delivery.settings import NotificationSettings, read_notification_settings
from ticketing.chassis.service_settings import (
    SECRET_CHARACTERS,
    ServiceSettings,
    read_peer_address,
    read_service_settings,
)
from ticketing.chassis.settings import Environment

PORT = 50051
METRICS_PORT = 9464


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one ticket service."""

    service: ServiceSettings
    # Typed codes are derived under it; the scan service has the same.
    code_secret: str
    # host:port of the scan service.
    scans_address: str
    notifications: NotificationSettings
    # Holds the private key that signs tokens; made at the first start.
    signing_key_file: Path
    # How often cancellations that a crash left between are looked for.
    sweep_seconds: float
    # Tickets of one type in one purchase, where an offer says nothing else.
    max_per_purchase: int
    # How long places are kept until they are paid.
    hold_seconds: float
    # Stripe's secret key; None: there are no card payments. Not in a log, whatever is logged of the settings.
    stripe_key: str | None = field(repr=False)
    stripe_api_base: str


def read_settings(environment: Environment) -> Settings:
    """Read them all; what is wrong is collected in `environment`."""
    service = read_service_settings(environment, "TICKETS", PORT, METRICS_PORT)
    return Settings(
        service=service,
        code_secret=environment.text("TICKETING_CODE_SECRET", min_length=SECRET_CHARACTERS),
        scans_address=read_peer_address(environment, "TICKETS_SCANS_ADDRESS", "127.0.0.1:50052", service),
        notifications=read_notification_settings(environment),
        signing_key_file=environment.path("TICKETS_SIGNING_KEY_FILE", str(service.data_dir / "keys" / "signing.json")),
        sweep_seconds=environment.seconds("TICKETS_SWEEP_SECONDS", 1, minimum=0.01, maximum=3600),
        hold_seconds=environment.seconds("TICKETS_HOLD_SECONDS", 600, minimum=1, maximum=86_400),
        stripe_key=environment.optional("TICKETS_STRIPE_KEY"),
        stripe_api_base=environment.text("TICKETS_STRIPE_API_BASE", "https://api.stripe.com"),
        max_per_purchase=environment.number("TICKETS_MAX_PER_PURCHASE", 20, minimum=1, maximum=1000),
    )
