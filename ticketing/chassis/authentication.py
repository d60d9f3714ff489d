"""Authentication of callers by bearer tokens (RFC 6750), and of the other service by a secret or a certificate.

Access tokens are JWTs that a JWK set verifies. Verified tokens are cached until they expire: to verify one takes about
0.2 ms, a third of a small call.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

import jwt

from ticketing.chassis.callers import CLAIMABLE, LEEWAY, PEER, Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import Failure, unauthenticated
from ticketing.chassis.jwks import KeySet
from ticketing.chassis.refused_tokens import RefusedTokens
from ticketing.chassis.texts import composed, fault_of_name

MAX_CACHED_TOKENS = 10_000
MAX_TOKEN_CHARACTERS = 8_192
MAX_SUBJECT_CHARACTERS = 255
MAX_EMAIL_CHARACTERS = 254


# A context that counts the work on a credential which is not known, and refuses it beyond a limit.
Attempt = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class TokenRequirements:
    """The claims that a JWT must have besides a valid signature."""

    issuer: str
    audience: str
    # Dots lead into claims that are objects, such as `realm_access.roles`.
    roles_claim: str = "roles"


@dataclass(frozen=True, slots=True)
class PeerProof:
    """The credentials that prove a caller to be the other service."""

    # A shared secret, sent as a bearer token; empty: no secret is accepted.
    secret: str = ""
    # A name in its certificate (SAN), for calls without a token; empty: no name is accepted.
    name: str = ""


class Authenticator:
    """Authenticates callers by the metadata of their calls."""

    def __init__(self, keys: KeySet, requirements: TokenRequirements, proof: PeerProof, clock: Clock) -> None:
        self._keys = keys
        self._requirements = requirements
        self._peer_digest = _digest(proof.secret) if proof.secret else None
        self._peer_name = proof.name
        self._clock = clock
        self._cache: OrderedDict[bytes, Caller] = OrderedDict()
        self._refused = RefusedTokens(clock)
        self._key_set_version = keys.version

    async def authenticate(
        self,
        metadata: Collection[tuple[str, str | bytes]],
        certified_names: Callable[[], Collection[str]] = tuple,
        attempt: Attempt = nullcontext,
    ) -> Caller:
        """Return the caller of a call with `metadata`.

        `certified_names` returns the names in the caller's verified certificate; it is called only where they matter.
        `attempt` surrounds the verification of a token that is not known yet.

        Raises:
            Failure: UNAUTHENTICATED, with the cause; DEPENDENCY_UNAVAILABLE while no keys have been read yet; the failures
                of `attempt`.
        """
        if self._peer_name and not authorizations(metadata) and self._peer_name in certified_names():
            return PEER
        token = bearer_token(metadata)
        digest = _digest(token)
        if self._peer_digest is not None and hmac.compare_digest(digest, self._peer_digest):
            return PEER
        self._clear_cache_of_old_keys()
        caller = self._cache.get(digest)
        if caller is None:
            self._refused.check(digest)
            with attempt():
                caller = await self._verify_once(token, digest)
        elif caller.has_expired(self._clock()):
            # A cached token expires like any other.
            del self._cache[digest]
            raise unauthenticated("the token has expired")
        return caller

    async def _verify_once(self, token: str, digest: bytes) -> Caller:
        """Verify a token, and remember the result."""
        try:
            caller = await self._verify(token)
            self._clear_cache_of_old_keys()
            caller.check_expiry(self._clock())
        except Failure as failure:
            self._clear_cache_of_old_keys()
            self._refused.add(digest, failure)
            raise
        self._cache[digest] = caller
        if len(self._cache) > MAX_CACHED_TOKENS:
            self._cache.popitem(last=False)
        return caller

    def seconds_left(self, caller: Caller) -> float | None:
        """Return the seconds until the caller's credential expires; None: it does not expire."""
        if caller.expire_time is None:
            return None
        return max(0.0, (caller.expire_time + LEEWAY - self._clock()).total_seconds())

    def _clear_cache_of_old_keys(self) -> None:
        """Clear the caches when the key set changed: a removed key verifies no token any more, and an added one does."""
        if self._key_set_version != self._keys.version:
            self._cache.clear()
            self._refused.clear()
            self._key_set_version = self._keys.version

    async def _verify(self, token: str) -> Caller:
        try:
            key = await self._key(token)
            claims = jwt.decode(
                token,
                key.key,
                # The key decides the algorithm, never the token (RFC 8725, 3.1).
                algorithms=[key.algorithm_name],
                audience=self._requirements.audience,
                issuer=self._requirements.issuer,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    # `_caller` and `authenticate` compare times with the clock of this object.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidAudienceError as error:
            raise unauthenticated("the token is for another audience") from error
        except jwt.InvalidIssuerError as error:
            raise unauthenticated("the token is from another issuer") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise unauthenticated("the token does not verify") from error
        return self._caller(claims)

    async def _key(self, token: str) -> jwt.PyJWK:
        header = jwt.get_unverified_header(token)
        key_id = header.get("kid")
        key = await self._keys.key(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise unauthenticated("the token is signed by an unknown key")
        if header.get("alg") != key.algorithm_name:
            raise unauthenticated("the token's algorithm is not its key's")
        return key

    def _caller(self, claims: Mapping[str, object]) -> Caller:
        now = self._clock()
        not_before = claims.get("nbf")
        if isinstance(not_before, int | float) and not_before > (now + LEEWAY).timestamp():
            raise unauthenticated("the token is not valid yet")
        subject, expires, email = claims["sub"], claims["exp"], claims.get("email")
        return Caller(
            subject=_subject(subject),
            roles=_roles(_claim(claims, self._requirements.roles_claim)),
            email=email if isinstance(email, str) and len(email) <= MAX_EMAIL_CHARACTERS and "\0" not in email else "",
            expire_time=_time(expires),
        )


def _subject(claim: object) -> str:
    """Return the subject of a token in NFC, as the user ids of requests are."""
    if not isinstance(claim, str) or not 0 < len(claim) <= MAX_SUBJECT_CHARACTERS:
        raise unauthenticated("the subject of the token is empty, too long or not a text")
    subject = composed(claim)
    if subject is None or len(subject) > MAX_SUBJECT_CHARACTERS or fault_of_name(subject) is not None:
        raise unauthenticated("the subject of the token is no name: it shows nothing, or holds a control character")
    return subject


def _time(seconds: object) -> datetime:
    if not isinstance(seconds, int | float):
        raise unauthenticated("the expiry of the token is missing or unreadable")
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise unauthenticated("the expiry of the token is missing or unreadable") from error


def _claim(claims: Mapping[str, object], name: str) -> object:
    """Find a claim by its name, or else by `name` as a path; many names are URLs, which contain dots."""
    found: object = claims
    for part in [name] if name in claims else name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _roles(claim: object) -> frozenset[Role]:
    names = claim if isinstance(claim, list) else [claim]
    roles = frozenset(role for role in CLAIMABLE if role in names)
    if not roles:
        raise unauthenticated("the token names no role of this service")
    return roles


def bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the bearer token in the metadata of a call; without exactly one readable token raise UNAUTHENTICATED."""
    values = authorizations(metadata)
    if not values:
        raise unauthenticated("no access token")
    value = values[0]
    if len(values) > 1 or not isinstance(value, str):
        raise unauthenticated("more than one access token, or an unreadable one")
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or len(token) > MAX_TOKEN_CHARACTERS:
        raise unauthenticated("the authorization is not a bearer token")
    return token.strip()


def authorizations(metadata: Iterable[tuple[str, str | bytes]]) -> list[str | bytes]:
    """Return the values of `authorization` in the metadata of a call; a valid call has at most one."""
    return [value for key, value in metadata if key == "authorization"]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
