"""What a ticket opens gates with; derived when needed, never stored."""

from dataclasses import dataclass

from ticket_service.domain.codes import Codes
from ticket_service.domain.tickets import Ticket
from ticket_service.domain.tokens import Signer, token_digest


@dataclass(frozen=True, slots=True)
class Secrets:
    """What opens a gate."""

    code: str
    token: str


@dataclass(frozen=True, slots=True)
class Digests:
    """What databases hold of it, for look-up."""

    code: bytes
    token: bytes


def digests_of(secrets: Secrets, codes: Codes) -> Digests:
    """Return what the database is to hold."""
    return Digests(codes.digest(secrets.code), token_digest(secrets.token))


def secrets_of(ticket: Ticket, codes: Codes, signer: Signer) -> Secrets:
    """Derive a ticket's code and sign its token."""
    return Secrets(
        code=codes.code(ticket.ticket_id, ticket.issue),
        token=signer.token(ticket.event_id, ticket.ticket_id, ticket.ticket_type, ticket.issue),
    )
