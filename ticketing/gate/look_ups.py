"""The call that looks tickets up: it runs in a thread of its own, so that scans are answered meanwhile."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import grpc

from ticketing.admission.tickets import Ticket
from ticketing.gate.client import ScanServiceClient
from ticketing.gate.messages import ticket_of
from ticketing.gate.offline_decision import LOOK_UPS_NEED_CONNECTION
from ticketing.gate.refusal import error_text
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

# The scan service answers within about 2 seconds.
LOOK_UP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class FoundTicket:
    """A ticket that was found."""

    ticket: Ticket
    # The masked description of the holder.
    holder: str
    # The text that the device scans to admit the ticket.
    look_up_pass: str


@dataclass(frozen=True, slots=True)
class LookUpResult:
    """The answer to a look-up."""

    tickets: Sequence[FoundTicket] = ()
    # Further tickets match.
    more: bool = False
    # The reason why there is no answer; empty if there is one.
    problem: str = ""


LookUp = Callable[[str, Callable[[LookUpResult], None]], None]


class LookUps:
    """The look-ups of one gate."""

    def __init__(self, client: ScanServiceClient, is_reachable: Callable[[], bool]) -> None:
        self._client = client
        self._is_reachable = is_reachable

    def start(self, text: str, show: Callable[[LookUpResult], None]) -> None:
        """Look a text up and pass the result to `show`, in another thread."""
        threading.Thread(target=lambda: show(self.ask(text)), name="look-up", daemon=True).start()

    def ask(self, text: str) -> LookUpResult:
        """Look a text up."""
        if not self._is_reachable():
            return LookUpResult(problem=LOOK_UPS_NEED_CONNECTION)
        request = pb.LookUpTicketsRequest(gate=self._client.gate, query=text)
        metadata = self._client.credential.metadata()
        try:
            # A look-up is rare: a channel of its own needs no care for dead connections.
            with self._client.open_channel() as channel:
                stub = ScanServiceStub(channel)
                response = stub.LookUpTickets(request, timeout=LOOK_UP_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            return LookUpResult(problem=f"not looked up: {error_text(error, with_code=False)}")
        except (OSError, ValueError) as error:
            # A certificate file cannot be read, for example while it is replaced.
            return LookUpResult(problem=f"not looked up: the certificates cannot be used: {error}")
        event_id = UUID(self._client.gate.event_id)
        tickets = [
            FoundTicket(ticket_of(event_id, one.admission), one.holder, one.look_up_pass) for one in response.tickets
        ]
        return LookUpResult(tickets, response.more)
