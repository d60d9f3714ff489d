"""Contract, catalogues and code have the same reasons of failures and of denials."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from scan_service.convert import enums
from scan_service.domain.reasons import Reason as ScanReason
from scan_service.errors import CATALOGUE as SCANS
from ticket_service.domain.reasons import Reason as TicketReason
from ticket_service.errors import CATALOGUE as TICKETS
from ticketing.admission.decision import DENIAL_BY_STATUS
from ticketing.admission.scans import DenialReason
from ticketing.admission.tickets import TicketStatus
from ticketing.chassis import failures
from ticketing.chassis.statuses import REASON_PREFIX, ReasonEntry
from ticketing.gate import messages
from ticketing.gate.answer_text import describe
from ticketing.scans.v1 import error_reason_pb2 as scans_pb2
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
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
# Reasons of the contract that no code raises yet.
NOT_RAISED_YET: dict[str, set[str]] = {"tickets": set(), "scans": set()}


def documented(package: str) -> dict[str, tuple[str, set[str]]]:
    """Return the status code and the metadata keys of each reason, as the comments of the contract state them."""
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
def test_the_catalogue_equals_the_contract(
    package: str, catalogue: object, reason: type, pb2: ModuleType, service: str
) -> None:
    entries: Mapping[str, ReasonEntry] = catalogue.entries  # type: ignore[attr-defined]  # a Catalogue
    in_contract = {name.removeprefix(REASON_PREFIX) for name in pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum wrapper
    assert set(entries) == in_contract
    assert {str(member) for member in reason} == in_contract  # type: ignore[attr-defined]  # an enum
    promised = documented(package)
    assert {name: (entry.code.name, set(entry.metadata_keys)) for name, entry in entries.items()} == promised


@pytest.mark.parametrize(("package", "catalogue", "reason", "pb2", "service"), SERVICES)
def test_the_error_domain_is_that_of_the_contract(
    package: str, catalogue: object, reason: type, pb2: ModuleType, service: str
) -> None:
    text = (ROOT / "protos" / "ticketing" / package / "v1" / "error_reason.proto").read_text()
    assert f'"{catalogue.domain}"' in text  # type: ignore[attr-defined]  # a Catalogue


def raised(service: str) -> set[str]:
    """Return the reasons that the code of a service names, outside its catalogue."""
    names = set()
    for path in (ROOT / service).rglob("*.py"):
        if path.name in {"errors.py", "reasons.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason":
                names.add(node.attr)
    return names


@pytest.mark.parametrize(("package", "catalogue", "reason", "pb2", "service"), SERVICES)
def test_every_reason_is_raised_somewhere(
    package: str, catalogue: object, reason: type, pb2: ModuleType, service: str
) -> None:
    everything = {str(member) for member in reason}  # type: ignore[attr-defined]  # an enum
    assert everything - raised(service) - CHASSIS_REASONS == NOT_RAISED_YET[package]


def test_the_denial_reasons_of_the_domain_are_those_of_the_contract() -> None:
    in_contract = {name.removeprefix("DENIAL_REASON_") for name in scan_pb2.DenialReason.keys()}  # noqa: SIM118 - as above
    assert set(DenialReason) == in_contract - {"UNSPECIFIED"}
    for numbers in (enums.DENIAL_REASONS, messages.DENIAL_REASONS):
        assert set(numbers) == set(DenialReason)
        assert set(numbers.values()) == set(scan_pb2.DenialReason.values()) - {scan_pb2.DENIAL_REASON_UNSPECIFIED}


@pytest.mark.parametrize("reason", DenialReason)
def test_a_gate_shows_every_denial_reason(reason: DenialReason) -> None:
    scan = scan_pb2.Scan(verdict=scan_pb2.VERDICT_DENIED, denial_reason=messages.DENIAL_REASONS[reason])
    answer = messages.answer_of(scan)
    assert (answer.reason, answer.may_pass) == (reason, False)
    assert describe(answer)


@pytest.mark.parametrize("number", [scan_pb2.DENIAL_REASON_UNSPECIFIED, 99])
def test_a_gate_shows_a_reason_of_a_newer_service_as_unknown(number: Any) -> None:
    answer = messages.answer_of(scan_pb2.Scan(verdict=scan_pb2.VERDICT_DENIED, denial_reason=number))
    assert (answer.reason, describe(answer)) == (DenialReason.UNKNOWN, "REASON UNKNOWN")


def test_a_device_reads_a_denial_reason_of_a_newer_service_as_unknown() -> None:
    admission = scan_service_pb2.TicketAdmission(ticket_id=bytes(16), denial_reason=99)  # type: ignore[arg-type]  # a value of a newer service
    status = messages.ticket_of(UUID(int=0), admission).status
    assert DENIAL_BY_STATUS[status] is DenialReason.UNKNOWN


@pytest.mark.parametrize("status", sorted(set(TicketStatus) - {TicketStatus.ACTIVE}))
def test_a_device_denies_for_the_reason_that_the_service_sent(status: TicketStatus) -> None:
    number = enums.DENIAL_REASONS[DENIAL_BY_STATUS[status]]
    admission = scan_service_pb2.TicketAdmission(ticket_id=bytes(16), denial_reason=number)
    assert messages.ticket_of(UUID(int=0), admission).status is status
