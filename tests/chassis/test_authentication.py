import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.environment.clock import SettableClock
from ticketing.chassis import authentication, refused_tokens
from ticketing.chassis.authentication import Authenticator, PeerProof, TokenRequirements
from ticketing.chassis.callers import LEEWAY, Caller, Role
from ticketing.chassis.failures import UNAUTHENTICATED, Failure, unauthenticated
from ticketing.chassis.jwks import JwksFile, KeySet
from ticketing.chassis.refused_tokens import REFUSED, RefusedTokens

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PROOF = PeerProof(secret="the-peers-secret", name="peer.example")
ED, EC, RSA = (
    Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(public_exponent=65537, key_size=2048),
)


def jwk_set(**keys: Any) -> str:
    """Return a JWK set of the public keys, each under its id."""
    kinds: dict[str, Any] = {"EdDSA": OKPAlgorithm, "ES256": ECAlgorithm, "RS256": RSAAlgorithm}
    documents = []
    for key_id, key in keys.items():
        alg = (
            "EdDSA"
            if isinstance(key, Ed25519PrivateKey)
            else "RS256"
            if isinstance(key, rsa.RSAPrivateKey)
            else "ES256"
        )
        documents.append({**kinds[alg].to_jwk(key.public_key(), as_dict=True), "kid": key_id, "alg": alg})
    return json.dumps({"keys": documents})


@dataclass
class Setting:
    """An authenticator with a clock and a key file that the test can change."""

    authenticator: Authenticator
    jwks: Path
    clock: SettableClock

    def caller(self, token: str) -> Caller:
        return asyncio.run(self.authenticator.authenticate([("authorization", f"Bearer {token}")]))

    def cause(self, token: str) -> str:
        return self.cause_of([("authorization", f"Bearer {token}")])

    def cause_of(self, metadata: list[tuple[str, str | bytes]]) -> str:
        with pytest.raises(Failure) as caught:
            asyncio.run(self.authenticator.authenticate(metadata))
        assert caught.value.reason == UNAUTHENTICATED
        return caught.value.metadata["cause"]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    jwks = tmp_path / "jwks.json"
    jwks.write_text(jwk_set(ed=ED, ec=EC, rsa=RSA))
    clock = SettableClock(NOW)
    requirements = TokenRequirements(issuer="us", audience="ticketing")
    return Setting(Authenticator(KeySet(JwksFile(jwks).read, clock), requirements, PROOF, clock), jwks, clock)


def token(key: Any = ED, key_id: str | None = "ed", alg: str = "EdDSA", **claims: Any) -> str:
    usual: dict[str, Any] = {
        "iss": "us",
        "aud": "ticketing",
        "sub": "alice",
        "roles": ["user"],
        "exp": NOW + timedelta(hours=1),
    }
    present = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    headers = {} if key_id is None else {"kid": key_id}
    return jwt.encode(present, key, algorithm=alg, headers=headers)


@pytest.mark.parametrize(("key", "key_id", "alg"), [(ED, "ed", "EdDSA"), (EC, "ec", "ES256"), (RSA, "rsa", "RS256")])
def test_a_signed_token_identifies_its_caller(setting: Setting, key: object, key_id: str, alg: str) -> None:
    caller = setting.caller(token(key, key_id, alg, roles=["organizer", "user", "wizard"], email="a@example.org"))
    assert caller.subject == "alice"
    assert caller.roles == {Role.ORGANIZER, Role.USER}
    assert caller.email == "a@example.org"
    assert caller.is_any(Role.ORGANIZER, Role.SERVICE)
    assert not caller.is_any(Role.SERVICE)


def test_a_single_role_needs_no_list(setting: Setting) -> None:
    assert setting.caller(token(roles="scanner")).roles == {Role.SCANNER}


def test_only_the_shared_secret_proves_the_peer_and_no_token(setting: Setting) -> None:
    assert setting.caller("the-peers-secret").roles == {Role.PEER}
    assert "no role" in setting.cause(token(roles=["peer"]))
    assert "no role" in setting.cause(token(roles=["device"]))


