from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.selling.wallets import BEGIN, END, PASSWORD, WalletFiles, make_wallet_files
from ticket_service.domain.tickets import TicketFormat
from ticket_service.domain.wallets import NO_WALLETS
from ticketing.chassis.settings import SettingsError


@pytest.fixture
def files(tmp_path) -> WalletFiles:
    return make_wallet_files(tmp_path)


def test_no_settings_are_no_wallets(files):
    assert WalletFiles(files.folder, {}).wallets() == NO_WALLETS
    assert not NO_WALLETS.draws(TicketFormat.APPLE_WALLET, BEGIN)
    assert not NO_WALLETS.draws(TicketFormat.GOOGLE_WALLET, BEGIN)
    assert NO_WALLETS.draws(TicketFormat.PDF, BEGIN)


def test_an_expired_certificate_ends_the_passes_and_not_the_service(tmp_path):
    until = BEGIN + timedelta(days=30)
    wallets = make_wallet_files(tmp_path, expire_time=until).wallets()
    assert wallets.draws(TicketFormat.APPLE_WALLET, until - timedelta(seconds=1))
    assert not wallets.draws(TicketFormat.APPLE_WALLET, until)
    assert wallets.draws(TicketFormat.GOOGLE_WALLET, until)


def test_no_text_of_the_settings_contains_a_key(files):
    wallets = files.wallets()
    assert "PRIVATE KEY" not in repr(wallets)
    assert wallets.apple is not None
    assert wallets.apple.token_secret.hex() not in repr(wallets)
    assert (wallets.apple.expire_time, wallets.apple.organization) == (END, "Concert Hall")


def foreign_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "other.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"TICKETS_APPLE_WALLET_KEY": "", "TICKETS_APPLE_WALLET_WWDR": ""},
            [
                "TICKETS_APPLE_WALLET_KEY is required with TICKETS_APPLE_WALLET_CERTIFICATE",
                "TICKETS_APPLE_WALLET_WWDR is required with TICKETS_APPLE_WALLET_CERTIFICATE",
            ],
        ),
        ({"TICKETS_APPLE_WALLET_KEY_PASSWORD": "wrong"}, ["TICKETS_APPLE_WALLET_KEY (…/pass.key) contains no private key"]),
        ({"TICKETS_APPLE_WALLET_KEY": "other.key"}, ["TICKETS_APPLE_WALLET_KEY (…/other.key) contains no RSA key"]),
        ({"TICKETS_APPLE_WALLET_KEY": "missing"}, ["TICKETS_APPLE_WALLET_KEY (…/missing) cannot be read: No such file"]),
        ({"TICKETS_APPLE_WALLET_CERTIFICATE": "wwdr.pem"}, ["TICKETS_APPLE_WALLET_CERTIFICATE (…/wwdr.pem) is not a certificate of a pass type"]),
        ({"TICKETS_APPLE_WALLET_CERTIFICATE": "pass.key"}, ["TICKETS_APPLE_WALLET_CERTIFICATE (…/pass.key) contains no certificate"]),
        ({"TICKETS_APPLE_WALLET_WWDR": "pass.pem"}, ["TICKETS_APPLE_WALLET_CERTIFICATE (…/pass.pem) was not signed by the intermediate"]),
        ({"TICKETS_APPLE_WALLET_KEY": "account.pem"}, ["TICKETS_APPLE_WALLET_CERTIFICATE (…/pass.pem) does not belong to the key"]),
        ({"TICKETS_APPLE_WALLET_WEB_SERVICE_URL": "http://a"}, ["TICKETS_APPLE_WALLET_WEB_SERVICE_URL is no URL that begins with https://"]),
        ({"TICKETS_GOOGLE_WALLET_ISSUER_ID": "abc"}, ["TICKETS_GOOGLE_WALLET_ISSUER_ID is not a number"]),
        ({"TICKETS_GOOGLE_WALLET_ISSUER_ID": ""}, ["TICKETS_GOOGLE_WALLET_ISSUER_ID is required with TICKETS_GOOGLE_WALLET_ACCOUNT"]),
        ({"TICKETS_WALLET_ORGANIZATION": "東" * 21}, ["TICKETS_WALLET_ORGANIZATION (東東東東東東東東東東東東東東東東東東東東東) has more than 60"]),
        ({"TICKETS_APPLE_WALLET_LINK": "https://a/"}, ["TICKETS_APPLE_WALLET_LINK is no URL that begins with https:// and contains"]),
        ({"TICKETS_GOOGLE_WALLET_ACCOUNT": "pass.pem"}, ["TICKETS_GOOGLE_WALLET_ACCOUNT (…/pass.pem) is not the key file (JSON)"]),
    ],
)  # fmt: skip
def test_a_wrong_file_stops_the_start_by_name(files, changes, faults):
    foreign_key(files.folder)
    # The key of the service account, not of the certificate.
    account = (files.folder / "account.json").read_text()
    pem = account.split('"private_key": "')[1].split('"')[0].replace("\\n", "\n")
    (files.folder / "account.pem").write_text(pem)
    is_file = ("CERTIFICATE", "KEY", "WWDR", "ACCOUNT")
    changed = {
        name: str(files.folder / value) if value and name.endswith(is_file) else value
        for name, value in changes.items()
    }
    with pytest.raises(SettingsError) as raised:
        files.wallets(**changed)
    lines = str(raised.value).replace(str(files.folder), "…").splitlines()[1:]
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert line.strip().startswith(fault)
    assert PASSWORD not in str(raised.value)
    assert "PRIVATE" not in str(raised.value)
