"""The settings of the ticket service, read from environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ticket_service.adapters.payment_provider import ProviderSettings
from ticket_service.adapters.providers import read_provider_settings
from ticket_service.delivery.settings import DeliverySettings, read_delivery_settings
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
    # The changes of an event's times that give the right to a full refund.
    moves: MoveRules
    # The configured payment providers, by name.
    providers: Mapping[str, ProviderSettings]


def read_settings(environment: Environment) -> Settings:
    """Read all settings; `environment` collects the faults."""
    service = read_service_settings(environment, "TICKETS", PORT, METRICS_PORT)
    code_secret = environment.text("TICKETING_CODE_SECRET", min_length=SECRET_CHARACTERS)
    signing_key_file = environment.path("TICKETS_SIGNING_KEY_FILE", str(service.data_dir / "keys" / "signing.json"))
    sweep_seconds = environment.seconds("TICKETS_SWEEP_SECONDS", 1, minimum=0.01, maximum=3600)
    return Settings(
        service=service,
        code_secret=code_secret,
        scans_address=read_peer_address(environment, "TICKETS_SCANS_ADDRESS", "127.0.0.1:50052", service),
        delivery=read_delivery_settings(
            environment, code_secret=code_secret, signing_key_file=signing_key_file, interval_seconds=sweep_seconds
        ),
        signing_key_file=signing_key_file,
        sweep_seconds=sweep_seconds,
        hold_seconds=environment.seconds("TICKETS_HOLD_SECONDS", 600, minimum=1, maximum=86_400),
        moves=MoveRules(
            bound=timedelta(
                seconds=environment.seconds("TICKETS_MOVE_SECONDS", 10_800, minimum=0, maximum=YEAR_SECONDS)
            ),
            right=timedelta(
                seconds=environment.seconds("TICKETS_MOVE_REFUND_SECONDS", 1_209_600, minimum=0, maximum=YEAR_SECONDS)
            ),
        ),
        providers=read_provider_settings(environment),
        max_per_purchase=environment.number("TICKETS_MAX_PER_PURCHASE", 20, minimum=1, maximum=1000),
    )
