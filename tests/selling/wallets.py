"""Keys of wallets as Apple and Google give them to an operator, from authorities of the tests."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from tests.environment.access import CODE_SECRET
from ticket_service.delivery.wallet_settings import read_wallets
from ticket_service.domain.wallets import Wallets
from ticketing.chassis.settings import Environment

PASS_TYPE: Final = "pass.com.example.tickets"
TEAM: Final = "A1B2C3D4E5"
PASSWORD: Final = "a password"
ISSUER: Final = "3388000000022222222"
ACCOUNT: Final = "wallet@tickets-123456.iam.gserviceaccount.com"
# The certificates are valid around the times of tests.
BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
END: Final = datetime(2035, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class WalletFiles:
    """The files of one operator."""

    folder: Path
    environment: dict[str, str]

    def wallets(self, **changes: str) -> Wallets:
        """Read the wallets as a service does at its start."""
        environment = Environment(self.environment | changes)
        wallets = read_wallets(environment, "Concert Hall <tickets@example.com>", CODE_SECRET)
        environment.check()
        return wallets


def make_wallet_files(folder: Path, expire_time: datetime = END) -> WalletFiles:
    """Write the files of an operator."""
    authority_key, pass_key, account_key = key(0), key(1), key(2)
    authority_name = subject("Apple Worldwide Developer Relations", {})
    authority = certificate(authority_name, authority_name, authority_key, authority_key, END)
    named = subject(f"Pass Type ID: {PASS_TYPE}", {NameOID.USER_ID: PASS_TYPE, NameOID.ORGANIZATIONAL_UNIT_NAME: TEAM})
    its = certificate(named, authority_name, pass_key, authority_key, expire_time)
    (folder / "wwdr.cer").write_bytes(authority.public_bytes(Encoding.DER))
    (folder / "wwdr.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    (folder / "pass.pem").write_bytes(its.public_bytes(Encoding.PEM))
    encryption = BestAvailableEncryption(PASSWORD.encode())
    (folder / "pass.key").write_bytes(pass_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    pem = account_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "client_email": ACCOUNT, "private_key_id": "5f1c", "private_key": pem}
    (folder / "account.json").write_text(json.dumps(account))
    public = account_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "account.pub").write_bytes(public)
    environment = {
        "TICKETS_APPLE_WALLET_CERTIFICATE": str(folder / "pass.pem"),
        "TICKETS_APPLE_WALLET_KEY": str(folder / "pass.key"),
        "TICKETS_APPLE_WALLET_KEY_PASSWORD": PASSWORD,
        "TICKETS_APPLE_WALLET_WWDR": str(folder / "wwdr.cer"),
        "TICKETS_GOOGLE_WALLET_ISSUER_ID": ISSUER,
        "TICKETS_GOOGLE_WALLET_ACCOUNT": str(folder / "account.json"),
    }
    return WalletFiles(folder, environment)


@cache
def key(_number: int) -> rsa.RSAPrivateKey:
    """Return a key, the same one for each number; generating one takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def subject(common_name: str, more: dict[x509.ObjectIdentifier, str]) -> x509.Name:
    """Return the name of a certificate."""
    return x509.Name(
        [x509.NameAttribute(oid, value) for oid, value in {**more, NameOID.COMMON_NAME: common_name}.items()]
    )


def certificate(
    name: x509.Name, issuer: x509.Name, its_key: rsa.RSAPrivateKey, issuer_key: rsa.RSAPrivateKey, until: datetime
) -> x509.Certificate:
    """Sign a certificate."""
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(its_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .sign(issuer_key, SHA256())
    )
