"""The code and the token of a ticket. A gate admits either, so the service stores only their digests."""

from dataclasses import dataclass

from ticket_service.domain.codes import Codes
from ticket_service.domain.tickets import Ticket
from ticket_service.domain.tokens import Signer


@dataclass(frozen=True, slots=True)
class Secrets:
    """The code and the token of one issue of a ticket."""

    code: str
    token: str


@dataclass(frozen=True, slots=True)
class Digests:
    """The digests of a code and a token, which databases store for look-up."""

    code: bytes
    token: bytes


def secrets_of(ticket: Ticket, codes: Codes, signer: Signer) -> Secrets:
    """Derive the code and sign the token of a ticket's current issue."""
    return Secrets(
        code=codes.code(ticket.ticket_id, ticket.issue),
        token=signer.token(ticket.event_id, ticket.ticket_id, ticket.ticket_type, ticket.issue),
    )
