"""TLS for what we listen on and for whom we call; files that change are taken up without a restart.

gRPC's Python can ask every caller of a port for a certificate, or none: with `client_ca` every caller has to show one.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ticketing.chassis.settings import Environment

log = logging.getLogger(__name__)

SAN: Final = "x509_subject_alternative_name"
State = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain and its private key, in PEM files."""

    certificate: Path
    key: Path

    def read(self) -> tuple[bytes, bytes]:
        """Return the key and the chain.

        Raises:
            OSError: a file cannot be read.
            ValueError: they are no PEM, or do not belong together, as while somebody replaces one after the other.
        """
        key, chain = self.key.read_bytes(), self.certificate.read_bytes()
        try:
            ours = load_pem_private_key(key, password=None).public_key()
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(f"the key cannot be used: {error}") from error
        certified = x509.load_pem_x509_certificates(chain)[0].public_key()
        if _encoded(ours) != _encoded(certified):
            raise ValueError("the key is not that of the certificate")
        return key, chain


@dataclass(frozen=True, slots=True)
class Tls:
    """Which files say who we are and whom we trust; all absent: plain text."""

    # Shown to callers and to whom we call.
    identity: Identity | None = None
    # Verifies callers' certificates; absent: they show none.
    client_ca: Path | None = None
    # Verifies whom we call; absent: they are called in plain text.
    server_ca: Path | None = None

    def server_credentials(self, servers: int = 1) -> Sequence[grpc.ServerCredentials | None]:
        """Return what each of the servers of one port listens with; None: plain text.

        Raises:
            OSError, ValueError: as Identity.read.
        """
        if self.identity is None:
            return [None] * servers
        certificates = _ServerCertificates(self.identity, self.client_ca)
        return [certificates.credentials() for _ in range(servers)]

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Return what others are called with; None: plain text.

        Raises:
            OSError, ValueError: as Identity.read.
        """
        if self.server_ca is None:
            return None
        key, chain = (None, None) if self.identity is None else self.identity.read()
        return grpc.ssl_channel_credentials(self.server_ca.read_bytes(), key, chain)

    def channel(self, address: str, options: Sequence[tuple[str, object]] = ()) -> grpc.Channel:
        """Open a channel for a client that blocks.

        Raises:
            OSError, ValueError: as Identity.read.
        """
        credentials = self.channel_credentials()
        if credentials is None:
            return grpc.insecure_channel(address, options=options)
        return grpc.secure_channel(address, credentials, options=options)

    def state(self) -> State:
        """Return what changes whenever one of the files does.

        Raises:
            OSError: one is gone.
        """
        identity = () if self.identity is None else (self.identity.certificate, self.identity.key)
        paths = [path for path in (*identity, self.client_ca, self.server_ca) if path is not None]
        return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in (path.stat() for path in paths))


PLAIN: Final = Tls()


class _ServerCertificates:
    """Looks at the files at every handshake, and takes up what is whole and new, for all servers of a port."""

    def __init__(self, identity: Identity, client_ca: Path | None) -> None:
        self._tls = Tls(identity, client_ca)
        self._identity = identity
        self._state = self._tls.state()
        self._configuration = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what one server listens with."""
        shown = self._configuration

        def changed() -> "grpc.ServerCertificateConfiguration | None":
            nonlocal shown
            self._look()
            if shown is self._configuration:
                return None
            shown = self._configuration
            return shown

        return grpc.dynamic_ssl_server_credentials(
            shown,
            changed,  # type: ignore[arg-type]  # None, for no change, is missing in the stubs
            require_client_authentication=self._tls.client_ca is not None,
        )

    def _look(self) -> None:
        """Take up new certificates; the old ones serve until the new ones are whole."""
        try:
            state = self._tls.state()
            if state == self._state:
                return
            configuration = self._read()
        except (OSError, ValueError) as error:
            log.warning("the new certificates cannot be used; the old ones stay", extra={"error": str(error)})
            return
        self._state, self._configuration = state, configuration
        log.info("certificates renewed")

    def _read(self) -> "grpc.ServerCertificateConfiguration":
        roots = None if self._tls.client_ca is None else self._tls.client_ca.read_bytes()
        return grpc.ssl_server_certificate_configuration([self._identity.read()], roots)


def certified_names(auth_context: Mapping[str, Iterable[bytes]]) -> frozenset[str]:
    """Return the names in a caller's verified certificate."""
    return frozenset(name.decode("utf-8", "replace") for name in auth_context.get(SAN, ()))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_tls(environment: Environment) -> Tls:
    """Read and try the settings of TLS."""
    paths = {
        name: environment.optional_path(f"TICKETING_TLS_{name}") for name in ("CERTIFICATE", "KEY", "CLIENT_CA", "CA")
    }
    certificate, key = paths["CERTIFICATE"], paths["KEY"]
    if (certificate is None) != (key is None):
        environment.fault("TICKETING_TLS_CERTIFICATE", "and TICKETING_TLS_KEY belong together")
    identity = Identity(certificate, key) if certificate is not None and key is not None else None
    if paths["CLIENT_CA"] is not None and identity is None:
        environment.fault("TICKETING_TLS_CLIENT_CA", "is of no use without TICKETING_TLS_CERTIFICATE")
    try:
        if identity is not None:
            identity.read()
    except (OSError, ValueError) as error:
        environment.fault("TICKETING_TLS_CERTIFICATE", f"and TICKETING_TLS_KEY cannot be used: {error}")
    for name in ("CLIENT_CA", "CA"):
        try:
            if (path := paths[name]) is not None:
                x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            environment.fault(f"TICKETING_TLS_{name}", f"cannot be used: {error}")
    return Tls(identity, paths["CLIENT_CA"], paths["CA"])


def _encoded(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # every public key has it
    return encoded
