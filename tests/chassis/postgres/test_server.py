import socket
import subprocess
import sys

import pytest

from ticketing.chassis.postgres import server

pytestmark = pytest.mark.slow


def test_a_recorded_port_in_use_is_replaced(site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site.layout.record_port(port)
        with site.lease() as lease:
            url = lease.url("things")
            assert site.query(url, "SELECT 1") == [(1,)]
            assert f":{port}/" not in url


def test_a_server_that_ignores_every_request_is_killed(monkeypatch):
    monkeypatch.setattr(server, "_STOP_SECONDS", 0.2)
    deaf = "import signal, sys; [signal.signal(number, signal.SIG_IGN) for number in (2, 3)]; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.stop(process)
        assert process.returncode == -9


def test_a_server_that_cannot_start_reports_the_cause(site):
    (site.layout.data / "global" / "pg_control").unlink()
    message = site.start_process().error()
    assert "PostgreSQL did not start" in message
    assert "pg_control" in message
