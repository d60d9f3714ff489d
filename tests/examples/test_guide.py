"""Every block of code in docs/guide.md runs, and is the file of the example that it shows."""

import base64
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from dev.code_blocks import PAGES, refreshed
from tests.e2e.service_pair import on_sale
from tests.environment import ROOT
from tests.environment.access import Issuer
from tests.examples.site import Site
from tests.selling.notifications import delivery
from tests.stand_ins.stripe.account import SECURE
from tests.stand_ins.webhook import SECRET
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.delivery.webhook import WebhookReceiver
from ticketing.chassis.authentication import Authenticator, PeerProof, TokenRequirements
from ticketing.chassis.callers import Role
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.jwks import JwksFile, KeySet
from ticketing.chassis.service_settings import read_service_settings
from ticketing.chassis.settings import Environment

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs" / "guide.md").read_text()
FORGED_SECRET = f"whsec_{base64.b64encode(bytes(24)).decode()}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_pages_show_the_examples_as_they_are() -> None:
    stale = [page.name for page in PAGES if refreshed(page.read_text()) != page.read_text()]
    assert stale == [], "run `make proto`"


def test_every_example_is_shown_and_every_block_is_run() -> None:
    shown = set(re.findall(r"^<!-- (examples/\S+) -->$", GUIDE, re.MULTILINE))
    files = {
        str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("*") if path.suffix in {".py", ".js", ".go"}
    }
    assert {name for name in files if "node_modules" not in name} == shown
    # The tests below run the two blocks of the shell and use the claims.
    assert len(re.findall(r"^```\w", GUIDE, re.MULTILINE)) == len(shown) + len(blocks("sh")) + len(blocks("json"))
    assert (len(blocks("sh")), len(blocks("json"))) == (2, 1)


def test_the_first_steps_admit_the_ticket_that_they_sell(site: Site) -> None:
    script = blocks("sh")[0].replace(".venv/bin/python", sys.executable)
    script = re.sub(r"make -s token ROLE=(\w+) SUB=(\w+)", rf"{sys.executable} -m dev.token \1 \2", script)
    for name, default in (("TICKETS_ADDRESS", "127.0.0.1:50051"), ("SCANS_ADDRESS", "127.0.0.1:50052")):
        assert default in script
        script = script.replace(default, site.variables[name])
    *steps, scan = script.strip().splitlines()
    # A person is slower than the feed; this script is not.
    script = "\n".join(["set -e", *steps, f"until {scan} 2>/dev/null; do sleep 0.2; done"])
    paths = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}",
        "TICKETING_DATA_DIR": site.variables["TICKETING_DATA_DIR"],
    }
    printed = subprocess.check_output(
        ["/bin/sh", "-c", script], cwd=ROOT, env={**os.environ, **paths}, text=True, timeout=60
    )
    assert printed.split() == ["VERDICT_ADMITTED", "DENIAL_REASON_UNSPECIFIED"]


def test_a_buyer_confirms_a_card_payment_with_3d_secure(site: Site, event_id: str) -> None:
    buyer = site.start("hold_and_confirm.py", EVENT_ID=event_id, PAYMENT_METHOD=SECURE)
    assert buyer.stdout is not None
    assert buyer.stdout.readline().startswith("secret of the page: ")
    (payment_id,) = [key for key, intent in site.stripe.intents.items() if intent["status"] == "requires_action"]
    site.stripe.finish(payment_id)
    printed, _ = buyer.communicate("\n", timeout=60)
    status, *codes = printed.split()
    assert status == "PURCHASE_STATUS_COMPLETED"
    assert len(codes) == 2


def test_a_gate_that_knows_the_event_opens_its_stream_again(site: Site, event_id: str) -> None:
    token = site.run("sell.py", EVENT_ID=event_id)
    assert site.run("wait_for_gates.py", EVENT_ID=event_id) == "the gates know"
    gate = site.start("gate_stream.py", EVENT_ID=event_id)
    assert gate.stdin is not None
    assert gate.stdout is not None
    gate.stdin.write(f"{token}\n")
    gate.stdin.flush()
    first = gate.stdout.readline()
    site.pair.stop("scan_service")
    site.pair.start("scan_service")
    second, _ = gate.communicate(f"{token}\n", timeout=60)
    assert first.split() == ["VERDICT_ADMITTED", "DENIAL_REASON_UNSPECIFIED"]
    assert second.split() == ["VERDICT_DENIED", "DENIAL_REASON_ALREADY_CHECKED_IN"]


