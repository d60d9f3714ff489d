"""Wallet files need keys that are valid, and a place on a pass needs two numbers of degrees."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import NOW
from ticket_service.domain.tickets import TicketFormat
from ticket_service.domain.wallets import NO_WALLETS, ApplePasses, GooglePasses, Wallets, place_faults

APPLE = ApplePasses(
    pass_type_id="pass.com.example.tickets",
    team_id="TEAM",
    organization="Hall",
    certificate=b"",
    authority=b"",
    key=b"",
    expire_time=NOW + timedelta(days=1),
    web_service_url="",
    link="",
    token_secret=b"",
)
GOOGLE = GooglePasses("3388", "Hall", "wallet@example.com", b"")
PLACE = {"latitude": 48.1, "longitude": 11.6}


@pytest.mark.parametrize("ticket_format", TicketFormat)
def test_without_keys_every_format_but_those_of_wallets_is_drawn(ticket_format):
    is_of_wallet = ticket_format in {TicketFormat.APPLE_WALLET, TicketFormat.GOOGLE_WALLET}
    assert NO_WALLETS.draws(ticket_format, NOW) is (not is_of_wallet)


def test_each_wallet_needs_its_own_keys():
    apple, google = Wallets(apple=APPLE), Wallets(google=GOOGLE)
    assert apple.draws(TicketFormat.APPLE_WALLET, NOW)
    assert google.draws(TicketFormat.GOOGLE_WALLET, NOW)
    assert not apple.draws(TicketFormat.GOOGLE_WALLET, NOW)
    assert not google.draws(TicketFormat.APPLE_WALLET, NOW)


def test_no_pass_of_apple_is_signed_with_an_expired_certificate():
    wallets = Wallets(apple=APPLE, google=GOOGLE)
    last = APPLE.expire_time - timedelta(microseconds=1)
    assert wallets.draws(TicketFormat.APPLE_WALLET, last)
    assert not wallets.draws(TicketFormat.APPLE_WALLET, APPLE.expire_time)
    assert wallets.draws(TicketFormat.GOOGLE_WALLET, APPLE.expire_time)


def test_no_key_stands_in_the_text_of_a_wallet():
    wallets = Wallets(replace(APPLE, key=b"key-a", token_secret=b"key-b"), replace(GOOGLE, key=b"key-c"))
    assert "key-" not in repr(wallets)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"other": 1},
        PLACE,
        {"latitude": 90, "longitude": 180},
        {"latitude": -90, "longitude": -180.0},
        {"latitude": 0, "longitude": 0},
    ],
)
def test_an_event_has_a_place_or_none(metadata):
    assert list(place_faults(metadata)) == []


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"latitude": 1}, ["longitude"]),
        ({"longitude": 1}, ["latitude"]),
        ({**PLACE, "latitude": 90.1}, ["latitude"]),
        ({**PLACE, "latitude": -90.1}, ["latitude"]),
        ({**PLACE, "longitude": 180.1}, ["longitude"]),
        ({**PLACE, "longitude": -180.1}, ["longitude"]),
        ({**PLACE, "latitude": "48.1"}, ["latitude"]),
        ({**PLACE, "latitude": True}, ["latitude"]),
        ({**PLACE, "latitude": None}, ["latitude"]),
        ({**PLACE, "latitude": float("nan")}, ["latitude"]),
        ({"latitude": 91, "longitude": 181}, ["latitude", "longitude"]),
        ({"latitude": 91}, ["latitude", "longitude"]),
        ({"longitude": 181}, ["latitude", "longitude"]),
    ],
)
def test_each_wrong_part_of_a_place_is_named(metadata, names):
    assert [name for name, _ in place_faults(metadata)] == names


def test_the_fault_of_a_place_names_what_is_right():
    assert list(place_faults({"latitude": 1})) == [("longitude", "is required with latitude")]
    assert list(place_faults({"longitude": 1})) == [("latitude", "is required with longitude")]
