"""Who calls: bearer tokens (RFC 6750), JWTs verified against a JWK set, or the secret the two services share.

Verified tokens are remembered until they expire: verifying one costs about 0.2 ms, a third of what a small call costs.
"""

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import jwt

from chassis.clock import Clock
from chassis.failures import unauthenticated

ALGORITHMS = ("EdDSA", "ES256", "RS256")
LEEWAY = timedelta(seconds=30)
MAX_REMEMBERED = 10_000
MAX_TOKEN_CHARACTERS = 8_192
MAX_SUBJECT_CHARACTERS = 255
MAX_EMAIL_CHARACTERS = 254
# A token by an unknown key makes us look whether the file has changed, at most so often.
RELOAD_INTERVAL = timedelta(seconds=5)


class Role(StrEnum):
    """What a caller may be."""

    USER = "user"
    ORGANIZER = "organizer"
    SCANNER = "scanner"
    SERVICE = "service"
    DEVICE = "device"
    PEER = "peer"


# The other service is proven by its secret, a device by the token that its service gave it; no JWT claims to be one.
CLAIMABLE = frozenset(Role) - {Role.PEER, Role.DEVICE}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as their credential says."""

    subject: str
    roles: frozenset[Role]
    email: str = ""
    # When the credential ends; streams end with it.
    expire_time: datetime | None = None
    # Whose it is, where a device calls, and what it is bound to; nothing: all that is its owner's.
    owner: str = ""
    bound_to: frozenset[UUID] = frozenset()

    def is_any(self, *roles: Role) -> bool:
        """Tell whether the caller has one of `roles`."""
        return not self.roles.isdisjoint(roles)


class KeySet:
    """A JWK set (RFC 7517) in a file, read again when a token names a key it does not hold."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._keys = read_key_set(path)
        self._loaded = clock()

    def key(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key of that id, if there is one."""
        if key_id not in self._keys and self._clock() - self._loaded >= RELOAD_INTERVAL:
            self._loaded = self._clock()
            try:
                self._keys = read_key_set(self._path)
            except (OSError, ValueError):
                # Half-written or gone: the keys we have stay good, and the next unknown key looks again.
                return None
        return self._keys.get(key_id)


def read_key_set(path: Path) -> dict[str, jwt.PyJWK]:
    """Read the keys of a JWK set that can verify tokens here, by their ids.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JWK set, or holds no key of use.
    """
    try:
        document = json.loads(path.read_bytes())
        keys = jwt.PyJWKSet.from_dict(document).keys
    except (jwt.PyJWTError, AttributeError, TypeError) as error:
        raise ValueError(f"is no JWK set: {error}") from error
    usable = {key.key_id: key for key in keys if key.key_id and key.algorithm_name in ALGORITHMS}
    if not usable:
        raise ValueError(f"holds no key with an id for {', '.join(ALGORITHMS)}")
    return usable


@dataclass(frozen=True, slots=True)
class Expected:
    """What a JWT must say besides being signed."""

    issuer: str
    audience: str
    roles_claim: str = "roles"


class Authenticator:
    """Turns the metadata of a call into a Caller.

    Args:
        keys: verify the JWTs.
        expected: issuer, audience and the claim that names the roles.
        peer_secret: whoever presents it is the other service; no JWT can claim that role.
        clock: the present time.
    """

    def __init__(self, keys: KeySet, expected: Expected, peer_secret: str, clock: Clock) -> None:
        self._keys = keys
        self._expected = expected
        self._peer_digest = _digest(peer_secret)
        self._clock = clock
        self._remembered: OrderedDict[bytes, Caller] = OrderedDict()

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Return who calls.

        Raises:
            Failure: UNAUTHENTICATED, with the cause.
        """
        token = bearer_token(metadata)
        digest = _digest(token)
        if hmac.compare_digest(digest, self._peer_digest):
            return Caller("peer", frozenset({Role.PEER}))
        caller = self._remembered.get(digest)
        if caller is None:
            caller = self._verify(token)
            self._remembered[digest] = caller
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        # Asked at every call, remembered or not.
        if caller.expire_time is not None and self._clock() >= caller.expire_time + LEEWAY:
            self._remembered.pop(digest, None)
            raise unauthenticated("the token has expired")
        return caller

    def _verify(self, token: str) -> Caller:
        try:
            key = self._key(token)
            claims = jwt.decode(
                token,
                key.key,
                # The key's own algorithm, never the one the token asks for (RFC 8725, 3.1).
                algorithms=[key.algorithm_name],
                audience=self._expected.audience,
                issuer=self._expected.issuer,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    # Times are compared with our own clock, below.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidAudienceError as error:
            raise unauthenticated("the token is for another audience") from error
        except jwt.InvalidIssuerError as error:
            raise unauthenticated("the token is of another issuer") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise unauthenticated("the token does not verify") from error
        return self._caller(claims)

    def _key(self, token: str) -> jwt.PyJWK:
        header = jwt.get_unverified_header(token)
        key_id = header.get("kid")
        key = self._keys.key(key_id) if isinstance(key_id, str) else None
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
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or "\0" in subject:
            raise unauthenticated("the token's subject is empty, too long or no text")
        return Caller(
            subject=subject,
            roles=_roles(claims.get(self._expected.roles_claim)),
            email=email if isinstance(email, str) and len(email) <= MAX_EMAIL_CHARACTERS and "\0" not in email else "",
            expire_time=_time(expires),
        )


def _time(seconds: object) -> datetime:
    if not isinstance(seconds, int | float):
        raise unauthenticated("the token has no expiry that can be read")
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise unauthenticated("the token has no expiry that can be read") from error


def _roles(claim: object) -> frozenset[Role]:
    names = claim if isinstance(claim, list) else [claim]
    roles = frozenset(role for role in CLAIMABLE if role in names)
    if not roles:
        raise unauthenticated("the token names no role that is known here")
    return roles


def bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the token of a call's authorization.

    Raises:
        Failure: UNAUTHENTICATED where there is none that can be read.
    """
    values = [value for key, value in metadata if key == "authorization"]
    if not values:
        raise unauthenticated("no access token")
    value = values[0]
    if len(values) > 1 or not isinstance(value, str):
        raise unauthenticated("more than one access token, or none that can be read")
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or len(token) > MAX_TOKEN_CHARACTERS:
        raise unauthenticated("the authorization is not a bearer token")
    return token.strip()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
