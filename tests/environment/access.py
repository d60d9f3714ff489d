"""Access tokens and shared secrets for tests."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

PEER_SECRET = "peer-secret-of-the-tests-0123456789"
CODE_SECRET = "code-secret-of-the-tests-0123456789"
PEER_METADATA = (("authorization", f"Bearer {PEER_SECRET}"),)


@dataclass(frozen=True)
class Issuer:
    """An issuer of access tokens, with the file of the key that verifies them."""

    private_key: Ed25519PrivateKey
    jwks_file: Path

    def variables(self, data_dir: Path) -> dict[str, str]:
        """Return the settings of a service that accepts these tokens and the shared secrets."""
        return {
            "TICKETING_DATA_DIR": str(data_dir),
            "TICKETING_JWKS_FILE": str(self.jwks_file),
            "TICKETING_PEER_SECRET": PEER_SECRET,
            "TICKETING_CODE_SECRET": CODE_SECRET,
        }

    def token(self, role: str = "user", subject: str = "alice", **claims: Any) -> str:
        """Make an access token; `claims` replace or add to the default claims."""
        now = datetime.now(UTC)
        usual: dict[str, Any] = {
            "iss": "ticketing",
            "aud": "ticketing",
            "sub": subject,
            "roles": [role],
            "exp": now + timedelta(hours=1),
        }
        return jwt.encode({**usual, **claims}, self.private_key, algorithm="EdDSA", headers={"kid": "test"})

    def metadata(self, role: str = "user", subject: str = "alice", **claims: Any) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token(role, subject, **claims)}"),)


def new_issuer(folder: Path) -> Issuer:
    """Make an issuer whose key file is in a folder."""
    private_key = Ed25519PrivateKey.generate()
    jwk = OKPAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    path = folder / "jwks.json"
    path.write_text(json.dumps({"keys": [{**jwk, "kid": "test", "alg": "EdDSA", "use": "sig"}]}))
    return Issuer(private_key, path)


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return new_issuer(tmp_path_factory.mktemp("keys"))
