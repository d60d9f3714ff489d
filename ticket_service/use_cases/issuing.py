"""Making what tickets open gates with, and what the database holds of it."""

from dataclasses import dataclass

from ticket_service.domain.codes import Codes
from ticket_service.domain.secrets import Digests, Secrets, digests_of, secrets_of
from ticket_service.domain.tickets import Ticket
from ticket_service.use_cases.keys import SigningKeys


@dataclass(frozen=True, slots=True)
class Issuing:
    """What a ticket is issued with."""

    codes: Codes
    keys: SigningKeys

    def secrets(self, ticket: Ticket) -> Secrets:
        """Derive the code and sign the token of a ticket's present issue."""
        return secrets_of(ticket, self.codes, self.keys.signer())

    def digests(self, secrets: Secrets) -> Digests:
        """Return what the database holds of them."""
        return digests_of(secrets, self.codes)