HMAC_WITH_PUBLIC_KEY = ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def confused() -> str:
    """Return a token signed by HMAC with the public key as its secret."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "ed"}).encode()).rstrip(b"=")
    signed = jwt.encode({"sub": "alice"}, HMAC_WITH_PUBLIC_KEY, algorithm="HS256", headers={"kid": "ed"})
    return (header + b"." + signed.split(".", 1)[1].encode()).decode()


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (token(iss="them"), "another issuer"),
        (token(aud="shop"), "another audience"),
        (token(exp=NOW - LEEWAY), "expired"),
        (token(exp=None), "does not verify"),
        (token(sub=None), "does not verify"),
        (token(sub=""), "subject"),
        (token(sub="x" * 256), "subject"),
        (token(sub="a\0b"), "subject"),
        (token(nbf=NOW + timedelta(minutes=5)), "not valid yet"),
        (token(roles=[]), "no role"),
        (token(roles=["wizard"]), "no role"),
        (token(roles=None), "no role"),
        (token(roles={"user": True}), "no role"),
        (token(exp=10**30), "expiry"),
        (token(Ed25519PrivateKey.generate()), "does not verify"),
        (token(key_id="unknown"), "unknown key"),
        (token(key_id=None), "unknown key"),
        (token(EC, "ed", "ES256"), "algorithm"),
        (jwt.encode({"sub": "alice"}, "", algorithm="none", headers={"kid": "ed"}), "algorithm"),
        (confused(), "algorithm"),
        (token()[:-4] + "AAAA", "does not verify"),
        ("a.b.c", "does not verify"),
        ("x", "does not verify"),
        ("x" * 9000, "not a bearer token"),
    ],
)
def test_an_invalid_token_is_refused_with_its_cause(setting: Setting, bad: str, cause: str) -> None:
    assert cause in setting.cause(bad)


@pytest.mark.parametrize(
    ("metadata", "cause"),
    [
        ([], "no access token"),
        ([("authorization", "Basic YTpi")], "not a bearer token"),
        ([("authorization", "Bearer ")], "not a bearer token"),
        ([("authorization", "")], "not a bearer token"),
        ([("authorization", "Bearer x"), ("authorization", "Bearer y")], "more than one"),
        ([("authorization", b"Bearer x")], "more than one"),
    ],
)
def test_metadata_without_exactly_one_bearer_token_is_refused(
    setting: Setting, metadata: list[tuple[str, str | bytes]], cause: str
) -> None:
    assert cause in setting.cause_of(metadata)


def test_an_unreadable_expiry_is_refused(setting: Setting) -> None:
    assert "expiry" in setting.cause(token(exp="soon"))


def test_an_overlong_email_is_dropped(setting: Setting) -> None:
    assert setting.caller(token(email="x" * 300)).email == ""


def test_a_cached_token_still_expires(setting: Setting) -> None:
    good = token()
    assert setting.caller(good) is setting.caller(good)
    setting.clock.now = NOW + timedelta(hours=1) + LEEWAY
    assert "expired" in setting.cause(good)


def test_the_cache_of_tokens_is_bounded(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "MAX_CACHED_TOKENS", 3)
    first = token(sub="0")
    caller = setting.caller(first)
    for n in range(1, 4):
        setting.caller(token(sub=str(n)))
    assert setting.caller(first) is not caller


def test_a_repeated_invalid_token_is_verified_once(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    forged, verified = token(Ed25519PrivateKey.generate()), []
    decode = jwt.decode

    def count(*args: Any, **options: Any) -> Any:
        verified.append(1)
        return decode(*args, **options)

    monkeypatch.setattr(jwt, "decode", count)
    for _ in range(3):
        assert "verify" in setting.cause(forged)
    assert len(verified) == 1
    setting.clock.now = NOW + REFUSED
    assert "verify" in setting.cause(forged)
    assert len(verified) == 2


def test_the_memory_of_invalid_tokens_is_bounded(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_tokens, "MAX_REFUSED", 3)
    refused = RefusedTokens(setting.clock)
    for number in range(4):
        refused.add(bytes([number]), unauthenticated("unknown"))
    refused.check(bytes([0]))
    for number in range(1, 4):
        with pytest.raises(Failure, match="unknown"):
            refused.check(bytes([number]))


def test_only_unknown_tokens_are_attempts(setting: Setting) -> None:
    """A known token, a token that was refused a moment ago, and the peer's secret cost nothing."""
    attempts = []

    @contextmanager
    def attempt() -> Iterator[None]:
        attempts.append(1)
        yield

    def count(text: str) -> int:
        del attempts[:]
        with suppress(Failure):
            bearer = [("authorization", f"Bearer {text}")]
            asyncio.run(setting.authenticator.authenticate(bearer, attempt=attempt))
        return len(attempts)

    good, forged = token(), token(Ed25519PrivateKey.generate())
    assert [count(text) for text in (good, good, forged, forged, PROOF.secret)] == [1, 0, 1, 0, 0]


