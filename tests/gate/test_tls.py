"""The TLS options of the command line, against a service with TLS."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.environment.certificates import Folder
from tests.stand_ins.scans import ScanServiceStandIn, StandInServer
from ticketing.admission.scans import Gate
from ticketing.chassis.tls import Identity, Tls
from ticketing.gate.client import GATE_CHANNEL_OPTIONS, ScanServiceClient
from ticketing.gate.command import main
from ticketing.gate.connection import Connection
from ticketing.gate.credential import Credential
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.messages import gate_message
from ticketing.gate.store import Store

Options = list[str]
Run = Callable[[StandInServer, Options], str]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return another certificate authority."""
    return Folder(tmp_path_factory.mktemp("stranger"))


@contextmanager
def serving(tls: Tls) -> Iterator[StandInServer]:
    server = StandInServer(ScanServiceStandIn(), tls)  # type: ignore[abstract]  # other calls are UNIMPLEMENTED
    yield server
    server.stop()


@pytest.fixture
def scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that scans a valid ticket and returns the printed line."""

    def run(server: StandInServer, options: Options) -> str:
        (tmp_path / "token").write_text("secret")
        (tmp_path / "codes").write_text(server.service.ticket())
        command = ["run", "--server", server.address, "--data", str(tmp_path / "device"), "--location", "North 3"]
        command += ["--event", str(server.service.event_id), "--token-file", str(tmp_path / "token")]
        assert main([*command, "--input", f"file:{tmp_path}/codes", *options]) == 0
        return capsys.readouterr().out

    return run


def shown(identity: Identity) -> Options:
    return ["--certificate", str(identity.certificate), "--key", str(identity.key)]


def test_device_scans_at_a_service_of_its_authority(folder: Folder, scan: Run) -> None:
    with serving(Tls(folder.identity("127.0.0.1"))) as server:
        assert scan(server, ["--ca", str(folder.ca)]).endswith(" ADMITTED STANDARD\n")
        assert len(server.service.asked) == 1


def test_service_of_another_authority_receives_nothing(folder: Folder, stranger: Folder, scan: Run) -> None:
    with serving(Tls(stranger.identity("127.0.0.1"))) as server:
        assert scan(server, ["--ca", str(folder.ca)]).endswith(" (decided offline)\n")
        assert server.service.asked == server.service.uploads == []


def test_service_of_another_name_receives_nothing(folder: Folder, scan: Run) -> None:
    with serving(Tls(folder.identity("scans.example"))) as server:
        assert scan(server, ["--ca", str(folder.ca)]).endswith(" (decided offline)\n")
        assert server.service.asked == server.service.uploads == []


def test_enroll_names_the_problem_of_the_certificate(
    folder: Folder, stranger: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Each certificate replaces the one before on disk, so it is issued when it is served.
    served: list[tuple[Callable[[], Tls], str]] = [
        (lambda: Tls(stranger.identity("127.0.0.1")), "the service's certificate is not by an authority of --ca"),
        (lambda: Tls(folder.identity("scans.example")), "the service's certificate is for another name than --server"),
        (
            lambda: Tls(folder.identity("127.0.0.1", not_after=datetime(2020, 1, 1))),  # noqa: DTZ001 - as trustme takes it
            "the service's certificate has expired, or this device's clock is wrong",
        ),
        (Tls, "the service does not use TLS there"),
    ]
    for tls, message in served:
        with serving(tls()) as server:
            command = ["enroll", "--server", server.address, "--data", str(tmp_path / "device"), "--ca", str(folder.ca)]
            assert main([*command, "CODE"]) == 1
        assert capsys.readouterr().err == f"ticketing-gate: not enrolled: {message}\n"


def test_connection_names_the_problem_of_the_certificate(folder: Folder, stranger: Folder, tmp_path: Path) -> None:
    with serving(Tls(stranger.identity("127.0.0.1"))) as server, closing(Store(tmp_path / "gate.sqlite")) as store:
        open_channel = partial(Tls(server_ca=folder.ca).channel, server.address, GATE_CHANNEL_OPTIONS)
        client = ScanServiceClient(open_channel, Credential(""), gate_message(Gate(server.service.event_id, "North 3")))
        connection = Connection(client, store, DeviceClock(None))
        connection.start()
        connection.wait_for_first_attempt(10)
        connection.stop()
    assert connection.status.problem == "the service's certificate is not by an authority of --ca"


def test_device_shows_its_certificate_if_required(folder: Folder, stranger: Folder, scan: Run) -> None:
    ca = ["--ca", str(folder.ca)]
    with serving(Tls(folder.identity("127.0.0.1"), client_ca=folder.ca)) as server:
        assert scan(server, ca).endswith(" (decided offline)\n")
        assert scan(server, [*ca, *shown(stranger.identity("gate"))]).endswith(" (decided offline)\n")
        assert server.service.asked == server.service.uploads == []
        assert scan(server, [*ca, *shown(folder.identity("gate", of="gate"))]).endswith(" ADMITTED STANDARD\n")


def test_unusable_tls_options_are_named(folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, other = folder.identity("gate"), folder.identity("gate", of="other")
    ca = ["--ca", str(folder.ca)]
    wrong = [
        (["--ca", str(tmp_path / "none.pem")], "the certificates cannot be used: "),
        (["--ca", str(ours.key)], "the certificates cannot be used: "),
        ([*ca, "--certificate", str(ours.certificate)], "--certificate and --key belong together"),
        (
            [*ca, *shown(Identity(ours.certificate, other.key))],
            "the certificates cannot be used: the key is not that of",
        ),
        (["--server", "scans.example:50052"], "--server scans.example:50052: without TLS, others can read the token"),
    ]
    for options, message in wrong:
        assert main(["enroll", "--data", str(tmp_path / "device"), *options, "CODE"]) == 1
        assert f"ticketing-gate: {message}" in capsys.readouterr().err
