"""The catalogue of reasons against the contract's error_reason.proto, both ways, and against the code."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from scan_service.domain.reasons import Reason as ScanReason
from scan_service.errors import CATALOGUE as SCANS
from ticket_service.domain.reasons import Reason as TicketReason
from ticket_service.errors import CATALOGUE as TICKETS
from ticketing.chassis import failures
from ticketing.chassis.statuses import REASON_PREFIX, Entry
from ticketing.scans.v1 import error_reason_pb2 as scans_pb2
from ticketing.tickets.v1 import error_reason_pb2 as tickets_pb2

ROOT = Path(__file__).parents[2]
SERVICES = [
    ("tickets", TICKETS, TicketReason, tickets_pb2, "ticket_service"),
    ("scans", SCANS, ScanReason, scans_pb2, "scan_service"),
]
CHASSIS_REASONS = {
    failures.INVALID_ARGUMENT,
    failures.UNAUTHENTICATED,
    failures.FORBIDDEN,
    failures.OVERLOADED,
    failures.DEPENDENCY_UNAVAILABLE,
}
# In the contract for what later issues build; leaves this list when it is first raised.
NOT_RAISED_YET: dict[str, set[str]] = {
    "tickets": set(),
    "scans": set(),
}


def documented(package: str) -> dict[str, tuple[str, set[str]]]:
    """What the comments of the contract promise: by reason, its status code and metadata keys."""
    text = (ROOT / "protos" / "ticketing" / package / "v1" / "error_reason.proto").read_text()
    promised = {}
    for comment, name in re.findall(r"((?:  //.*\n)+)  ERROR_REASON_(\w+) = [1-9]\d*;", text):
        words = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())
        code = re.match(r"[A-Z_]+", words)
        assert code is not None, f"{name} names no status code"
        keys = re.search(r"metadata: ([^.]*)\.", words)
        listed = re.split(r", | or ", keys.group(1)) if keys else []
        promised[name] = (code.group(), {key.split(" ")[0] for key in listed})
    return promised


@pytest.mark.parametrize(("package", "catalogue", "reason", "pb2", "service"), SERVICES)
def test_the_catalogue_is_the_contract(
    package: str, catalogue: object, reason: type, pb2: ModuleType, service: str
) -> None:
    entries: Mapping[str, Entry] = catalogue.entries  # type: ignore[attr-defined]  # a Catalogue
    in_contract = {name.removeprefix(REASON_PREFIX) for name in pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum wrapper
    assert set(entries) == in_contract
    assert {str(member) for member in reason} == in_contract  # type: ignore[attr-defined]  # an enum
    promised = documented(package)
    assert {name: (entry.code.name, set(entry.metadata_keys)) for name, entry in entries.items()} == promised


@pytest.mark.parametrize(("package", "catalogue", "reason", "pb2", "service"), SERVICES)
def test_the_domain_is_that_of_the_contract(
    package: str, catalogue: object, reason: type, pb2: ModuleType, service: str
) -> None:
    text = (ROOT / "protos" / "ticketing" / package / "v1" / "error_reason.proto").read_text()
    assert f'"{catalogue.domain}"' in text  # type: ignore[attr-defined]  # a Catalogue


def raised(service: str) -> set[str]:
    """The reasons that the code of a service names, outside its catalogue."""
    names = set()
    for path in (ROOT / service).rglob("*.py"):
        if path.name in {"errors.py", "reasons.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason":
                names.add(node.attr)
    return names


@pytest.mark.parametrize(("package", "catalogue", "reason", "pb2", "service"), SERVICES)
def test_every_reason_is_raised_somewhere_or_awaits_what_raises_it(
    package: str, catalogue: object, reason: type, pb2: ModuleType, service: str
) -> None:
    everything = {str(member) for member in reason}  # type: ignore[attr-defined]  # an enum
    assert everything - raised(service) - CHASSIS_REASONS == NOT_RAISED_YET[package]
