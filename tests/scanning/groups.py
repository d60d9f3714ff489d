"""Groups of tickets, for tests that admit them by one scan."""

import uuid
from dataclasses import dataclass, replace

from tests.scanning.gates import ScansDatabase, ShownTicket, token_of
from ticketing.tickets.v1 import event_pb2

GROUP = event_pb2.TICKET_TYPE_GROUP


@dataclass(frozen=True)
class Group:
    """The GROUP tickets of one purchase, by id."""

    event_id: uuid.UUID
    tickets: list[ShownTicket]

    def ids(self, *numbers: int) -> list[str]:
        return [str(self.tickets[number].ticket_id) for number in numbers]


def make_group(database: ScansDatabase, event_id: uuid.UUID, size: int, **values) -> Group:
    made = []
    purchase_id = uuid.uuid4()
    for _ in range(size):
        ticket = database.ticket(event_id, ticket_type="GROUP", purchase_id=purchase_id, digest=False, **values)
        made.append(replace(ticket, token=token_of(database.key, event_id, ticket.ticket_id, kind=GROUP)))
    return Group(event_id, sorted(made, key=lambda ticket: ticket.ticket_id))
