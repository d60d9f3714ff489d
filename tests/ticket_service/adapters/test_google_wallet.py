from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest

from tests.environment.qr_codes import read_qr_codes
from tests.selling.pass_schemas import SaveClaims
from tests.selling.rows import NOW, make_event, make_sold
from tests.selling.wallets import ACCOUNT, ISSUER, WalletFiles, make_wallet_files
from ticket_service.adapters.drawing import draw
from ticket_service.adapters.rendering import png
from ticket_service.adapters.words import LANGUAGES
from ticket_service.domain.drawings import Drawing, print_ticket
from ticket_service.domain.events import TicketType
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat, TicketStatus
from ticket_service.domain.wallets import Wallets

SECRETS = Secrets("TKT-0123456789ABCDEF", "T1" + "A7" * 85)
EVENT = make_event(time_zone="Europe/Berlin", location="Hall B\n1 Square")
SAVE = "https://pay.google.com/gp/v/save/"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> WalletFiles:
    return make_wallet_files(tmp_path_factory.mktemp("wallets"))


@pytest.fixture
def saved(files):
    """Return a function that draws a link and returns the class and the object of its verified JWT."""
    wallets, public = files.wallets(), (files.folder / "account.pub").read_bytes()

    def save(sold: SoldTicket, language: str = "en", now=NOW) -> tuple[dict[str, Any], dict[str, Any]]:
        drawing = Drawing(TicketFormat.GOOGLE_WALLET, (print_ticket(sold, SECRETS),), language, now)
        link = draw(drawing, wallets).decode()
        assert len(link) <= 1800
        claims = jwt.decode(
            link.removeprefix(SAVE), public, ["RS256"], audience="google", options={"verify_iat": False}
        )
        SaveClaims.model_validate(claims)
        assert (claims["iss"], claims["iat"]) == (ACCOUNT, int(now.timestamp()))
        [ticket_class], [ticket_object] = claims["payload"].values()
        assert ticket_object["classId"] == ticket_class["id"]
        return ticket_class, ticket_object

    return save


def test_a_link_saves_the_ticket(saved):
    ticket_class, ticket_object = saved(make_sold(EVENT), "de")
    assert ticket_class["id"].startswith(f"{ISSUER}.")
    assert ticket_class["issuerName"] == "Concert Hall"
    assert ticket_class["eventName"] == {"defaultValue": {"language": "de", "value": "Concert"}}
    assert ticket_class["dateTime"]["start"] == "2030-06-11T14:00:00+02:00"
    assert ticket_class["venue"]["name"]["defaultValue"]["value"] == "Hall B"
    assert ticket_class["venue"]["address"]["defaultValue"]["value"] == "1 Square"
    assert ticket_object["state"] == "ACTIVE"
    assert read_qr_codes(png(ticket_object["barcode"]["value"])) == [SECRETS.token]


def test_the_longest_names_still_make_a_short_link(files):
    google = files.wallets(TICKETS_WALLET_ORGANIZATION="東" * 20).google
    assert google is not None
    # Google bounds the address of an account: 30 characters each for its name and its project.
    account = f"{'a' * 30}@{'p' * 30}.iam.gserviceaccount.com"
    event = replace(EVENT, name="🎭" * 200, location="東" * 200, version=10_000)
    sold = make_sold(event, ticket_type=TicketType.EARLY_BIRD)
    for language in LANGUAGES:
        drawing = Drawing(TicketFormat.GOOGLE_WALLET, (print_ticket(sold, SECRETS),), language, NOW)
        assert len(draw(drawing, Wallets(google=replace(google, account_email=account)))) <= 1800


@pytest.mark.parametrize("name", ["東京ドーム公演 🎭" * 22, "Ein sehr langer Name " * 9, 'Name "in" quotes\\'])
def test_a_link_stays_short_enough_for_browsers(saved, name):
    event = replace(EVENT, name=name[:200], location="Straße " * 40)
    ticket_class, ticket_object = saved(make_sold(event), "ja")
    shown = ticket_class["eventName"]["defaultValue"]["value"]
    assert shown == name or (shown[-1] == "…" and name.startswith(shown[:-1]))
    assert ticket_object["barcode"]["value"] == SECRETS.token


@pytest.mark.parametrize(
    ("changes", "after", "state"),
    [
        ({"status": TicketStatus.CANCELLED}, timedelta(0), "INACTIVE"),
        ({"status": TicketStatus.REFUNDED}, timedelta(0), "INACTIVE"),
        ({"check_in_time": NOW}, timedelta(0), "COMPLETED"),
        ({}, timedelta(days=20), "EXPIRED"),
    ],
)
def test_a_ticket_that_admits_nobody_is_not_active(saved, changes, after, state):
    _, ticket_object = saved(make_sold(EVENT, **changes), now=NOW + after)
    assert (ticket_object["state"], "barcode" in ticket_object) == (state, state != "INACTIVE")


def test_what_changes_gets_a_new_id_because_google_keeps_the_old(saved):
    sold = make_sold(EVENT)
    before = saved(sold)
    moved = saved(replace(sold, event=replace(EVENT, version=EVENT.version + 1)))
    reissued = saved(replace(sold, ticket=replace(sold.ticket, issue=2)))
    assert moved[0]["id"] != before[0]["id"] == reissued[0]["id"]
    assert moved[1]["id"] == before[1]["id"] != reissued[1]["id"]
