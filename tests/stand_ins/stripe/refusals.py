"""The errors of Stripe's API."""

from typing import Any

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818 - an answer, not an error of the stand-in
    """An answer with an error; `is_saved` says whether Stripe repeats it under the same idempotency key."""

    def __init__(self, status: int, error: dict[str, str], *, is_saved: bool = True) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.is_saved = is_saved


def invalid(code: str, message: str, **more: str) -> Refused:
    """Return the refusal of a request whose execution had begun."""
    return Refused(400, {"type": "invalid_request_error", "code": code, "message": message, **more})


def malformed(message: str, **more: str) -> Refused:
    """Return the refusal of a parameter, which Stripe checks before it saves anything."""
    return Refused(400, {"type": "invalid_request_error", "message": message, **more}, is_saved=False)


def missing(kind: str, wanted: str, param: str = "id") -> Refused:
    """Return the refusal of an unknown id."""
    message = f"No such {kind}: '{wanted}'"
    return Refused(
        404, {"type": "invalid_request_error", "code": "resource_missing", "message": message, "param": param}
    )
