"""The background task that checks the certificate files of a process and exports when its certificate expires."""

import asyncio
from typing import Final

from cryptography import x509
from prometheus_client import Gauge

from ticketing.chassis.tls import Tls

EXPIRY: Final = Gauge(
    "ticketing_certificate_expiry_timestamp_seconds", "The time when the certificate of this process expires (TLS)."
)


class CertificateWatch:
    """The sweeper of the certificate files of one process."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls

    async def sweep(self) -> bool:
        """Check the files as `Tls.sweep` does, and export the expiry of the first certificate; return False."""
        await self._tls.sweep()
        if self._tls.identity is not None:
            await asyncio.to_thread(_export, self._tls)
        return False


def _export(tls: Tls) -> None:
    if tls.identity is not None:
        certificates = x509.load_pem_x509_certificates(tls.identity.certificate.read_bytes())
        EXPIRY.set(certificates[0].not_valid_after_utc.timestamp())
