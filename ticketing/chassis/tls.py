"""TLS for servers and channels; renewed certificate files take effect without a restart.

gRPC for Python requires a certificate of every caller of a port or of none: with `client_ca` every caller needs one.
"""

import asyncio
import logging
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

log = logging.getLogger(__name__)

SAN: Final = "x509_subject_alternative_name"
FileState = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain and its private key, in PEM files."""

    certificate: Path
    key: Path

    def read(self) -> tuple[bytes, bytes]:
        """Return the key and the chain.

        Raises:
            OSError: a file cannot be read.
            ValueError: the files are no PEM or do not match, as while one of them is replaced and the other not yet.
        """
        key, chain = self.key.read_bytes(), self.certificate.read_bytes()
        try:
            public_key = load_pem_private_key(key, password=None).public_key()
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(f"the key cannot be used: {error}") from error
        certified = x509.load_pem_x509_certificates(chain)[0].public_key()
        if _encoded(public_key) != _encoded(certified):
            raise ValueError("the key is not that of the certificate")
        return key, chain


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate files of a program; all absent: plain text. Every method may raise as `Identity.read` does."""

    # The program presents it to callers and to servers.
    identity: Identity | None = None
    # The authorities that verify callers; absent: callers present no certificate.
    client_ca: Path | None = None
    # The authorities that verify servers; absent: channels are plain text.
    server_ca: Path | None = None

    def server_credentials(self, servers: int = 1) -> Sequence[grpc.ServerCredentials | None]:
        """Return the credentials for each of the servers that share a port; None: plain text."""
        if self.identity is None:
            return [None] * servers
        certificates = _ServerCertificates(self.identity, self.client_ca)
        return [certificates.credentials() for _ in range(servers)]

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Return the credentials of a channel; None: plain text."""
        if self.server_ca is None:
            return None
        key, chain = (None, None) if self.identity is None else self.identity.read()
        return grpc.ssl_channel_credentials(self.server_ca.read_bytes(), key, chain)

    def channel(self, address: str, options: Sequence[tuple[str, object]] = ()) -> grpc.Channel:
        """Open a channel of the synchronous API."""
        credentials = self.channel_credentials()
        if credentials is None:
            return grpc.insecure_channel(address, options=options)
        return grpc.secure_channel(address, credentials, options=options)

    async def sweep(self) -> bool:
        """Check the files, as the step of a background task; new certificates take effect with the next handshake."""
        await asyncio.to_thread(self._check)
        return False

    def file_state(self) -> FileState:
        """Return a value that changes whenever one of the files changes."""
        identity = () if self.identity is None else (self.identity.certificate, self.identity.key)
        paths = [path for path in (*identity, self.client_ca, self.server_ca) if path is not None]
        return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in (path.stat() for path in paths))

    def _check(self) -> None:
        if self.identity is not None:
            self.identity.read()
        for authorities in (self.client_ca, self.server_ca):
            if authorities is not None:
                x509.load_pem_x509_certificates(authorities.read_bytes())


PLAIN: Final = Tls()


class _ServerCertificates:
    """The certificates of the servers that share a port, read again at a handshake if their files changed."""

    def __init__(self, identity: Identity, client_ca: Path | None) -> None:
        self._tls = Tls(identity, client_ca)
        self._identity = identity
        self._file_state = self._tls.file_state()
        self._configuration = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of one server."""
        presented = self._configuration

        def changed() -> "grpc.ServerCertificateConfiguration | None":
            nonlocal presented
            self._reload()
            if presented is self._configuration:
                return None
            presented = self._configuration
            return presented

        return grpc.dynamic_ssl_server_credentials(
            presented,
            changed,  # type: ignore[arg-type]  # None, for no change, is missing in the stubs
            require_client_authentication=self._tls.client_ca is not None,
        )

    def _reload(self) -> None:
        """Load changed files; the old certificates stay in use until the new files are complete."""
        try:
            state = self._tls.file_state()
            if state == self._file_state:
                return
            configuration = self._read()
        except (OSError, ValueError) as error:
            # The background task reports the fault once, and not for every handshake.
            log.debug("the new certificates cannot be used; the old ones stay", extra={"error": str(error)})
            return
        self._file_state, self._configuration = state, configuration
        log.info("certificates renewed")

    def _read(self) -> "grpc.ServerCertificateConfiguration":
        roots = None if self._tls.client_ca is None else self._tls.client_ca.read_bytes()
        return grpc.ssl_server_certificate_configuration([self._identity.read()], roots)


class ServerContext:
    """The context of ports that are no gRPC, read again for a new connection if the files changed; any thread may ask.

    Args:
        asks_callers: whether callers must present a certificate where the settings name their authorities.
    """

    def __init__(self, tls: Tls, *, asks_callers: bool) -> None:
        identity = tls.identity
        if identity is None:
            raise ValueError("a context needs a certificate")
        self._identity = identity
        self._tls = Tls(identity, tls.client_ca if asks_callers else None)
        self._file_state = self._tls.file_state()
        self._context = self._read()
        self._lock = threading.Lock()

    def current(self) -> ssl.SSLContext:
        """Return the context with the present certificates; the old ones stay until the new files are complete."""
        with self._lock:
            try:
                if (state := self._tls.file_state()) != self._file_state:
                    self._context = self._read()
                    self._file_state = state
            except (OSError, ValueError) as error:
                # The background task reports the fault once, and not for every connection.
                log.debug("the new certificates cannot be used; the old ones stay", extra={"error": str(error)})
            return self._context

    def _read(self) -> ssl.SSLContext:
        self._identity.read()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._identity.certificate, self._identity.key)
        if self._tls.client_ca is not None:
            context.load_verify_locations(self._tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def certified_names(auth_context: Mapping[str, Iterable[bytes]]) -> frozenset[str]:
    """Return the names in a caller's verified certificate."""
    return frozenset(name.decode("utf-8", "replace") for name in auth_context.get(SAN, ()))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _encoded(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # every public key has it
    return encoded
