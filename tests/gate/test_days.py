"""Devices at an event of several days, online and offline."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.environment.waiting import eventually
from tests.scanning.gates import NOW
from ticketing.admission.scans import DenialReason
from ticketing.gate.answer_text import text_line
from ticketing.gate.device_clock import Boot

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def event_id(database):
    """Make an event whose day changes in two to three hours."""
    return database.event(
        admission_policy="ONCE_PER_DAY",
        time_zone="Europe/Berlin",
        day_change_hour=(NOW.astimezone(BERLIN) + 3 * HOUR).hour,
        valid_until_time=NOW + timedelta(days=9),
    )


@pytest.fixture
def device(wifi, new_handheld, event_id, venue_clock, issuer):
    """Connect a device that has the event's rules."""
    metadata = issuer.metadata("scanner", "sam", exp=NOW + timedelta(days=9))
    boot = Boot("boot", lambda: venue_clock() - NOW + HOUR)
    made = new_handheld(wifi.address, event_id, clock=venue_clock, boot=boot, metadata=metadata).connect().follow()
    eventually(lambda: made.store.rules(event_id) is not None)
    return made


def test_an_online_admission_allows_an_offline_one_on_the_next_day(database, wifi, office, device, venue_clock):
    event_id = device.gate.event_id
    token = database.ticket(event_id).token
    assert device.scan(token).may_pass
    wifi.pull()
    assert device.scan(token).reason is DenialReason.ALREADY_CHECKED_IN
    # Nobody scanned the exit.
    venue_clock.advance(4 * HOUR)
    assert device.scan(token).may_pass
    assert device.scan(token).reason is DenialReason.ALREADY_CHECKED_IN
    wifi.plug_in()
    eventually(lambda: device.store.queue_length() == 0)
    assert office.incidents(event_id) == []
    # The service has the second day too.
    eventually(lambda: device.state == "ONLINE")
    assert device.scan(token).reason is DenialReason.ALREADY_CHECKED_IN


def test_times_are_shown_in_the_zone_of_the_event(database, device, event_id):
    token = database.ticket(event_id).token
    device.scan(token)
    denied = device.scan(token)
    shown = denied.previous.time.astimezone(BERLIN)
    assert f"at {shown:%H:%M:%S}, one" in text_line(denied)
    assert denied.zone == BERLIN
