"""Code and token of a ticket, which open a gate; derived when needed, never stored."""

from dataclasses import dataclass

from ticket_service.domain.codes import Codes
from ticket_service.domain.tickets import Ticket
from ticket_service.domain.tokens import Signer, token_digest


@dataclass(frozen=True, slots=True)
class Secrets:
    """The code and the token of one issue of a ticket."""

    code: str
    token: str


@dataclass(frozen=True, slots=True)
class Digests:
    """The digests that databases store of them, for look-up."""

    code: bytes
    token: bytes


def digests_of(secrets: Secrets, codes: Codes) -> Digests:
    """Return the digests that the database stores."""
    return Digests(codes.digest(secrets.code), token_digest(secrets.token))


def secrets_of(ticket: Ticket, codes: Codes, signer: Signer) -> Secrets:
    """Derive the code and sign the token of a ticket's current issue."""
    return Secrets(
        code=codes.code(ticket.ticket_id, ticket.issue),
        token=signer.token(ticket.event_id, ticket.ticket_id, ticket.ticket_type, ticket.issue),
    )