def test_a_published_key_ends_refusals(setting: Setting) -> None:
    new = Ed25519PrivateKey.generate()
    signed = token(new, "new")
    assert "unknown key" in setting.cause(signed)
    setting.jwks.write_text(jwk_set(ed=ED, new=new))
    setting.clock.now = NOW + REFUSED
    assert setting.caller(signed).subject == "alice"


def test_the_peers_certificate_proves_the_peer_without_a_token(setting: Setting) -> None:
    async def role_of(metadata: list[tuple[str, str]], *names: str) -> Role:
        return next(iter((await setting.authenticator.authenticate(metadata, lambda: names)).roles))

    assert asyncio.run(role_of([], "other.example", "peer.example")) is Role.PEER
    by_alice = [("authorization", f"Bearer {token()}")]
    assert asyncio.run(role_of(by_alice, "peer.example")) is Role.USER
    with pytest.raises(Failure) as caught:
        asyncio.run(role_of([], "other.example"))
    assert caught.value.metadata["cause"] == "no access token"


def test_without_secret_and_name_no_caller_is_the_peer(setting: Setting) -> None:
    keys = KeySet(JwksFile(setting.jwks).read, lambda: NOW)
    nobody = Authenticator(keys, TokenRequirements("us", "ticketing"), PeerProof(), lambda: NOW)
    for metadata in ([], [("authorization", "Bearer the-peers-secret")]):
        with pytest.raises(Failure) as caught:
            asyncio.run(nobody.authenticate(metadata, lambda: ["", "peer.example"]))
        assert caught.value.reason == UNAUTHENTICATED


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["scanner"]}}),
        ("https://example.org/roles", {"https://example.org/roles": ["scanner"]}),
    ],
)
def test_the_roles_claim_may_be_a_path(setting: Setting, claim: str, claims: dict[str, Any]) -> None:
    keys = KeySet(JwksFile(setting.jwks).read, lambda: NOW)
    reader = Authenticator(keys, TokenRequirements("us", "ticketing", claim), PROOF, lambda: NOW)
    bearer = token(**{"roles": None, **claims})
    caller = asyncio.run(reader.authenticate([("authorization", f"Bearer {bearer}")]))
    assert caller.roles == {Role.SCANNER}
    with pytest.raises(Failure, match="no role"):
        asyncio.run(reader.authenticate([("authorization", f"Bearer {token(realm_access='scanner')}")]))


async def test_a_removed_key_invalidates_its_tokens(tmp_path: Path) -> None:
    jwks = JwksFile(tmp_path / "jwks.json")
    jwks.path.write_text(jwk_set(ed=ED, ec=EC))
    keys = KeySet(jwks.read, lambda: NOW)
    authenticator = Authenticator(keys, TokenRequirements("us", "ticketing"), PROOF, lambda: NOW)
    metadata = [("authorization", f"Bearer {token()}")]
    await authenticator.authenticate(metadata)
    jwks.path.write_text(jwk_set(ec=EC))
    await keys.sweep()
    with pytest.raises(Failure, match="unknown key"):
        await authenticator.authenticate(metadata)
