"""The wallets of phones for which an operator has keys from Apple and Google.

Worker processes that draw get the keys in memory. No log, notification or cached file contains one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ticket_service.domain.tickets import TicketFormat

WALLET_FORMATS: Final = frozenset({TicketFormat.APPLE_WALLET, TicketFormat.GOOGLE_WALLET})


# The keys of an event's metadata that name a place, and the bounds of each in degrees.
PLACE_BOUNDS: Final = {"latitude": 90, "longitude": 180}


def place_faults(metadata: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the key and the fault of each wrong part of the place in an event's metadata, which passes show."""
    for name, bound in PLACE_BOUNDS.items():
        other = next(one for one in PLACE_BOUNDS if one != name)
        if name not in metadata:
            if other in metadata:
                yield name, f"is required with {other}"
            continue
        value = metadata[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not -bound <= value <= bound:
            yield name, f"is no number of degrees between -{bound} and {bound}"


@dataclass(frozen=True, slots=True)
class ApplePasses:
    """The means to sign passes of Apple Wallet."""

    pass_type_id: str
    team_id: str
    # The name that a phone shows as the issuer.
    organization: str
    # The certificate of the pass type, and Apple's intermediate certificate (WWDR) that signed it: PEM.
    certificate: bytes
    authority: bytes
    # An unencrypted PEM.
    key: bytes = field(repr=False)
    # The time when the first of both certificates expires; phones refuse passes that are signed later.
    expire_time: datetime
    # The base URL of the operator's service that updates passes; "": passes are not updated.
    web_service_url: str
    # The URL of the operator's shop at which a pass can be loaded, with "{ticket_id}"; "": mails have the pass alone.
    link: str
    # The secret from which the tokens of passes for that service are derived.
    token_secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GooglePasses:
    """The means to sign links that save tickets to Google Wallet."""

    issuer_id: str
    # The name that a phone shows as the issuer.
    issuer_name: str
    account_email: str
    # An unencrypted PEM.
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wallets:
    """The wallets for which tickets are issued; None: the operator has no keys for it."""

    apple: ApplePasses | None = None
    google: GooglePasses | None = None

    def draws(self, ticket_format: TicketFormat, now: datetime) -> bool:
        """Return whether a format can be drawn: those of wallets need valid keys, all others none."""
        match ticket_format:
            case TicketFormat.APPLE_WALLET:
                return self.apple is not None and now < self.apple.expire_time
            case TicketFormat.GOOGLE_WALLET:
                return self.google is not None
            case _:
                return True


NO_WALLETS: Final = Wallets()
