import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ticketing.chassis.postgres import EmbeddedPostgresError, server

pytestmark = pytest.mark.slow


def test_a_recorded_port_that_somebody_else_has_is_given_up(site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site.layout.record_port(port)
        with site.lease() as server:
            url = server.url("things")
            assert site.query(url, "SELECT 1") == [(1,)]
            assert f":{port}/" not in url


def test_ports_are_not_those_of_outgoing_connections(site):
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with site.lease():
        assert 1024 < site.layout.read_port() < first_outgoing


def test_the_search_for_a_free_port_ends(site, program):
    with site.layout.log.open("ab") as log, pytest.raises(EmbeddedPostgresError, match="found no free port"):
        server.start(site.layout, program("echo . >> tries; echo 'Address already in use'; exit 1"), log)
    assert (site.layout.cluster / "tries").read_text().count(".") == 10


def test_a_server_that_does_not_get_ready_is_ended(site, program, monkeypatch):
    monkeypatch.setattr(server, "_START_SECONDS", 1)
    with site.layout.log.open("ab") as log, pytest.raises(EmbeddedPostgresError, match=r"not ready after 1 s"):
        server.start(site.layout, program("echo $$ > pid; exec sleep 600"), log)
    pid = int((site.layout.cluster / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_ignores_every_request_is_killed(monkeypatch):
    monkeypatch.setattr(server, "_STOP_SECONDS", 0.2)
    deaf = "import signal, sys; [signal.signal(number, signal.SIG_IGN) for number in (2, 3)]; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.stop(process)
        assert process.returncode == -9


def test_a_server_that_cannot_start_says_why(site):
    (site.layout.data / "global" / "pg_control").unlink()
    message = site.hold().error()
    assert "PostgreSQL did not start" in message
    assert "pg_control" in message
