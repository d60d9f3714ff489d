"""The common settings of services that concern trust and encryption."""

from pathlib import Path

import pytest
import trustme

from tests.environment.access import PEER_SECRET, Issuer
from ticketing.chassis.authentication import PeerProof
from ticketing.chassis.jwks import JwksUrl
from ticketing.chassis.service_settings import ServiceSettings, read_peer_address, read_service_settings
from ticketing.chassis.settings import Environment, SettingsError


@pytest.fixture
def usual(issuer: Issuer) -> dict[str, str]:
    return {"TICKETING_JWKS_FILE": str(issuer.jwks_file), "TICKETING_PEER_SECRET": PEER_SECRET}


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = {name: str(tmp_path / name) for name in ("CERTIFICATE", "KEY", "CLIENT_CA", "CA")}
    issued.cert_chain_pems[0].write_to_path(files["CERTIFICATE"])
    issued.private_key_pem.write_to_path(files["KEY"])
    for name in ("CLIENT_CA", "CA"):
        authority.cert_pem.write_to_path(files[name])
    return {f"TICKETING_TLS_{name}": path for name, path in files.items()}


def read(variables: dict[str, str]) -> tuple[ServiceSettings, str]:
    environment = Environment(variables)
    settings = read_service_settings(environment, "TOY", 1, 2)
    address = read_peer_address(environment, "TOY_PEER", "127.0.0.1:3", settings)
    environment.check()
    return settings, address


@pytest.mark.parametrize("open_to_others", [{"TICKETING_HOST": "0.0.0.0"}, {"TOY_PEER": "peer.internal:3"}])  # noqa: S104 - refused
def test_plain_text_beyond_this_machine_needs_a_setting(
    usual: dict[str, str], tls: dict[str, str], open_to_others: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match="without TLS"):
        read(usual | open_to_others)
    for allowed in ({"TICKETING_ALLOW_PLAINTEXT": "yes"}, tls):
        read(usual | open_to_others | allowed)


def test_the_peer_is_proven_by_a_secret_or_a_certified_name(usual: dict[str, str], tls: dict[str, str]) -> None:
    named = {**usual, **tls, "TICKETING_PEER_NAME": "scans.internal"}
    assert read(usual)[0].peer_proof == PeerProof(PEER_SECRET)
    assert read(named)[0].peer_proof == PeerProof(PEER_SECRET, "scans.internal")
    del named["TICKETING_PEER_SECRET"]
    assert read(named)[0].peer_proof == PeerProof("", "scans.internal")
    del named["TICKETING_TLS_CLIENT_CA"]
    with pytest.raises(SettingsError, match="TICKETING_PEER_NAME is of no use"):
        read(named)
    with pytest.raises(SettingsError, match="TICKETING_PEER_SECRET is required"):
        read({name: value for name, value in usual.items() if name != "TICKETING_PEER_SECRET"})


def test_the_key_set_comes_from_a_file_or_a_url(usual: dict[str, str]) -> None:
    from_web = {"TICKETING_PEER_SECRET": PEER_SECRET, "TICKETING_JWKS_URL": "https://id.example.org/jwks"}
    assert read(from_web)[0].jwks == JwksUrl("https://id.example.org/jwks")
    with pytest.raises(SettingsError, match="cannot both be set"):
        read(usual | from_web)
    with pytest.raises(SettingsError, match="is no https"):
        read(from_web | {"TICKETING_JWKS_URL": "http://id.example.org/jwks"})
    with pytest.raises(SettingsError, match="TICKETING_JWKS_FILE is required"):
        read({"TICKETING_PEER_SECRET": PEER_SECRET})


def test_trusted_proxies_are_addresses_and_networks(usual: dict[str, str]) -> None:
    networks = read({**usual, "TICKETING_TRUSTED_PROXIES": "10.0.0.5, 10.1.0.0/24,fd00::/64"})[0].trusted_proxies
    assert [str(network) for network in networks] == ["10.0.0.5/32", "10.1.0.0/24", "fd00::/64"]
    assert read(usual)[0].trusted_proxies == ()
    with pytest.raises(SettingsError, match=r"TICKETING_TRUSTED_PROXIES has '10.1.0.5/24', which is no address"):
        read({**usual, "TICKETING_TRUSTED_PROXIES": "10.1.0.5/24"})
