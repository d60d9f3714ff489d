"""Scenarios of faults at gates, of cancellations beside them, and of work that waited for a stranger's lock.

A scenario ends where the checks begin, as in `replays_sales`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Thread
from time import monotonic
from typing import Final

from tests.environment.waiting import eventually
from tests.faults.gate_checks import attendance, feed
from tests.faults.gates import StreamGate, offline_admission
from tests.faults.site import SCANS, TICKETS
from tests.faults.stage import Stage
from tests.faults.world import SoldTicket
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb

REVOCATIONS, REPORTS = "tickets-0 to scans-0", "scans-0 to tickets-0"
# Shorter than the time after which a gate connects again.
LOCK_SECONDS: Final = 3.5


def late_annulment(stage: Stage) -> None:
    """Upload an admission that its device annulled later than AnnulScan permits, and cancel the ticket."""
    [ticket] = stage.sell(stage.event(0), 1)
    stage.await_replica()
    token = ticket.tokens[-1][1]
    minutes = stage.random.choice([20, 40, 90])
    stage.gate().upload(ticket, [offline_admission(token, minutes, is_annulled=True)])
    stage.holder.cancel(ticket)
    stage.settle()


def annulment_after_the_event(stage: Stage) -> None:
    """Annul a check-in after the cancellation of its event has passed over the ticket."""
    event = stage.event(is_doomed=True)
    ticket, *_ = stage.sell(event, stage.random.choice([1, 2]))
    stage.await_replica()
    gate = stage.gate()
    scan_id = gate.scan(ticket, *ticket.tokens[-1])
    stage.expect("unreported check-ins")
    stage.organizer.cancel_event()
    stage.expect("event cancellations")
    gate.annul(ticket, scan_id)
    stage.settle()


def draft_at_the_gates(stage: Stage) -> None:
    """Scan a ticket whose event is still a draft in the scan service, because the network between both is away."""
    event = stage.organizer.create(0, 1_000)
    stage.await_at_gates(event, "DRAFT")
    with _cut(stage, REPORTS):
        stage.organizer.open_sale(event)
        for ticket in stage.sell(event, stage.random.choice([1, 2, 3])):
            stage.gate().scan(ticket, *ticket.tokens[-1])
    stage.settle()


def annulment_after_the_cancellation(stage: Stage, *, is_admitted_again: bool = False) -> None:
    """Cancel a ticket between its check-in and the report that the check-in was annulled."""
    [ticket] = stage.sell(stage.event(0), 1)
    stage.await_replica()
    gate = stage.gate()
    with _cut(stage, REVOCATIONS):
        stage.holder.cancel(ticket)
        scan_id = gate.scan(ticket, *ticket.tokens[-1])
        stage.expect("unreported check-ins")
        stage.site.links[REPORTS].refuse()
        gate.annul(ticket, scan_id)
    stage.expect("cancellations")
    if is_admitted_again:
        gate.upload(ticket, [offline_admission(ticket.tokens[-1][1], 1, is_annulled=False)])
    stage.settle()


def scans_beside_a_locked_event(stage: Stage) -> None:
    """Lock an event at the gates, while guests of this and of another event are scanned."""
    locked, other = stage.event(0), stage.event(0)
    own = stage.sell(locked, 1)
    others = [ticket for _ in range(4) for ticket in stage.sell(other, 3)]
    stage.await_replica()
    ends = monotonic() + LOCK_SECONDS
    gates = [Thread(target=_scan_until, args=(stage.gate(0), own, ends))]
    gates += [Thread(target=_scan_until, args=(stage.gate(1 + i), others[i::4], ends)) for i in range(4)]
    with stage.locked_event(SCANS, locked):
        for gate in gates:
            gate.start()
        eventually(lambda: monotonic() > ends)
    for gate in gates:
        gate.join()
    stage.settle()


def _scan_until(gate: StreamGate, tickets: list[SoldTicket], ends: float) -> None:
    while monotonic() < ends:
        for ticket in tickets:
            gate.scan(ticket, *ticket.tokens[-1])


def feed_beside_a_locked_ticket(stage: Stage) -> None:
    """Lock a ticket at the gates, while it is blocked and tickets of another event are sold."""
    locked, other = stage.event(0), stage.event(0)
    [ticket] = stage.sell(locked, 1)
    stage.await_replica()
    with stage.locked_ticket(SCANS, ticket):
        with _cut(stage, REPORTS):
            stage.office.call(
                "SetTicketBlocked", tickets_pb.SetTicketBlockedRequest(ticket_id=ticket.ticket_id, blocked=True)
            )
            stage.sell(other, stage.random.choice([1, 2, 3]))
        stage.check(partial(feed, followers=()), only=[other])
    stage.settle()


def reports_beside_a_locked_ticket(stage: Stage) -> None:
    """Lock a ticket in the ticket service, while it and tickets of another event are checked in."""
    locked, other = stage.event(0), stage.event(0)
    [own], others = stage.sell(locked, 1), stage.sell(other, stage.random.choice([1, 2, 3]))
    stage.await_replica()
    gate = stage.gate()
    with stage.locked_ticket(TICKETS, own):
        with _cut(stage, REPORTS):
            for ticket in (own, *others):
                gate.scan(ticket, *ticket.tokens[-1])
        stage.check(attendance, only=[other])
    stage.settle()


def second_restore_of_the_scans(stage: Stage) -> None:
    """Restore the scans twice, the second time to a moment at which the first recovery was open."""
    event = stage.event(0)
    first, second = stage.sell(event, 2)
    stage.await_replica()
    lane = stage.lane(event)
    for ticket in (first, second):
        moment, backup = datetime.now(UTC).isoformat(), stage.back_up(SCANS)
        # Only the device has the admission after the restore: the ticket service gets no report.
        stage.site.links[REPORTS].refuse()
        lane.scan(ticket)
        stage.restore(backup, partial(_recover_scans, stage, moment))
        # The device answers this recovery, which stays open.
        stage.site.command(SCANS, "recover", "--wait", "30")
    stage.site.command(SCANS, "recover", "--close")
    stage.settle()


def _recover_scans(stage: Stage, since: str) -> None:
    stage.site.links[REPORTS].heal()
    stage.site.command(SCANS, "recover", "--since", since)


@contextmanager
def _cut(stage: Stage, name: str) -> Iterator[None]:
    """Refuse the connections of a link while a block runs."""
    stage.site.links[name].refuse()
    try:
        yield
    finally:
        stage.site.links[name].heal()
