"""An authority for tests, and what it certifies, in the files that services and devices are given."""

from pathlib import Path

import trustme

from ticketing.chassis.tls import Identity


class Folder:
    """Certificates as an operator lays them out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority = trustme.CA()
        self.ca = path / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))

    def identity(self, *names: str, of: str = "server") -> Identity:
        """Issue a certificate, over the one that was there."""
        issued = self.authority.issue_cert(*names)
        identity = Identity(self.path / f"{of}.pem", self.path / f"{of}.key")
        # The key first, as a tool may: for a moment the two do not belong together.
        issued.private_key_pem.write_to_path(str(identity.key))
        with identity.certificate.open("wb") as file:
            for blob in issued.cert_chain_pems:
                file.write(blob.bytes())
        return identity
