"""The HTTP port of a service: its metrics and its health."""

import json
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

# The body of /readyz while a process is ready and no task fails.
READY = {"status": "ok", "not_ready": {}, "warnings": {}}


def get(port: int, path: str) -> tuple[int, str]:
    """Return the status and the body of a path."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def readiness(port: int) -> tuple[int, Any]:
    """Return the status and the parsed body of /readyz."""
    status, body = get(port, "/readyz")
    return status, json.loads(body)
