"""Print an access token for a first try: `python -m ticketing.chassis.development FOLDER ROLE SUBJECT`.

The first call makes a key in the folder, and its JWK set `jwks.json` for TICKETING_JWKS_FILE. A service that accepts this
key warns with each start: whoever reads the folder may act as anybody.
"""

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from jwt.algorithms import OKPAlgorithm

from ticketing.chassis.arguments import Parser
from ticketing.chassis.callers import CLAIMABLE
from ticketing.chassis.interrupts import quietly
from ticketing.chassis.jwks import DEVELOPMENT_KEY_ID

KEY_FILE: Final = "development.pem"
TOKEN_LIFETIME: Final = timedelta(hours=12)


def development_key(folder: Path) -> Ed25519PrivateKey:
    """Return the key in a folder; the first call makes it and its JWK set."""
    path = folder / KEY_FILE
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} is no key for Ed25519")  # noqa: TRY004 - the content of the file is wrong
    (folder / "jwks.json").write_text(json.dumps(key_set(key)))
    return key


def key_set(key: Ed25519PrivateKey, key_id: str = DEVELOPMENT_KEY_ID) -> dict[str, object]:
    """Return the JWK set that contains the public part of a key."""
    jwk = {**OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "alg": "EdDSA", "use": "sig"}
    return {"keys": [jwk]}


def development_token(key: Ed25519PrivateKey, role: str, subject: str, key_id: str = DEVELOPMENT_KEY_ID) -> str:
    """Sign an access token that is valid for TOKEN_LIFETIME and has the issuer and the audience of the settings."""
    claims = {
        "iss": os.environ.get("TICKETING_ISSUER") or "ticketing",
        "aud": os.environ.get("TICKETING_AUDIENCE") or "ticketing",
        "sub": subject,
        "roles": [role],
        "exp": datetime.now(UTC) + TOKEN_LIFETIME,
    }
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id})


def main(arguments: list[str]) -> int:
    """Print a token; return 1 where the folder cannot be used."""
    parser = Parser(
        prog="python -m ticketing.chassis.development", description="Print an access token for a first try."
    )
    parser.add_argument("folder", type=Path, help="the folder of the key and of its JWK set, jwks.json")
    parser.add_argument("role", choices=sorted(role.value for role in CLAIMABLE))
    parser.add_argument("subject", help="the subject of the token, such as alice")
    options = parser.parse_args(arguments)
    try:
        print(development_token(development_key(options.folder), options.role, options.subject))  # noqa: T201 - a command line
    except (OSError, ValueError) as error:
        print(f"development: {error}", file=sys.stderr)  # noqa: T201 - a command line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(quietly(lambda: main(sys.argv[1:])))
