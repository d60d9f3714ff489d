"""TLS on real ports: trust of servers and callers, and renewal of certificates."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health, health_pb2_grpc

from tests.environment.access import Issuer
from tests.environment.certificates import Folder
from ticketing.chassis.authentication import Authenticator, PeerProof, TokenRequirements
from ticketing.chassis.callers import Role
from ticketing.chassis.clock import system_clock
from ticketing.chassis.health import Health
from ticketing.chassis.interceptor import CallInterceptor, current_caller
from ticketing.chassis.jwks import JwksFile, KeySet
from ticketing.chassis.limits import CallLimiter, Limits
from ticketing.chassis.peer_client import PeerClient
from ticketing.chassis.probe import is_serving
from ticketing.chassis.server import ListenSettings, Server
from ticketing.chassis.settings import Environment, SettingsError
from ticketing.chassis.statuses import Catalogue, ReasonEntry
from ticketing.chassis.tasks import Tasks
from ticketing.chassis.tls import Tls, is_loopback
from ticketing.chassis.tls_settings import read_tls

METHOD = "/tests.Roles/Get"
CATALOGUE = Catalogue(
    "tests.roles", {"UNAUTHENTICATED": ReasonEntry(grpc.StatusCode.UNAUTHENTICATED, frozenset({"cause"}))}
)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@asynccontextmanager
async def serving(issuer: Issuer, tls: Tls, proof: PeerProof) -> AsyncIterator[str]:
    """Run a server that answers each call with the roles of its caller."""

    async def get_roles(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=",".join(current_caller().roles))

    def register(server: grpc.aio.Server) -> None:
        handler = grpc.unary_unary_rpc_method_handler(get_roles, StringValue.FromString, StringValue.SerializeToString)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tests.Roles", {"Get": handler}),))

    keys = KeySet(JwksFile(issuer.jwks_file).read, system_clock)
    authenticator = Authenticator(keys, TokenRequirements("ticketing", "ticketing"), proof, system_clock)
    interceptor = CallInterceptor(authenticator, {METHOD: frozenset(Role)}, CATALOGUE, CallLimiter(Limits()))
    server = Server(ListenSettings("127.0.0.1", 0, 1, tls), interceptor, {"tests.Roles": register}, Health(Tasks()))
    port = await server.start()
    yield f"localhost:{port}"
    await server.drain(lambda: None)


async def asked(peer: PeerClient, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    call = peer.channel.unary_unary(METHOD, StringValue.SerializeToString, StringValue.FromString)
    answer = await call(StringValue(), metadata=(*peer.metadata(), *metadata), timeout=5)
    value: str = answer.value
    return value


async def refused(peer: PeerClient, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asked(peer, metadata)
    return caught.value.code()


@asynccontextmanager
async def calling(address: str, secret: str, tls: Tls) -> AsyncIterator[PeerClient]:
    peer = PeerClient(address, secret, tls)
    yield peer
    await peer.close()


async def test_plain_text_cannot_reach_a_tls_server(folder: Folder, issuer: Issuer) -> None:
    tls = Tls(folder.identity("localhost"), server_ca=folder.ca)
    async with serving(issuer, tls, PeerProof("p" * 32)) as address:
        async with calling(address, "p" * 32, Tls(server_ca=folder.ca)) as peer:
            assert await asked(peer) == "peer"
        async with calling(address, "p" * 32, Tls()) as plain:
            assert await refused(plain) is grpc.StatusCode.UNAVAILABLE


async def test_a_server_of_another_authority_is_not_called(
    folder: Folder, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Folder(tmp_path_factory.mktemp("stranger"))
    async with (
        serving(issuer, Tls(stranger.identity("localhost")), PeerProof("p" * 32)) as address,
        calling(address, "p" * 32, Tls(server_ca=folder.ca)) as peer,
    ):
        assert await refused(peer) is grpc.StatusCode.UNAVAILABLE


async def test_only_the_name_in_a_certificate_proves_the_peer(folder: Folder, issuer: Issuer) -> None:
    server = Tls(folder.identity("localhost"), client_ca=folder.ca)
    by_name = PeerProof(name="scans.internal")
    shop = folder.identity("shop.internal", of="shop")
    async with serving(issuer, server, by_name) as address:
        scans = Tls(folder.identity("scans.internal", of="scans"), server_ca=folder.ca)
        async with calling(address, "", scans) as peer:
            assert await asked(peer) == "peer"
            # A token takes precedence over the certificate.
            assert await asked(peer, issuer.metadata("user", "alice")) == "user"
        async with calling(address, "", Tls(shop, server_ca=folder.ca)) as other:
            assert await refused(other) is grpc.StatusCode.UNAUTHENTICATED
            assert await asked(other, issuer.metadata("user", "alice")) == "user"
        async with calling(address, "", Tls(server_ca=folder.ca)) as nameless:
            assert await refused(nameless, issuer.metadata("user", "alice")) is grpc.StatusCode.UNAVAILABLE


def serial(address: str) -> int:
    """Return the serial number of the certificate that a new connection receives."""
    host, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


async def test_a_complete_new_certificate_is_used_without_a_restart(folder: Folder, issuer: Issuer) -> None:
    identity = folder.identity("localhost")
    async with serving(issuer, Tls(identity), PeerProof("p" * 32)) as address:
        first = await asyncio.to_thread(serial, address)
        old = identity.certificate.read_bytes()
        folder.identity("localhost")
        new = identity.certificate.read_bytes()
        identity.certificate.write_bytes(old)
        assert await asyncio.to_thread(serial, address) == first
        identity.certificate.write_bytes(new)
        second = await asyncio.to_thread(serial, address)
        assert second == x509.load_pem_x509_certificate(new).serial_number != first
        identity.key.unlink()
        assert await asyncio.to_thread(serial, address) == second


async def test_a_caller_uses_its_new_certificate_at_the_next_call(folder: Folder, issuer: Issuer) -> None:
    server = Tls(folder.identity("localhost"), client_ca=folder.ca)
    client = folder.identity("old.internal", of="client")
    async with (
        serving(issuer, server, PeerProof(name="new.internal")) as address,
        calling(address, "", Tls(client, server_ca=folder.ca)) as peer,
    ):
        assert await refused(peer) is grpc.StatusCode.UNAUTHENTICATED
        folder.identity("new.internal", of="client")
        assert await asked(peer) == "peer"
        client.key.unlink()
        assert await asked(peer) == "peer"


def read(**variables: str) -> Tls:
    environment = Environment(variables)
    tls = read_tls(environment)
    environment.check()
    return tls


def test_settings_name_the_files(folder: Folder) -> None:
    identity = folder.identity("localhost")
    assert read() == Tls()
    assert read(
        TICKETING_TLS_CERTIFICATE=str(identity.certificate),
        TICKETING_TLS_KEY=str(identity.key),
        TICKETING_TLS_CA=str(folder.ca),
        TICKETING_TLS_CLIENT_CA=str(folder.ca),
    ) == Tls(identity, folder.ca, folder.ca)


def test_unusable_files_are_faults_of_the_settings(folder: Folder, tmp_path: Path) -> None:
    identity = folder.identity("localhost")
    other = folder.identity("localhost", of="other")
    certificate = str(identity.certificate)
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(_encrypted(identity.key.read_bytes()))
    wrong: list[tuple[dict[str, str], str]] = [
        ({"CERTIFICATE": certificate}, "belong together"),
        ({"CERTIFICATE": certificate, "KEY": str(other.key)}, "not that of the certificate"),
        ({"CERTIFICATE": certificate, "KEY": str(junk)}, "cannot be used"),
        ({"CERTIFICATE": certificate, "KEY": str(encrypted)}, "cannot be used"),
        ({"CERTIFICATE": certificate, "KEY": str(tmp_path / "none")}, "cannot be used"),
        ({"CLIENT_CA": str(folder.ca)}, "of no use"),
        ({"CA": str(junk)}, "TICKETING_TLS_CA cannot be used"),
    ]
    for files, fault in wrong:
        with pytest.raises(SettingsError, match=fault):
            read(**{f"TICKETING_TLS_{name}": path for name, path in files.items()})


def _encrypted(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "::1", "localhost"])
def test_loopback_addresses_are_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])  # noqa: S104 - nothing is bound
def test_other_addresses_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_probe_reaches_a_service_by_tls(folder: Folder) -> None:
    tls = Tls(folder.identity("localhost", "127.0.0.1"), server_ca=folder.ca)
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    [credentials] = tls.server_credentials()
    assert credentials is not None
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    assert is_serving(f"127.0.0.1:{port}", tls=Tls(server_ca=folder.ca))
    assert not is_serving(f"127.0.0.1:{port}", seconds=0.3)
    server.stop(None).wait()
