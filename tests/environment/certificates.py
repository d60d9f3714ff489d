"""A certificate authority, and the files that services and devices read."""

from datetime import datetime
from pathlib import Path

import trustme

from ticketing.chassis.tls import Identity


class Folder:
    """A folder with a certificate authority and the certificates that it issues."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority = trustme.CA()
        self.ca = path / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))

    def identity(self, *names: str, of: str = "server", not_after: datetime | None = None) -> Identity:
        """Issue a certificate; it replaces an earlier one with the same file name."""
        issued = self.authority.issue_cert(*names, not_after=not_after)
        identity = Identity(self.path / f"{of}.pem", self.path / f"{of}.key")
        # Some tools write the key first: for a moment key and certificate do not match.
        issued.private_key_pem.write_to_path(str(identity.key))
        with identity.certificate.open("wb") as file:
            for blob in issued.cert_chain_pems:
                file.write(blob.bytes())
        return identity
