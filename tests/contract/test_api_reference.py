"""docs/api equals the contract, its links lead somewhere, and the services accept its example requests."""

import json
import re
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from dev.api_pages import PAGES, pages
from tests.contract.documented_requests import document, documented_requests
from tests.contract.matrix_requests import REQUESTS
from tests.contract.matrix_world import OWN, RPCS, World
from tests.environment.access import PEER_METADATA
from tests.environment.declared_reasons import DECLARED, EVERY_CALL
from ticketing.options.v1 import options_pb2
from ticketing.scans.v1 import error_reason_pb2 as scans_pb2
from ticketing.tickets.v1 import error_reason_pb2 as tickets_pb2

CATALOGUES = {"tickets": tickets_pb2.ErrorReason, "scans": scans_pb2.ErrorReason}
# The world of the matrix has no look-ups, and the scan service in it no ticket service.
REFUSED = {"ScanService/LookUpTickets": "LOOK_UP_NOT_ALLOWED", "ScanService/GetHolder": "DEPENDENCY_UNAVAILABLE"}


def test_the_pages_are_those_of_the_contract() -> None:
    committed = {path.name: path.read_text() for path in PAGES.iterdir()}
    generated = pages(documented_requests())
    assert committed.keys() == generated.keys()
    different = [name for name, text in generated.items() if committed[name] != text]
    assert different == [], "run `make proto`"


def anchors(text: str) -> set[str]:
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def test_every_link_leads_to_a_heading() -> None:
    texts = {path.name: path.read_text() for path in PAGES.iterdir() if path.suffix == ".md"}
    broken = [
        f"{name}: {page}#{anchor}"
        for name, text in texts.items()
        for page, anchor in re.findall(r"\]\((\w+\.md)#([^)]+)\)", text)
        if anchor not in anchors(texts[page])
    ]
    assert broken == []


@pytest.mark.parametrize("package", CATALOGUES)
def test_every_reason_is_declared_by_a_method_or_by_all(package: str) -> None:
    known = {name.removeprefix("ERROR_REASON_") for name in CATALOGUES[package].keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum wrapper
    declared = {reason for method, own in DECLARED.items() if f".{package}." in method for reason in own}
    assert declared | EVERY_CALL == known
    assert declared & EVERY_CALL == set()


def test_every_reason_says_what_to_do() -> None:
    rows = re.findall(r"^\| <a id=.*$", (PAGES / "errors.md").read_text(), re.MULTILINE)
    assert len(rows) > 40
    assert [row for row in rows if not re.search(r"\| [A-Z][^|]*\. \|$", row)] == []


def metadata_of(world: World, rpc: str) -> Any:
    """Return the credential of a caller whom the method admits."""
    roles = RPCS[rpc].GetOptions().Extensions[options_pb2.access].roles
    if options_pb2.ROLE_PEER in roles:
        return PEER_METADATA
    by = {options_pb2.ROLE_SCANNER: ("scanner", "sam"), options_pb2.ROLE_SERVICE: ("service", "shop")}
    others = [by[role] for role in roles if role in by and options_pb2.ROLE_ORGANIZER not in roles]
    if rpc == "ScanService/GetHolder":
        # Sam made the scan.
        others = [("scanner", "sam")]
    return world.issuer.metadata(*(others or [("organizer", "olga")])[0])


def example_of(rpc: str) -> str:
    """Read the example of an RPC in its page."""
    service, method = rpc.split("/")
    page = PAGES / (re.sub(r"(?<!^)(?=[A-Z])", "_", service).lower() + ".md")
    section = page.read_text().split(f"## {method}\n")[1]
    return section.split("```json\n")[1].split("\n```")[0]


@pytest.mark.slow
async def test_the_services_accept_every_example(world: World) -> None:
    wrong = []
    for rpc, descriptor in RPCS.items():
        text = example_of(rpc)
        # The ids of the page become those of real objects, in the order in which they appear.
        real = document(await REQUESTS[rpc](world, OWN))
        if real.text != text:
            wrong.append(f"{rpc}: the page has {text}, the test sends {real.text}")
            continue
        for readable, value in real.real_values.items():
            text = text.replace(readable, value)
        request = json_format.ParseDict(json.loads(text), GetMessageClass(descriptor.input_type)())
        answer = await world.ask(descriptor, request, metadata_of(world, rpc))
        if answer.word != REFUSED.get(rpc) and answer.word not in {"ok", "some", "none"}:
            wrong.append(f"{rpc}: {answer.word} {answer.message}")
    assert "\n".join(wrong) == ""
