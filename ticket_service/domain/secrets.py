"""What a ticket opens gates with; derived when needed, never stored."""

from dataclasses import dataclass

from ticket_service.domain.codes import Codes
from ticket_service.domain.tickets import Ticket
from ticket_service.domain.tokens import Signer


@dataclass(frozen=True, slots=True)
class Secrets:
    """What opens a gate."""

    code: str
    token: str


def secrets_of(ticket: Ticket, codes: Codes, signer: Signer) -> Secrets:
    """Derive a ticket's code and sign its token."""
    return Secrets(
        code=codes.code(ticket.ticket_id, ticket.issue),
        token=signer.token(ticket.event_id, ticket.ticket_id, ticket.ticket_type, ticket.issue),
    )
