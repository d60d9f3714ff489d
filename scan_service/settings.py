"""The settings of the scan service."""

from dataclasses import dataclass

from ticketing.chassis.service_settings import (
    SECRET_CHARACTERS,
    ServiceSettings,
    read_peer_address,
    read_service_settings,
)
from ticketing.chassis.settings import Environment


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the scan service, read once at the start."""

    service: ServiceSettings
    # Both services share the secret, and derive the same codes from it.
    code_secret: str
    tickets_address: str
    # The number of live scans that one stream may have unanswered.
    max_outstanding_scans: int
    # The number of offline scans that one stream may have unanswered.
    max_outstanding_uploads: int
    # The number of scans of all callers that may wait for a batch, for live and for offline scans each.
    max_waiting_scans: int
    # The number of unknown codes that one device may scan in a minute.
    max_failed_codes: int
    # The number of look-ups of one device or person in a minute; 0: this service allows none.
    max_look_ups: int


def read_settings(environment: Environment) -> Settings:
    """Read the settings; `environment.check()` raises the errors of all of them."""
    service = read_service_settings(environment, "SCANS", 50052, 9465)
    return Settings(
        service=service,
        code_secret=environment.text("TICKETING_CODE_SECRET", min_length=SECRET_CHARACTERS),
        tickets_address=read_peer_address(environment, "SCANS_TICKETS_ADDRESS", "127.0.0.1:50051", service),
        max_outstanding_scans=environment.number("SCANS_MAX_OUTSTANDING", 64, minimum=1, maximum=10_000),
        max_outstanding_uploads=environment.number("SCANS_MAX_UPLOADS", 1_000, minimum=500, maximum=100_000),
        max_waiting_scans=environment.number("SCANS_MAX_WAITING", 10_000, minimum=1, maximum=1_000_000),
        max_failed_codes=environment.number("SCANS_MAX_FAILED_CODES", 60, minimum=1, maximum=100_000),
        max_look_ups=environment.number("SCANS_MAX_LOOK_UPS", 20, minimum=0, maximum=1_000),
    )
