import socket
from pathlib import Path


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


def test_a_server_that_cannot_start_says_why(site):
    (site.layout.data / "global" / "pg_control").unlink()
    message = site.hold().error()
    assert "PostgreSQL did not start" in message
    assert "pg_control" in message
