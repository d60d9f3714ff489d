import hashlib
import io
import json
import subprocess
import zipfile
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image

from tests.environment.qr_codes import read_qr_codes
from tests.selling.pass_schemas import Pass
from tests.selling.rows import NOW, make_event, make_sold
from tests.selling.wallets import PASS_TYPE, TEAM, WalletFiles, make_wallet_files
from ticket_service.adapters.drawing import draw
from ticket_service.adapters.rendering import png
from ticket_service.adapters.words import LANGUAGES
from ticket_service.domain.drawings import Drawing, print_ticket
from ticket_service.domain.page_design import PageDesign
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat, TicketStatus
from ticket_service.domain.wallets import Wallets

SECRETS = Secrets("TKT-0123456789ABCDEF", "T1" + "A7" * 85)
EVENT = make_event(name="Zoë & “Fünf”", time_zone="Europe/Berlin", location="Hall B\n1 Square")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> WalletFiles:
    return make_wallet_files(tmp_path_factory.mktemp("wallets"))


@pytest.fixture(scope="module")
def wallets(files) -> Wallets:
    return files.wallets()


def archive_of(sold: SoldTicket, wallets: Wallets, language: str = "en", **changes: Any) -> zipfile.ZipFile:
    drawing = Drawing(TicketFormat.APPLE_WALLET, (print_ticket(sold, SECRETS),), language, NOW, **changes)
    return zipfile.ZipFile(io.BytesIO(draw(drawing, wallets)))


