"""Issue tickets: derive their code, sign their token and digest both."""

from dataclasses import dataclass

from ticket_service.domain.codes import Codes
from ticket_service.domain.secrets import Digests, Secrets, digests_of, secrets_of
from ticket_service.domain.tickets import Ticket
from ticket_service.use_cases.keys import SigningKeys


@dataclass(frozen=True, slots=True)
class Issuing:
    """The secret of codes and the keys of tokens."""

    codes: Codes
    keys: SigningKeys

    def secrets(self, ticket: Ticket) -> Secrets:
        """Derive the code and sign the token of a ticket's current issue."""
        return secrets_of(ticket, self.codes, self.keys.signer())

    def digests(self, secrets: Secrets) -> Digests:
        """Return the digests that the database stores of them."""
        return digests_of(secrets, self.codes)
