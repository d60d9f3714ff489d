"""Tests of annulments: what prevents one, and those that uploads claim."""

import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scan_service.domain.annulment import WINDOW, Annulment, find_obstacle, settle_annulments
from scan_service.domain.incidents import IncidentKind, assign_conflicts
from tests.scanning.cases import EVENT, MICROSECOND
from tests.scanning.records import recorded
from ticketing.admission.scans import Scan, ScanType, Verdict
from ticketing.admission.tickets import TicketType

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVENT_ID = uuid.UUID(int=1)
IN, OUT, ACCESS = ScanType.CHECK_IN, ScanType.CHECK_OUT, ScanType.ACCESS


def scan(minute: float, kind: ScanType = IN, *, claim: float | None = None, **values: Any) -> Scan:
    """Make an admitted offline scan, whose device says that it annulled the scan `claim` minutes after noon."""
    usual: dict[str, Any] = {
        "scan_id": uuid.uuid4(),
        "gate_event_id": EVENT_ID,
        "fingerprint": b"",
        "code": "",
        "scan_type": kind,
        "verdict": Verdict.ADMITTED,
        "denial_reason": None,
        "ticket_id": uuid.UUID(int=3),
        "event_id": EVENT_ID,
        "ticket_type": TicketType.STANDARD,
        "scan_time": NOON + minute * MINUTE,
        "record_time": NOON,
        "location": "North",
        "scanner_user_id": "sam",
        "metadata": {},
        "offline": True,
        "claimed_annul_time": None if claim is None else NOON + claim * MINUTE,
    }
    return Scan(**(usual | values))


def annulled(*scans: Scan) -> list[Scan]:
    """Return those of `scans` that are annulled; the order in which they arrived makes no difference."""
    ids = [{one.scan_id for one in settle_annulments(order) if one.annul_time} for order in (scans, scans[::-1])]
    assert ids[0] == ids[1]
    return [one for one in scans if one.scan_id in ids[0]]


def test_a_claim_within_fifteen_minutes_annuls_the_scan():
    soon, late = scan(0, claim=15), scan(0, claim=15.1)
    assert annulled(soon) == [soon]
    assert annulled(late) == []


@pytest.mark.parametrize("kind", [IN, OUT, ACCESS])
def test_a_claim_after_another_scan_of_the_ticket_is_refused(kind):
    entry = scan(0, claim=5)
    assert annulled(entry, scan(5, kind)) == []
    assert annulled(entry, scan(6, kind)) == [entry]


def test_an_annulled_later_scan_does_not_refuse_a_claim():
    entry, exit_again = scan(0, claim=5), scan(3, OUT, claim=4)
    assert annulled(entry, exit_again) == [entry, exit_again]
    # The later claim is refused, so the later scan is in effect, and the earlier claim is refused too.
    assert annulled(entry, scan(3, OUT, claim=4), scan(3.5)) == []


def test_denied_scans_do_not_refuse_a_claim():
    entry = scan(0, claim=5)
    assert annulled(entry, scan(3, verdict=Verdict.DENIED)) == [entry]


def test_annulments_without_a_claim_are_kept():
    by_the_service = scan(0, annul_time=NOON + 2 * WINDOW)
    assert annulled(by_the_service, scan(1, OUT)) == [by_the_service]


def test_refused_claims_alone_are_incidents():
    refused, allowed = scan(0, claim=20), scan(30, claim=31)
    found = list(assign_conflicts(EVENT, settle_annulments([refused, allowed])))
    assert [(one.kind, one.scan_id) for one in found] == [(IncidentKind.INVALID_ANNULMENT, refused.scan_id)]


def test_settled_scans_settle_to_the_same_result():
    chance = random.Random(20261129)
    for _ in range(200):
        scans = [
            scan(chance.randrange(20), chance.choice((IN, OUT)), claim=chance.choice((None, *range(40))))
            for _ in range(6)
        ]
        settled = settle_annulments(scans)
        chance.shuffle(scans)
        assert settle_annulments(settled) == settled == settle_annulments(scans)


GATE = Annulment(uuid.uuid4(), "handheld", "sam", None, frozenset(), unlimited_at=None, unlimited=False)


def obstacle(*scans: Scan, later: timedelta = MINUTE, limited: bool = True) -> str | None:
    """Return what prevents the annulment of the first scan, some time after noon."""
    return find_obstacle(scans[0], scans, GATE, NOON + later, limited=limited)


def test_a_gate_annuls_its_own_scan_within_15_minutes():
    assert obstacle(recorded(0)) is None
    assert obstacle(recorded(0), later=WINDOW) is None
    assert obstacle(recorded(0), later=WINDOW + MICROSECOND) == "it is older than 15 minutes"


@pytest.mark.parametrize("other", [{"device_id": "turnstile"}, {"scanner_user_id": "sue"}])
def test_a_gate_annuls_no_scan_of_another_device_or_person(other):
    assert obstacle(recorded(0, **other)) == "it was made by another device"


def test_a_gate_annuls_only_the_latest_scan_in_effect():
    entry = recorded(0)
    assert obstacle(entry, recorded(0.5, OUT)) == "it is not the ticket's latest"
    assert obstacle(entry, recorded(-1), recorded(-2)) is None
    assert obstacle(entry, recorded(0.5, annul_time=NOON), recorded(0.6, verdict=Verdict.DENIED)) is None


def test_the_limits_of_a_gate_bind_no_organizer():
    scans = (recorded(0, device_id="turnstile"), recorded(1))
    assert obstacle(*scans, later=2 * WINDOW, limited=False) is None


@pytest.mark.parametrize("limited", [True, False])
def test_a_denied_scan_is_not_annulled(limited):
    denied = recorded(0, verdict=Verdict.DENIED, device_id="turnstile")
    assert obstacle(denied, limited=limited) == "it was denied anyway"


@pytest.mark.parametrize(
    ("caller", "limited"),
    [
        ({}, True),
        ({"unlimited_at": "orga"}, False),
        ({"unlimited_at": "another"}, True),
        ({"unlimited": True}, False),
        ({"unlimited": True, "unlimited_at": "another"}, False),
    ],
)
def test_the_limits_of_a_gate_apply_unless_the_caller_has_the_event(caller, limited):
    assert replace(GATE, **caller).is_limited("orga") is limited
