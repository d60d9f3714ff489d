"""Keys and secrets for development, created once in the data directory and readable by their owner alone."""

import fcntl
import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ticketing.chassis.development import development_token, key_set

# The services warn of the key of containers, not of this one, which is on the machine of a developer.
KEY_ID = "development"


@dataclass(frozen=True, slots=True)
class DevelopmentKeys:
    """The keys and secrets of both services and of the issuer of development tokens."""

    jwks_file: Path
    peer_secret: str
    code_secret: str
    issuer_key: Ed25519PrivateKey

    def token(self, role: str, subject: str) -> str:
        """Sign an access token that is valid for twelve hours."""
        return development_token(self.issuer_key, role, subject, KEY_ID)


def development_keys(data_dir: Path) -> DevelopmentKeys:
    """Return the keys of `data_dir`; the first of several concurrent callers creates them."""
    directory = data_dir.absolute() / "keys"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = directory / "development.json"
    with (directory / "development.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not private.exists():
            _create(private, directory / "jwks.json")
    stored = json.loads(private.read_text())
    return DevelopmentKeys(
        jwks_file=directory / "jwks.json",
        peer_secret=stored["peer_secret"],
        code_secret=stored["code_secret"],
        issuer_key=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(stored["issuer_key"])),
    )


def _create(private: Path, public: Path) -> None:
    key = Ed25519PrivateKey.generate()
    _write(public, key_set(key, KEY_ID))
    # This file is written last, because its existence marks the keys as complete.
    stored = {
        "issuer_key": key.private_bytes_raw().hex(),
        "peer_secret": secrets.token_urlsafe(32),
        "code_secret": secrets.token_urlsafe(32),
    }
    _write(private, stored)
    print(f"made new keys in {private.parent}; tokens of other keys are not valid for them", file=sys.stderr)


def _write(path: Path, document: object) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
    temporary.replace(path)
