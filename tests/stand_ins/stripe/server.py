"""The socket of the stand-in: authentication, idempotency keys, and the faults that a test asks for."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from tests.stand_ins.stripe.account import API_VERSION, Account
from tests.stand_ins.stripe.api import Operation, operation_of
from tests.stand_ins.stripe.idempotency import IdempotencyKeys
from tests.stand_ins.stripe.refusals import Json, Refused, invalid
from tests.stand_ins.stripe.webhooks import SIGNING_SECRET, deliver

KEY = "sk_test_of_the_tests"


@dataclass(frozen=True)
class Answer:
    """A status and a JSON document; `is_repeated` if an idempotency key had it saved."""

    status: int
    content: Json
    is_repeated: bool = False


@dataclass
class StripeStandIn(Account):
    """A server for an account; tests set the faults."""

    # The operation of every call but listings, in order: the names of the functions in `api`. The reconciler lists at
    # any time.
    calls: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    # By operation: the number of next calls that are done but not answered.
    loses: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    # By operation: the status of calls that are not done; Stripe saves no such answer under a key.
    fails: dict[str, int] = field(default_factory=dict)
    # The code and the header of such an answer with the status 429.
    limit_code: str = "rate_limit"
    retry_after: str = ""
    # By operation: the status of calls that fail after their execution began, so Stripe saves the answer.
    breaks: dict[str, int] = field(default_factory=dict)
    # Calls of these operations wait until `release_calls`, or the end of the test.
    hangs: set[str] = field(default_factory=set)
    refuses_refunds: str = ""
    # The stand-in calls this before it does an operation and before it answers; a ConnectionError drops the call there.
    on_arrival: Callable[[str], None] = lambda _operation: None
    on_done: Callable[[str], None] = lambda _operation: None

    def __post_init__(self) -> None:
        self._keys = IdempotencyKeys(self.clock)
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
            self._keys.forget()

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def deliver(self, url: str, *events: Json, secret: str = SIGNING_SECRET) -> list[int]:
        """Post signed events to a receiver in the given order; return the statuses of its answers."""
        return [deliver(url, event, self.clock(), secret) for event in events]

    def _answer(self, handler: BaseHTTPRequestHandler, body: str) -> None:
        url = urlsplit(handler.path)
        operation, wanted = operation_of(handler.command, url.path)
        name = operation.__name__
        params = dict(parse_qsl(body or url.query, keep_blank_values=True))
        with self._lock:
            if not name.startswith("list_"):
                self.calls.append(name)
                self.keys.append(handler.headers.get("Idempotency-Key"))
        try:
            self.on_arrival(name)
            if name in self.hangs:
                self._ended.wait()
            assert handler.headers["Authorization"] == f"Bearer {KEY}"
            assert handler.headers["Stripe-Version"] == API_VERSION
            answer = self._done(operation, wanted, params, handler.headers.get("Idempotency-Key"))
            self.on_done(name)
        except ConnectionError:
            handler.close_connection = True
            return
        if self.loses[name] > 0:
            self.loses[name] -= 1
            handler.close_connection = True
            return
        _send(handler, answer, self.retry_after if answer.status == 429 else "")

    def _done(self, operation: Operation, wanted: str, params: dict[str, str], key: str | None) -> Answer:
        name = operation.__name__
        request = (name, wanted, params)
        with self._lock:
            if name in self.fails:
                return Answer(self.fails[name], {"error": {**_FAULT["error"], "code": self.limit_code}})
            try:
                saved = None if key is None else self._keys.find(key, request)
                if saved is not None:
                    return Answer(*saved, is_repeated=True)
                self._break(name)
                status, content, is_saved = 200, operation(self, wanted, params), True
            except Refused as refused:
                status, content, is_saved = refused.status, {"error": refused.error}, refused.is_saved
            # A copy: the answer under a key must not change with the object.
            answer = Answer(status, json.loads(json.dumps(content)))
            if key is not None and is_saved:
                self._keys.save(key, request, answer.status, answer.content)
            return answer

    def _break(self, name: str) -> None:
        """Refuse an operation whose execution has begun, if the test asks for it."""
        if name in self.breaks:
            raise Refused(self.breaks[name], _FAULT["error"])
        if name == "refund" and self.refuses_refunds:
            raise invalid("x", self.refuses_refunds)


_FAULT: Json = {"error": {"type": "api_error", "message": "as the test asked for"}}


def _send(handler: BaseHTTPRequestHandler, answer: Answer, retry_after: str) -> None:
    content = json.dumps(answer.content).encode()
    try:
        handler.send_response(answer.status)
        if retry_after:
            handler.send_header("Retry-After", retry_after)
        if answer.is_repeated:
            handler.send_header("Idempotent-Replayed", "true")
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
    except OSError:
        # The test has killed the process that called.
        handler.close_connection = True