def test_a_gate_goes_on_after_a_scan_without_an_answer(site: Site, event_id: str) -> None:
    token = site.run("sell.py", EVENT_ID=event_id)
    gate = site.start("gate_stream.py", EVENT_ID=event_id, ANSWER_SECONDS="2")
    assert gate.stdin is not None
    assert gate.stdout is not None
    site.pair.stop("scan_service")
    gate.stdin.write(f"{token}\n")
    gate.stdin.flush()
    assert gate.stdout.readline() == "NOT DECIDED, scan again: no connection\n"
    site.pair.start("scan_service")
    printed, _ = gate.communicate(f"{token}\n" * 20, timeout=60)
    verdicts = [line for line in printed.splitlines() if not line.startswith("NOT DECIDED")]
    assert verdicts[0] == "VERDICT_ADMITTED DENIAL_REASON_UNSPECIFIED"


def test_a_gate_shows_why_the_service_refuses_its_stream(site: Site) -> None:
    gate = site.start("gate_stream.py", EVENT_ID="0197a2b0-1111-7000-8000-000000000001")
    printed, _ = gate.communicate("hello\n", timeout=60)
    assert printed.startswith("NOT DECIDED, scan again: EVENT_NOT_FOUND: ")


async def test_a_receiver_prints_each_genuine_notification_once(site: Site) -> None:
    program = site.start("receive_webhooks.py", WEBHOOK_SECRET=SECRET, PORT="0")
    assert program.stdout is not None
    url = program.stdout.readline().split()[-1]

    async def post(secret: str, sent: Delivery, clock: Clock = system_clock) -> str:
        relay = WebhookReceiver(url, secret, 1, clock)
        try:
            await relay.deliver(sent)
        except UndeliveredError as error:
            return str(error)
        finally:
            await relay.close()
        return "taken"

    first = delivery()
    answers = [await post(SECRET, one) for one in (first, first, delivery())]
    assert answers == ["taken"] * 3
    assert "401" in await post(FORGED_SECRET, delivery())
    assert "401" in await post(SECRET, delivery(), lambda: system_clock() - timedelta(minutes=6))
    program.terminate()
    printed, _ = program.communicate(timeout=60)
    assert [line.split()[0] for line in printed.splitlines()] == ["ticketing.ticket.reissued"] * 2


def test_a_shop_reads_the_reason_of_a_failure(site: Site, event_id: str) -> None:
    small = on_sale(site.organizer(), max_participants=1).event_id
    printed = [
        site.run("handle_errors.py", EVENT_ID=event, QUANTITY=quantity)
        for event, quantity in ((small, "2"), (event_id, "0"))
    ]
    assert printed[0] == "SOLD_OUT -> offer 1 tickets"
    assert printed[1].startswith("INVALID_ARGUMENT -> show the fields: items[0].quantity ")


async def test_the_services_accept_the_token_of_keycloak(issuer: Issuer, tmp_path: Path) -> None:
    settings = dict(re.findall(r"^export (\w+)=(\S+)$", blocks("sh")[1], re.MULTILINE))
    claims = {**json.loads(blocks("json")[0]), "exp": datetime.now(UTC).timestamp() + 60}
    assert settings["TICKETING_JWKS_URL"].startswith(claims["iss"])
    variables = {name: value for name, value in issuer.variables(tmp_path).items() if name != "TICKETING_JWKS_FILE"}
    environment = Environment({**variables, **settings})
    read = read_service_settings(environment, "TICKETS", 0, 0)
    environment.check()
    # The keys of the tests stand for those at the URL, which no test may call.
    keys = KeySet(JwksFile(issuer.jwks_file).read, system_clock)
    requirements = TokenRequirements(read.issuer, read.audience, read.roles_claim)
    token = jwt.encode(claims, issuer.private_key, algorithm="EdDSA", headers={"kid": "test"})
    authenticator = Authenticator(keys, requirements, PeerProof(), system_clock)
    caller = await authenticator.authenticate((("authorization", f"Bearer {token}"),))
    assert (caller.subject, caller.email, caller.roles) == (claims["sub"], claims["email"], frozenset({Role.USER}))
