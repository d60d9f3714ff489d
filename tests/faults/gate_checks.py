"""The promises on gates, the feed and devices, checked from outside."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import inf

from tests.faults import ticket_model as model
from tests.faults.evidence import CANCELLED, REJECTED, Evidence, end_of
from tests.faults.feed import Follower
from tests.faults.lanes import Lane
from tests.faults.record import Operation
from tests.faults.site import SCANS, TICKETS
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import ticket_pb2

# An incident of one of these kinds says that a person got in who should not.
ADMISSION_INCIDENTS = frozenset(
    {
        scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION,
        scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION,
        scan_pb2.INCIDENT_KIND_UNKNOWN_ADMISSION,
        scan_pb2.INCIDENT_KIND_INVALID_ADMISSION,
    }
)
# A sale or scan that began so long before the end of a lock, and was answered so soon after it, has waited for it.
STUCK_SECONDS, RELEASE_SECONDS, MIN_STUCK = 1.5, 0.5, 3
# The states of tickets as the feed numbers them.
STATE = "CASE status WHEN 'ACTIVE' THEN 1 WHEN 'CANCELLED' THEN 4 WHEN 'REFUNDED' THEN 5 ELSE 6 END"


def admissions(it: Evidence) -> Iterator[str]:
    """Check promises 4 to 6: an order of the operations explains every answer of gates and cancellations."""
    for ticket_id, steps in linearizable(it).items():
        if model.explain(steps) is None:
            yield f"no order explains the answers about ticket {ticket_id}:{model.shown(steps)}"


def linearizable(it: Evidence) -> dict[str, list[model.Step]]:
    """Return the operations on each ticket about which no device decided alone."""
    steps: dict[str, list[model.Step]] = defaultdict(list)
    for operation in it.operations:
        ticket_id = operation.facts.get("ticket_id", "")
        if ticket_id not in it.offline_tickets and (step := _step(it, operation)) is not None:
            steps[ticket_id].append(step)
    for ticket_id, of_ticket in steps.items():
        ticket = it.stored.tickets.get(ticket_id)
        begin = None if ticket is None else it.closed.get(ticket.event_id)
        if begin is not None:
            # The cancellation of an event also cancels its tickets.
            of_ticket += [model.Step(kind, begin, inf, None) for kind in (model.CLOSE, model.CANCEL)]
    return steps


def _step(it: Evidence, operation: Operation) -> model.Step | None:  # noqa: PLR0911 - one case for each kind
    is_open = operation.answered is None
    if not is_open and not operation.is_done:
        return None
    begin, end, answer = operation.sent, end_of(operation), operation.answer
    match operation.kind:
        case "scan" | "lane scan":
            scan_id = _scan_id(operation)
            if (not scan_id and not is_open) or answer.get("repeated"):
                # The handheld showed its last answer again, or it had none.
                return None
            result = None if is_open else _result(operation)
            return model.Step(model.SCAN, begin, end, result, str(operation.facts["issue"]), scan_id)
        case "annul" | "lane annul" if is_open or answer["annulled"]:
            return model.Step(model.ANNUL, begin, end, None if is_open else "", operation.facts["scan_id"])
        case "cancel":
            return _cancel_step(it, operation)
        case "reissue" | "transfer":
            return model.Step(operation.kind, begin, end, None if is_open else str(answer["issue"]))
    return None


def _cancel_step(it: Evidence, operation: Operation) -> model.Step | None:
    if operation.answered is None:
        return model.Step(model.CANCEL, operation.sent, inf, None)
    made = it.stored.cancellations.get(operation.answer["cancellation_id"])
    if made is None or made.status == REJECTED:
        return None
    # A PENDING cancellation takes effect at some time after the answer.
    is_pending = operation.answer["status"] == ticket_pb2.CANCELLATION_STATUS_PENDING
    return model.Step(model.CANCEL, operation.sent, inf if is_pending else operation.answered, "")


def _result(operation: Operation) -> str:
    if operation.answer["admitted"]:
        return model.ADMITTED
    # A ticket without a price is cancelled without a refund.
    return "REFUNDED" if operation.answer["reason"] == "CANCELLED" else str(operation.answer["reason"])


def _scan_id(operation: Operation) -> str:
    return str(operation.facts.get("scan_id") or operation.answer.get("scan_id", ""))


def shown_scans(it: Evidence) -> Iterator[str]:
    """Check promises 3 and 7: each answer that a gate showed is recorded, or its own upload replaced it."""
    for operation in it.done("scan", "lane scan"):
        scan_id = _scan_id(operation)
        if operation.answer.get("repeated") or not scan_id:
            continue
        if operation.answer.get("fault"):
            yield f"scan {scan_id}: {operation.answer['fault']}"
        stored = it.stored.scans.get(scan_id)
        if stored is None:
            yield f"a scan that was shown is lost: {operation.facts} {operation.answer}"
        elif (stored.verdict == scan_pb2.VERDICT_ADMITTED) != operation.answer["admitted"]:
            yield f"scan {scan_id} was shown as {operation.answer}, and is recorded as {stored.verdict}"
    # An annulment that a device delivers after a later scan stays without effect, and becomes an incident.
    invalid = _in_incidents(it, scan_pb2.INCIDENT_KIND_INVALID_ANNULMENT)
    for operation in it.done("annul", "lane annul"):
        scan_id = operation.facts["scan_id"]
        stored = it.stored.scans.get(scan_id)
        is_annulled = stored is not None and stored.HasField("annul_time")
        if operation.answer["annulled"] and not is_annulled and scan_id not in invalid:
            yield f"the annulment of scan {scan_id} is lost"


def _in_incidents(it: Evidence, *kinds: int) -> set[str]:
    """Return the ids of the scans in incidents of some kinds."""
    return {scan.scan_id for one in it.stored.incidents if one.kind in kinds for scan in one.scans}


def uploads(it: Evidence) -> Iterator[str]:
    """Check promise 7: each upload is recorded as shown, and annuls nothing that AnnulScan would keep."""
    invalid = _in_incidents(it, scan_pb2.INCIDENT_KIND_INVALID_ANNULMENT)
    for operation in it.done("upload"):
        scan_id = operation.facts["scan_id"]
        stored = it.stored.scans.get(scan_id)
        if stored is None or stored.verdict != scan_pb2.VERDICT_ADMITTED:
            yield f"the uploaded scan {scan_id} is lost"
        elif operation.facts["is_late"] and (stored.HasField("annul_time") or scan_id not in invalid):
            yield f"the uploaded scan {scan_id} was annulled beyond the bound, or without an incident"


def strangers(it: Evidence) -> Iterator[str]:
    """Check promise 11: while the row of one event is locked, sales or scans of other events are answered.

    Other faults delay answers too, so a lock counts only in a run whose one kind of fault it is.
    """
    free, stuck = 0, 0
    for lock in it.of("lock"):
        end = end_of(lock)
        for work in it.of("scan" if lock.facts["service"] == SCANS else "buy"):
            is_other = work.facts["event_id"] != lock.facts["event_id"]
            if lock.facts["alone"] and is_other and lock.sent < work.sent < end - STUCK_SECONDS:
                free += end_of(work) < end
                stuck += end <= end_of(work) < end + RELEASE_SECONDS
    if stuck >= MIN_STUCK:
        yield f"{stuck} sales or scans waited for a stranger's lock, and {free} did not"


def conflicts(it: Evidence) -> Iterator[str]:
    """Check promises 5 and 7: a person who got in although they should not have is in an incident."""
    in_incidents = _in_incidents(it, *ADMISSION_INCIDENTS)
    for event in it.world.events:
        for ticket_id, standing in it.stored.standing(event.event_id).items():
            is_reported = any(scan.scan_id in in_incidents for scan in standing)
            ticket = it.stored.tickets.get(ticket_id)
            if ticket is None:
                yield f"a gate admitted a ticket that was never sold: {ticket_id}"
            elif len(standing) > 1 and not is_reported:
                yield f"ticket {ticket_id} was admitted {len(standing)} times without an incident"
            elif ticket.status in CANCELLED and not is_reported:
                yield f"ticket {ticket_id} was cancelled and admitted without an incident"


def attendance(it: Evidence) -> Iterator[str]:
    """Check that the counts of both services are those of the records."""
    for event_id, counted in it.stored.attendance.items():
        standing = it.stored.standing(event_id)
        if counted.checked_in != len(standing) or counted.inside != len(standing):
            yield (
                f"event {event_id} counts {counted.checked_in} checked in and {counted.inside} inside,"
                f" and {len(standing)} tickets have standing admissions"
            )
        own = [one for one in it.stored.tickets.values() if one.event_id == event_id]
        # An admission of a cancelled ticket is an incident, and no check-in for the ticket service.
        cancelled = {one.ticket_id for one in own if one.status in CANCELLED}
        reported = {one.ticket_id for one in own if one.HasField("check_in_time")}
        if differing := reported ^ (standing.keys() - cancelled):
            yield f"event {event_id}: check-ins differ in the ticket service: {differing}"


GATE_CHECKS = (admissions, shown_scans, uploads, strangers, conflicts, attendance)


def feed(it: Evidence, followers: Sequence[Follower]) -> Iterator[str]:
    """Check promise 8: whoever follows the feed has the state of every ticket."""
    own = ", ".join(f"'{one.event_id}'" for one in it.world.events)
    columns = f"ticket_id::text, revision, issue, {STATE}"
    rows = it.site.rows(TICKETS, f"SELECT {columns} FROM tickets WHERE event_id IN ({own})")
    table = {ticket_id: tuple(state) for ticket_id, *state in rows}
    for follower in followers:
        if missing := [one for one, state in table.items() if follower.tickets.get(one) != state]:
            states = [(one, table[one], follower.tickets.get(one)) for one in missing[:3]]
            yield f"the feed left out {len(missing)} of {len(table)} tickets: {states}"
    # Gates keep the issue that a reissue has revoked, also where the ticket was cancelled before the reissue was settled.
    columns = f"ticket_id::text, (revision, CASE status WHEN 'ACTIVE' THEN issue END, {STATE})::text"
    sold, known = (
        dict(it.site.rows(service, f"SELECT {columns} FROM tickets WHERE event_id IN ({own}) {only}"))
        for service, only in ((TICKETS, ""), (SCANS, "AND known"))
    )
    if differing := set(sold.items()) ^ set(known.items()):
        yield f"the scan service has other tickets: {sorted(differing)[:4]}"


def devices(it: Evidence, lanes: Sequence[Lane]) -> Iterator[str]:
    """Check that each device has the admissions of its event."""
    for lane in lanes:
        columns = "ticket_id::text, issue, inside, status"
        yield from lane.differences(
            it.site.rows(SCANS, f"SELECT {columns} FROM tickets WHERE event_id = '{lane.event_id}' AND known")
        )
