"""Derive the codes of tickets, sign their tokens and digest both."""

from dataclasses import dataclass

from ticket_service.domain.codes import Codes
from ticket_service.domain.secrets import Digests, Secrets, secrets_of
from ticket_service.domain.tickets import Ticket
from ticket_service.domain.tokens import token_digest
from ticket_service.use_cases.keys import SigningKeys


@dataclass(frozen=True, slots=True)
class Issuing:
    """The secret from which codes are derived, and the keys that sign tokens."""

    codes: Codes
    keys: SigningKeys

    def secrets(self, ticket: Ticket) -> Secrets:
        """Derive the code and sign the token of a ticket's current issue."""
        return secrets_of(ticket, self.codes, self.keys.signer())

    def digests(self, secrets: Secrets) -> Digests:
        """Return the digests that the database stores."""
        return Digests(self.codes.digest(secrets.code), token_digest(secrets.token))
