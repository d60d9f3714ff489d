"""The examples in Node.js and Go sell a ticket, repeat a call as the service asks, and read the reason of a refusal."""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tests.environment import ROOT
from tests.examples.site import Site
from tests.stand_ins.scripted_service import ScriptedService, refusing
from ticket_service.errors import CATALOGUE
from ticketing.tickets.v1 import purchase_service_pb2

# Without its cache Go compiles gRPC first, and npm downloads it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DEBIAN_GO = Path("/usr/share/gocode")
# The generator of Debian 12 knows neither `optional` nor the packages of the well-known types.
KNOWN_TYPES = {
    **{name: f"github.com/golang/protobuf/ptypes/{name}" for name in ("timestamp", "duration", "struct")},
    "descriptor": "github.com/golang/protobuf/protoc-gen-go/descriptor",
    "field_mask": "google.golang.org/genproto/protobuf/field_mask",
}
Command = Sequence[str]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Command:
    """Install the packages of the example as its lock file states; return the command that runs it."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed; on Debian: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "sell.js"):
        shutil.copy(ROOT / "examples" / "node" / name, folder)
    cache = pytestconfig.cache.mkdir("npm") if pytestconfig.cache is not None else folder / "cache"
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", f"--cache={cache}"]
    installed = subprocess.run(
        [*install, "--fetch-timeout=20000", "--fetch-retries=1"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if re.search(r"code (E(NOTFOUND|AI_AGAIN|CONN\w+|TIMEDOUT|SOCKETTIMEDOUT|40\d|50\d))", installed.stderr):
        pytest.skip(f"the registry of npm does not answer: {installed.stderr.splitlines()[0]}")
    assert installed.returncode == 0, installed.stderr
    return ["node", str(folder / "sell.js")]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Command:
    """Build the example with the packages of Debian; return the command that runs it."""
    if (
        not shutil.which("go")
        or not shutil.which("protoc-gen-go")
        or not (DEBIAN_GO / "src/google.golang.org/grpc").exists()
    ):
        pytest.skip("on Debian 12: apt-get install golang golang-google-grpc-dev protoc-gen-go-1-3")
    folder = tmp_path_factory.mktemp("go")
    sources, protos = folder / "src", folder / "protos"
    for proto in (ROOT / "protos").rglob("*.proto"):
        copy = protos / proto.relative_to(ROOT / "protos")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(re.sub(r"^( *)optional ", r"\1", proto.read_text(), flags=re.MULTILINE))
    (sources / "sell").mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "go" / "sell.go", sources / "sell")
    mapping = ",".join(f"Mgoogle/protobuf/{name}.proto={package}" for name, package in KNOWN_TYPES.items())
    for package in ("options", "tickets"):
        files = [str(path) for path in (protos / "ticketing" / package / "v1").glob("*.proto")]
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}"]
        subprocess.run([*protoc, f"--go_out=plugins=grpc,{mapping}:{sources}", *files], check=True)
    cache = pytestconfig.cache.mkdir("go") if pytestconfig.cache is not None else folder / "cache"
    variables = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{folder}:{DEBIAN_GO}", "GOCACHE": str(cache)}
    build = ["go", "build", "-o", str(folder / "program"), "."]
    subprocess.run(build, cwd=sources / "sell", env={**os.environ, **variables}, check=True)
    return [str(folder / "program")]


@pytest.fixture(params=["node", "go"])
def program(request: pytest.FixtureRequest) -> Command:
    command: Command = request.getfixturevalue(request.param)
    return command


@pytest.fixture
def scripted() -> Iterator[ScriptedService]:
    service = ScriptedService(CATALOGUE)
    yield service
    service.close()


Sell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sell(program: Command) -> Sell:
    """Run the example; keyword arguments are its environment."""

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        usual = {
            "PROTOS": str(ROOT / "protos"),
            "SERVICE_CONFIG": str(ROOT / "docs" / "api" / "service_config.json"),
            "SERVICE_TOKEN": "token",
            "EVENT_ID": str(uuid.uuid4()),
            "QUANTITY": "1",
            # The gRPC of Debian 12 repeats calls with this setting only.
            "GRPC_GO_RETRY": "on",
            "REQUEST_ID": str(uuid.uuid4()),
        }
        environment = {**os.environ, **usual, **variables}
        return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_the_example_sells_a_ticket(site: Site, event_id: str, sell: Sell) -> None:
    sold = sell(**site.variables, EVENT_ID=event_id)
    assert re.fullmatch(r"TKT-[0-9A-F]{16}\n", sold.stdout), sold.stderr
    refused = sell(**site.variables, EVENT_ID=event_id, QUANTITY="0")
    assert refused.returncode == 1
    assert refused.stdout.startswith("ERROR_REASON_INVALID_ARGUMENT "), refused.stderr


def test_the_example_repeats_the_same_request_as_the_service_asks(scripted: ScriptedService, sell: Sell) -> None:
    answer = purchase_service_pb2.PurchaseTicketsResponse()
    answer.purchase.tickets.add(code="TKT-0123456789ABCDEF")
    busy = refusing("OVERLOADED", "too much", retry_after=timedelta(milliseconds=20))
    scripted.answers = [busy, busy, lambda _: answer.SerializeToString()]
    assert sell(TICKETS_ADDRESS=scripted.address).stdout == "TKT-0123456789ABCDEF\n"
    assert len({call.request for call in scripted.calls}) == 1
    assert len(scripted.calls) == 3


def test_the_example_reads_the_reason_and_the_time_to_wait(scripted: ScriptedService, sell: Sell) -> None:
    scripted.answers = [refusing("OVERLOADED", "too much", retry_after=timedelta(seconds=30))]
    refused = sell(TICKETS_ADDRESS=scripted.address)
    assert refused.returncode == 1
    assert refused.stdout.startswith("ERROR_REASON_OVERLOADED ")
    assert refused.stdout.endswith(" wait 30 s\n")
    assert len(scripted.calls) == 1


def test_the_example_rounds_the_time_to_wait_up(scripted: ScriptedService, sell: Sell) -> None:
    busy = refusing("OVERLOADED", "too much", retry_after=timedelta(milliseconds=20))
    scripted.answers = [busy] * 10
    assert sell(TICKETS_ADDRESS=scripted.address).stdout.endswith(" wait 1 s\n")


def test_the_example_repeats_a_request_without_an_answer(sell: Sell) -> None:
    refused = sell(TICKETS_ADDRESS="127.0.0.1:1")
    assert refused.stdout.startswith("UNAVAILABLE ") or refused.stdout.startswith("Unavailable ")
    assert refused.stdout.endswith(" send the same request again\n")


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((ROOT / "examples" / "node" / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in packages.items() if name)
