"""A stand-in for the calls of Stripe that the ticket service makes: a real socket, idempotency keys and faults.

Tests read charges and refunds here, by the ids of the service, independently of the tables of the service.
"""

import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

# The payment methods are named after their outcome.
CARD, DECLINED, SECURE, UNKNOWN = "pm_card", "pm_declined", "pm_3d_secure", "pm_unknown"
KEY = "sk_test_of_the_tests"

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818 - an answer, not an error of the stand-in
    def __init__(self, status: int, **error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


@dataclass
class StripeStandIn:
    """A server with charges and refunds; tests set the faults."""

    intents: dict[str, Json] = field(default_factory=dict)
    refunds: list[Json] = field(default_factory=list)
    # The operation of every call, in order.
    calls: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    # By operation: the number of next calls that are done but not answered, and the status of calls that are not done.
    loses: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    fails: dict[str, int] = field(default_factory=dict)
    # Calls of these operations wait until `release_calls`, or the end of the test.
    hangs: set[str] = field(default_factory=set)
    refuses_refunds: str = ""
    # The status of new refunds.
    refund_status: str = "succeeded"
    # The stand-in calls this before it does an operation and before it answers; a ConnectionError drops the call there.
    on_arrival: Callable[[str], None] = lambda _operation: None
    on_done: Callable[[str], None] = lambda _operation: None

    def __post_init__(self) -> None:
        self._answers: dict[str, tuple[int, Json]] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand_in._answer(self, "")

            def do_POST(self) -> None:
                stand_in._answer(self, self.rfile.read(int(self.headers["Content-Length"] or 0)).decode())

            def log_message(self, *_arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def release_calls(self) -> None:
        """Continue the calls that hang."""
        self.hangs.clear()
        self._ended.set()

    def forget_keys(self) -> None:
        """Forget the idempotency keys, as Stripe does after a day."""
        with self._lock:
            self._answers.clear()

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def charged(self) -> dict[str, int]:
        """Return the charged amount of each purchase."""
        sums: dict[str, int] = defaultdict(int)
        for intent in self.intents.values():
            if intent["status"] == "succeeded":
                sums[intent["metadata"]["purchase_id"]] += intent["amount"]
        return dict(sums)

    def refunded(self) -> dict[str, int]:
        """Return the refunded amount of each purchase."""
        sums: dict[str, int] = defaultdict(int)
        for refund in self.refunds:
            if refund["status"] == "succeeded":
                sums[refund["metadata"]["purchase_id"]] += refund["amount"]
        return dict(sums)

    def finish(self, payment_id: str, *, succeeds: bool = True) -> None:
        """Confirm or reject a charge as the buyer does at the bank."""
        with self._lock:
            intent = self.intents[payment_id]
            assert intent["status"] == "requires_action"
            intent["status"] = "succeeded" if succeeds else "requires_payment_method"
            if not succeeds:
                intent["last_payment_error"] = {"code": "payment_intent_authentication_failure"}

    def _answer(self, handler: BaseHTTPRequestHandler, body: str) -> None:
        operation = _operation(handler.command, urlsplit(handler.path).path)
        with self._lock:
            self.calls.append(operation)
            self.keys.append(handler.headers.get("Idempotency-Key"))
        try:
            self.on_arrival(operation)
            if operation in self.hangs:
                self._ended.wait()
            status, answer = self._done(handler, operation, body)
            self.on_done(operation)
        except ConnectionError:
            handler.close_connection = True
            return
        if self.loses[operation] > 0:
            self.loses[operation] -= 1
            handler.close_connection = True
            return
        content = json.dumps(answer).encode()
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except OSError:
            # The test has killed the process that called.
            handler.close_connection = True

    def _done(self, handler: BaseHTTPRequestHandler, operation: str, body: str) -> tuple[int, Json]:
        assert handler.headers["Authorization"] == f"Bearer {KEY}"
        key = handler.headers.get("Idempotency-Key")
        url = urlsplit(handler.path)
        params = {name: values[0] for name, values in parse_qs(body or url.query).items()}
        with self._lock:
            if operation in self.fails:
                return self.fails[operation], {"error": {"type": "api_error", "message": "as the test asked for"}}
            if key is not None and key in self._answers:
                return self._answers[key]
            try:
                answer = 200, getattr(self, f"_{operation}")(url.path.split("/"), params)
            except Refused as refused:
                answer = refused.status, {"error": refused.error}
            # A copy: the answer under a key must not change with the object.
            answer = answer[0], json.loads(json.dumps(answer[1]))
            if key is not None:
                self._answers[key] = answer
            return answer

    def _create(self, _path: list[str], params: dict[str, str]) -> Json:
        if params["payment_method"] == UNKNOWN:
            raise Refused(400, type="invalid_request_error", code="resource_missing", param="payment_method")
        payment_id = f"pi_{uuid.uuid4().hex}"
        self.intents[payment_id] = {
            "id": payment_id,
            "object": "payment_intent",
            "created": int(time.time()),
            "amount": int(params["amount"]),
            "currency": params["currency"],
            "payment_method": params["payment_method"],
            "status": "requires_confirmation",
            "client_secret": f"{payment_id}_secret",
            "last_payment_error": None,
            "metadata": _metadata(params),
        }
        return self.intents[payment_id]

    def _retrieve(self, path: list[str], _params: dict[str, str]) -> Json:
        return self.intents[path[3]]

    def _confirm(self, path: list[str], _params: dict[str, str]) -> Json:
        intent = self.intents[path[3]]
        if intent["status"] != "requires_confirmation":
            raise Refused(400, type="invalid_request_error", code="payment_intent_unexpected_state")
        if intent["payment_method"] == DECLINED:
            intent["status"] = "requires_payment_method"
            error = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}
            intent["last_payment_error"] = error
            raise Refused(402, **error)
        intent["status"] = "requires_action" if intent["payment_method"] == SECURE else "succeeded"
        return intent

    def _cancel(self, path: list[str], _params: dict[str, str]) -> Json:
        intent = self.intents[path[3]]
        if intent["status"] in {"succeeded", "canceled", "processing"}:
            raise Refused(400, type="invalid_request_error", code="payment_intent_unexpected_state")
        intent["status"] = "canceled"
        return intent

    def _refund(self, _path: list[str], params: dict[str, str]) -> Json:
        intent, amount = self.intents[params["payment_intent"]], int(params["amount"])
        before = [r for r in self.refunds if r["payment_intent"] == intent["id"] and r["status"] != "failed"]
        if self.refuses_refunds or intent["status"] != "succeeded":
            raise Refused(400, type="invalid_request_error", code="x", message=self.refuses_refunds)
        if amount + sum(refund["amount"] for refund in before) > intent["amount"]:
            raise Refused(400, type="invalid_request_error", code="charge_already_refunded")
        self.refunds.append(
            {
                "id": f"re_{uuid.uuid4().hex}",
                "object": "refund",
                "created": int(time.time()),
                "amount": amount,
                "currency": intent["currency"],
                "payment_intent": intent["id"],
                "status": self.refund_status,
                "metadata": _metadata(params),
            }
        )
        return self.refunds[-1]

    def _list_refunds(self, _path: list[str], params: dict[str, str]) -> Json:
        wanted = params.get("payment_intent")
        found = [refund for refund in self.refunds if wanted in {None, refund["payment_intent"]}]
        return _page("/v1/refunds", found[::-1], params)

    def _list_intents(self, _path: list[str], params: dict[str, str]) -> Json:
        return _page("/v1/payment_intents", list(self.intents.values())[::-1], params)


def _operation(method: str, path: str) -> str:
    parts = path.split("/")[2:]
    match method, parts[0], len(parts):
        case "POST", "payment_intents", 1:
            return "create"
        case "GET", "payment_intents", 1:
            return "list_intents"
        case "GET", "payment_intents", 2:
            return "retrieve"
        case "POST", "payment_intents", 3:
            return parts[2]
        case "POST", "refunds", 1:
            return "refund"
        case "GET", "refunds", 1:
            return "list_refunds"
    raise AssertionError(f"{method} {path}")


def _metadata(params: dict[str, str]) -> dict[str, str]:
    return {name[9:-1]: value for name, value in params.items() if name.startswith("metadata[")}


def _page(url: str, found: list[Json], params: dict[str, str]) -> Json:
    begin = 0
    if after := params.get("starting_after"):
        begin = next(number for number, one in enumerate(found, 1) if one["id"] == after)
    limit = int(params.get("limit", "10"))
    page = found[begin : begin + limit]
    return {"object": "list", "url": url, "data": page, "has_more": len(found) > begin + limit}