def pass_in(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read pass.json and check it against the published format."""
    content = json.loads(archive.read("pass.json"))
    read = Pass.model_validate(content)
    for period in read.relevantDates:
        assert period.date or (
            period.startDate and period.endDate and period.endDate - period.startDate <= timedelta(days=1)
        )
    keys = [field["key"] for fields in content["eventTicket"].values() for field in fields]
    assert len(keys) == len(set(keys))
    return content


def texts(content: dict[str, Any]) -> dict[str, str]:
    return {field["key"]: field["value"] for fields in content["eventTicket"].values() for field in fields}


def test_a_pass_shows_the_ticket(wallets):
    content = pass_in(archive_of(make_sold(EVENT), wallets, "de"))
    assert (content["passTypeIdentifier"], content["teamIdentifier"]) == (PASS_TYPE, TEAM)
    assert (content["organizationName"], content["description"]) == ("Concert Hall", EVENT.name)
    shown = texts(content)
    assert (shown["event"], shown["where"], shown["type"]) == (EVENT.name, "Hall B\n1 Square", "Standard")
    assert shown["when"].startswith("Dienstag, 11. Juni 2030, 14:00")
    # Doors open an hour before.
    assert content["relevantDate"] == "2030-06-11T13:00:00+02:00"
    assert (content["expirationDate"], content["voided"]) == ("2030-06-11T18:00:00+02:00", False)
    assert "webServiceURL" not in content


def test_the_code_of_a_pass_is_the_token(wallets):
    [barcode] = pass_in(archive_of(make_sold(EVENT), wallets))["barcodes"]
    assert (barcode["message"], barcode["altText"]) == (SECRETS.token, SECRETS.code)
    # A phone draws the message as a QR code.
    assert read_qr_codes(png(barcode["message"])) == [SECRETS.token]


def test_openssl_verifies_the_signature_of_all_files(files, wallets, tmp_path):
    archive = archive_of(make_sold(EVENT), wallets)
    manifest = json.loads(archive.read("manifest.json"))
    assert {*archive.namelist()} == {*manifest, "manifest.json", "signature"}
    for name, digest in manifest.items():
        assert hashlib.sha1(archive.read(name), usedforsecurity=False).hexdigest() == digest
    for name in ("manifest.json", "signature"):
        (tmp_path / name).write_bytes(archive.read(name))
    command = [
        "openssl",
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        tmp_path / "signature",
        "-purpose",
        "any",
    ]
    command += ["-content", tmp_path / "manifest.json", "-CAfile", files.folder / "wwdr.pem", "-out", tmp_path / "out"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    (tmp_path / "manifest.json").write_bytes(archive.read("manifest.json") + b" ")
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0


def test_a_pass_has_the_texts_of_every_language(wallets):
    archive = archive_of(make_sold(EVENT), wallets, "de")
    folders = {name.split(".lproj")[0] for name in archive.namelist() if ".lproj/" in name}
    assert folders == {language if language != "zh" else "zh-Hans" for language in LANGUAGES}
    french = archive.read("fr.lproj/pass.strings").decode()
    assert '"Wann" = "Quand";' in french
    assert '= "mardi 11 juin 2030' in french
    shown = texts(pass_in(archive))
    assert f'"{shown["when"]}" = ' in french


def test_an_event_named_like_a_label_keeps_its_name(wallets):
    archive = archive_of(make_sold(replace(EVENT, name='Wann "\\')), wallets, "de")
    assert r'"Wann \"\\" = "Wann \"\\";' in archive.read("fr.lproj/pass.strings").decode()
    archive = archive_of(make_sold(replace(EVENT, name="Wann")), wallets, "de")
    assert '"Wann" = "Wann";' in archive.read("fr.lproj/pass.strings").decode()


@pytest.mark.parametrize("status", [TicketStatus.CANCELLED, TicketStatus.REFUNDED])
def test_the_pass_of_a_cancelled_ticket_is_void_and_has_no_code(wallets, status):
    archive = archive_of(make_sold(EVENT, status=status), wallets)
    content = pass_in(archive)
    assert (content["voided"], content.get("barcodes")) == (True, None)
    assert all(secret not in archive.read("pass.json").decode() for secret in (SECRETS.token, SECRETS.code))


def test_a_reissue_replaces_the_pass_and_a_transfer_does_not(wallets):
    sold = make_sold(EVENT)
    reissued = replace(sold, ticket=replace(sold.ticket, issue=2))
    transferred = replace(sold, ticket=replace(sold.ticket, issue=2, user_id="bob"))
    numbers = [pass_in(archive_of(one, wallets))["serialNumber"] for one in (sold, reissued, transferred)]
    assert numbers[0] == numbers[1] != numbers[2]
    assert not any("alice" in number or "bob" in number for number in numbers)


def test_a_web_service_updates_passes_by_a_token_of_each(files):
    wallets = files.wallets(TICKETS_APPLE_WALLET_WEB_SERVICE_URL="https://example.com/passes")
    one, other = (pass_in(archive_of(make_sold(EVENT), wallets)) for _ in range(2))
    assert one["webServiceURL"] == "https://example.com/passes"
    assert one["authenticationToken"] != other["authenticationToken"]


def test_a_festival_is_relevant_when_its_doors_open(wallets):
    festival = replace(EVENT, end_time=EVENT.start_time + timedelta(days=3))
    content = pass_in(archive_of(make_sold(festival), wallets))
    assert content["relevantDates"] == [{"date": "2030-06-11T13:00:00+02:00"}]
    day = {
        "valid_from_time": festival.start_time + timedelta(days=1),
        "valid_until_time": festival.start_time + timedelta(days=1, hours=5),
    }
    content = pass_in(archive_of(make_sold(festival, **day), wallets))
    assert content["relevantDate"] == "2030-06-12T14:00:00+02:00"
    assert content["expirationDate"] == "2030-06-12T19:00:00+02:00"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"latitude": 52.5, "longitude": 13.4}, [{"latitude": 52.5, "longitude": 13.4}]),
        ({"latitude": 152.5, "longitude": 13.4}, None),
        ({"latitude": "52.5", "longitude": 13.4}, None),
        ({}, None),
    ],
)
def test_a_pass_has_the_place_where_the_event_names_it(wallets, metadata, expected):
    event = replace(EVENT, metadata=metadata)
    assert pass_in(archive_of(make_sold(event), wallets)).get("locations") == expected


def test_pictures_have_the_sizes_of_phones_and_the_colour_of_the_event(wallets, tmp_path):
    Image.new("RGB", (800, 200), "red").save(tmp_path / "hall.png")
    design = PageDesign(color="#ffee00", logo="hall.png", logos=tmp_path)
    archive = archive_of(make_sold(EVENT), wallets, design=design)
    for scale, suffix in ((1, ""), (2, "@2x"), (3, "@3x")):
        icon = Image.open(io.BytesIO(archive.read(f"icon{suffix}.png")))
        assert (icon.size, icon.getpixel((0, 0))) == ((29 * scale, 29 * scale), (255, 238, 0))
        assert Image.open(io.BytesIO(archive.read(f"logo{suffix}.png"))).size == (160 * scale, 40 * scale)
    assert pass_in(archive)["foregroundColor"] == "rgb(0, 0, 0)"
    (tmp_path / "hall.png").write_bytes(b"broken")
    assert "logo.png" not in archive_of(make_sold(EVENT), wallets, design=design).namelist()
