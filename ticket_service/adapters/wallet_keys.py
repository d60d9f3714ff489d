"""Read the files of keys that Apple and Google gave to an operator.

Apple signs a certificate for each type of pass; its subject names the pass type and the team. Google gives a service
account a key.
"""

import json
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID


class WalletKeyError(Exception):
    """Raised for a file that cannot be used; the text completes "the file …" and contains nothing of a key."""


def read_private_key(path: Path, password: str) -> bytes:
    """Read the RSA key of a PEM file as an unencrypted PEM; raise WalletKeyError."""
    content = read_file(path)
    try:
        # Some exports are encrypted with a password, others are not.
        key = load_pem_private_key(content, password.encode() if b"ENCRYPTED" in content else None)
    except (ValueError, TypeError):
        raise WalletKeyError("contains no private key (PEM) that the password opens") from None
    if not isinstance(key, RSAPrivateKey):
        raise WalletKeyError("contains no RSA key")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate, PEM or DER as Apple offers it; raise WalletKeyError."""
    content = read_file(path)
    try:
        if b"-----BEGIN" in content:
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except ValueError:
        raise WalletKeyError("contains no certificate") from None


def read_file(path: Path) -> bytes:
    """Read a file of at most some kilobytes; raise WalletKeyError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise WalletKeyError(f"cannot be read: {error.strerror}") from None


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def named_in(certificate: x509.Certificate) -> tuple[str, str]:
    """Return the pass type and the team in the subject of a certificate; raise WalletKeyError without them."""
    found = [_name(certificate, oid) for oid in (NameOID.USER_ID, NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if not all(found):
        raise WalletKeyError("is not a certificate of a pass type: its subject has no UID and OU")
    return found[0], found[1]


def check_pair(certificate: x509.Certificate, authority: x509.Certificate, key: bytes) -> None:
    """Raise WalletKeyError unless the key belongs to the certificate and the authority has signed it."""
    public = load_pem_private_key(key, None).public_key()
    its = [
        one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in (public, certificate.public_key())
    ]
    if its[0] != its[1]:
        raise WalletKeyError("does not belong to the key")
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise WalletKeyError("was not signed by the intermediate certificate") from None


def read_service_account(path: Path) -> tuple[str, bytes]:
    """Read the address and the key of a Google service account; raise WalletKeyError."""
    try:
        account = json.loads(read_file(path))
        email, key = account["client_email"], account["private_key"]
        loaded = load_pem_private_key(key.encode(), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WalletKeyError("is not the key file (JSON) of a service account") from None
    if not isinstance(loaded, RSAPrivateKey) or not isinstance(email, str):
        raise WalletKeyError("is not the key file (JSON) of a service account")
    return email, key.encode()


def _name(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    return next((str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)), "")
