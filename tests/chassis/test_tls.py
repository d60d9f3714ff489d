"""TLS on a real port: who is let in, who is known, and how certificates change under it."""

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
from ticketing.chassis.authentication import Authenticator, Expected, PeerProof, Role
from ticketing.chassis.clock import system_clock
from ticketing.chassis.interceptor import CallInterceptor, current_caller
from ticketing.chassis.jwks import File, KeySet
from ticketing.chassis.limits import Limits, Throttle
from ticketing.chassis.peer_client import PeerClient
from ticketing.chassis.probe import is_serving
from ticketing.chassis.server import Listen, Server
from ticketing.chassis.settings import Environment, SettingsError
from ticketing.chassis.statuses import Catalogue, ReasonEntry
from ticketing.chassis.tls import Tls, is_loopback, read_tls

METHOD = "/tests.Who/Ask"
CATALOGUE = Catalogue("tests.who", {"UNAUTHENTICATED": ReasonEntry(grpc.StatusCode.UNAUTHENTICATED, frozenset({"cause"}))})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@asynccontextmanager
async def serving(issuer: Issuer, tls: Tls, proof: PeerProof) -> AsyncIterator[str]:
    """Answer everybody with the roles they come with."""

    async def ask(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=",".join(current_caller().roles))

    def register(server: grpc.aio.Server) -> None:
        handler = grpc.unary_unary_rpc_method_handler(ask, StringValue.FromString, StringValue.SerializeToString)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tests.Who", {"Ask": handler}),))

    keys = KeySet(File(issuer.jwks_file).read, system_clock)
    authenticator = Authenticator(keys, Expected("ticketing", "ticketing"), proof, system_clock)
    interceptor = CallInterceptor(authenticator, {METHOD: frozenset(Role)}, CATALOGUE, Throttle(Limits()))
    server = Server(Listen("127.0.0.1", 0, 1, tls), interceptor, {"tests.Who": register})
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


async def test_by_tls_the_secret_makes_the_peer_and_plain_text_reaches_nobody(folder: Folder, issuer: Issuer) -> None:
    tls = Tls(folder.identity("localhost"), server_ca=folder.ca)
    async with serving(issuer, tls, PeerProof("p" * 32)) as address:
        async with calling(address, "p" * 32, Tls(server_ca=folder.ca)) as peer:
            assert await asked(peer) == "peer"
        async with calling(address, "p" * 32, Tls()) as plain:
            assert await refused(plain) is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_another_authority_vouches_for_is_not_told_anything(
    folder: Folder, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Folder(tmp_path_factory.mktemp("stranger"))
    async with (
        serving(issuer, Tls(stranger.identity("localhost")), PeerProof("p" * 32)) as address,
        calling(address, "p" * 32, Tls(server_ca=folder.ca)) as peer,
    ):
        assert await refused(peer) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_makes_the_peer_by_its_name_and_by_that_alone(folder: Folder, issuer: Issuer) -> None:
    server = Tls(folder.identity("localhost"), client_ca=folder.ca)
    by_name = PeerProof(name="scans.internal")
    shop = folder.identity("shop.internal", of="shop")
    async with serving(issuer, server, by_name) as address:
        scans = Tls(folder.identity("scans.internal", of="scans"), server_ca=folder.ca)
        async with calling(address, "", scans) as peer:
            assert await asked(peer) == "peer"
            # Whoever brings a token is who the token says.
            assert await asked(peer, issuer.metadata("user", "alice")) == "user"
        async with calling(address, "", Tls(shop, server_ca=folder.ca)) as other:
            assert await refused(other) is grpc.StatusCode.UNAUTHENTICATED
            assert await asked(other, issuer.metadata("user", "alice")) == "user"
        async with calling(address, "", Tls(server_ca=folder.ca)) as nameless:
            assert await refused(nameless, issuer.metadata("user", "alice")) is grpc.StatusCode.UNAVAILABLE


def serial(address: str) -> int:
    """Ask a port for its certificate, as a new connection."""
    host, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


async def test_a_new_certificate_is_shown_without_a_restart_and_a_half_written_one_never(
    folder: Folder, issuer: Issuer
) -> None:
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


async def test_a_caller_shows_its_new_certificate_from_the_next_call_on(folder: Folder, issuer: Issuer) -> None:
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


def test_files_that_cannot_be_used_stop_the_start(folder: Folder, tmp_path: Path) -> None:
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
    for files, said in wrong:
        with pytest.raises(SettingsError, match=said):
            read(**{f"TICKETING_TLS_{name}": path for name, path in files.items()})


def _encrypted(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "::1", "localhost"])
def test_loopback_is_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])  # noqa: S104 - nothing is bound
def test_others_can_reach_any_other_address(host: str) -> None:
    assert not is_loopback(host)


def test_a_probe_and_a_device_reach_a_service_by_tls(folder: Folder) -> None:
    """Theirs are channels that block."""
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
