"""The expiry of the certificate of a process is exported."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import REGISTRY

from tests.environment.certificates import Folder
from ticketing.chassis.certificate_watch import CertificateWatch
from ticketing.chassis.tls import Tls


async def test_the_expiry_of_a_renewed_certificate_is_exported(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    now = datetime.now(UTC).replace(microsecond=0)
    for days in (3, 90):
        watch = CertificateWatch(Tls(folder.identity("127.0.0.1", not_after=now + timedelta(days=days))))
        assert await watch.sweep() is False
        exported = REGISTRY.get_sample_value("ticketing_certificate_expiry_timestamp_seconds")
        assert exported == (now + timedelta(days=days)).timestamp()
