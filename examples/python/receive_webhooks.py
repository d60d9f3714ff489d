"""Receive notifications by webhook on PORT, verify their signatures with WEBHOOK_SECRET, and print each one once."""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_AGE_SECONDS = 300
KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
# A shop stores the ids in its database, with the work that they cause.
received: set[str] = set()


def is_genuine(webhook_id: str, timestamp: str, signatures: str, body: bytes) -> bool:
    """Return whether a signature fits and is young; several, separated by blanks, are sent while a key is rotated."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    fits = any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in signatures.split())
    return fits and abs(time.time() - int(timestamp)) <= MAX_AGE_SECONDS


class Receiver(BaseHTTPRequestHandler):
    """One request of the relay."""

    def do_POST(self) -> None:
        """Answer 204 to a genuine notification; the relay sends it again after any other answer but 2xx."""
        body = self.rfile.read(int(self.headers["content-length"]))
        webhook_id, timestamp, signatures = (
            self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
        )
        genuine = is_genuine(webhook_id, timestamp, signatures, body)
        if genuine and webhook_id not in received:
            received.add(webhook_id)
            notification = json.loads(body)
            print(notification["type"], json.dumps(notification["data"]), flush=True)
        self.send_response(204 if genuine else 401)
        self.end_headers()


with ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver) as server:
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
