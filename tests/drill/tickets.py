"""What happens to sold tickets in a history, and to the keys that sign them."""

import uuid

import grpc

from tests.drill.callers import Callers
from tests.drill.log import Kind, TicketState
from tests.drill.site import TICKETS
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb


class Tickets:
    """The operations on tickets and keys; each returns False where it has no subject."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def cancel(self) -> bool | None:
        """Cancel a ticket, whose refund follows."""
        if (ticket := self._callers.choose(self._callers.tickets(is_open=True))) is None:
            return False
        self.cancel_ticket(ticket)
        return None

    def cancel_ticket(self, ticket: TicketState) -> None:
        """Cancel a ticket unless it was checked in."""
        request = tickets_pb.CancelTicketRequest(ticket_id=ticket.ticket_id)
        try:
            made = self._callers.shop.ask(self._callers.shop.tickets.CancelTicket, request).cancellation
        except grpc.RpcError:
            return
        facts = {"cancellation_id": made.cancellation_id, "refund": made.refund_amount.minor_units}
        self._callers.log.add(Kind.CANCELLED, ticket_id=ticket.ticket_id, **facts)

    def reissue(self) -> bool | None:
        """Reissue a ticket: older prints are void."""
        if (ticket := self._callers.choose(self._callers.tickets(is_open=True))) is None:
            return False
        request = tickets_pb.ReissueTicketRequest(ticket_id=ticket.ticket_id, request_id=str(uuid.uuid4()))
        try:
            made = self._callers.shop.ask(self._callers.shop.tickets.ReissueTicket, request).ticket
        except grpc.RpcError:
            # A ticket that was checked in or blocked keeps its print.
            return None
        self._callers.log.add(Kind.REISSUED, ticket_id=ticket.ticket_id, token=made.token, code=made.code)
        return None

    def block(self) -> bool | None:
        """Block a ticket."""
        return self._set_blocked(
            [one for one in self._callers.tickets(is_open=True) if not one.is_blocked], is_blocked=True
        )

    def unblock(self) -> bool | None:
        """Unblock a ticket."""
        return self._set_blocked(
            [one for one in self._callers.tickets(is_open=True) if one.is_blocked], is_blocked=False
        )

    def _set_blocked(self, among: list[TicketState], *, is_blocked: bool) -> bool | None:
        if (ticket := self._callers.choose(among)) is None:
            return False
        request = tickets_pb.SetTicketBlockedRequest(ticket_id=ticket.ticket_id, blocked=is_blocked)
        try:
            self._callers.organizer.ask(self._callers.organizer.tickets.SetTicketBlocked, request)
        except grpc.RpcError:
            # A ticket that was used cannot be blocked any more.
            return None
        self._callers.log.add(Kind.BLOCKED if is_blocked else Kind.UNBLOCKED, ticket_id=ticket.ticket_id)
        return None

    def add_key(self) -> None:
        """Add a key, which signs from now on."""
        status, output = self._callers.site.command_here(TICKETS, "rotate-keys")
        assert status == 0, output
        key_id = self._callers.site.read(TICKETS, "SELECT max(key_id) FROM signing_keys")
        self._callers.log.add(Kind.KEY_ADDED, key_id=key_id)
        self._callers.settle()

    def retire_key(self) -> bool | None:
        """Retire a key that no longer signs: gates deny its tokens."""
        world = self._callers.world
        old = sorted(world.keys - world.retired_keys)[:-1]
        if not old:
            return False
        self._callers.settle()
        status, output = self._callers.site.command_here(TICKETS, "retire-keys", str(old[0]))
        assert status == 0, output
        self._callers.log.add(Kind.KEY_RETIRED, key_id=old[0])
        self._callers.settle()
        return None
