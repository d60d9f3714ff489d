"""Reading requests at the edge: every field is looked at, and every one at fault is named at once.

A reader returns a harmless stand-in for a bad field and notes the violation; `check()` raises for all of them
together, so nothing read before it may be acted upon.
"""

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from ticketing.chassis.failures import FieldViolation, invalid_fields

NIL = UUID(int=0)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# 9999-12-31T23:59:59 and 0001-01-01T00:00:00, as google.protobuf.Timestamp counts them.
MAX_SECONDS = 253_402_300_799
MIN_SECONDS = -62_135_596_800
MAX_NANOS = 999_999_999
# A Struct nests as deeply as its sender likes; what reads it again should not have to.
MAX_STRUCT_DEPTH = 32


class Fields:
    """Collects what is wrong with one request."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def violate(self, field: str, description: str) -> None:
        """Note that `field` is at fault."""
        self._violations.append(FieldViolation(field, description))

    def at_fault(self, field: str) -> bool:
        """Tell whether `field` was noted: what was read of it stands in for it."""
        return any(violation.field == field for violation in self._violations)

    def check(self) -> None:
        """Raise INVALID_ARGUMENT if anything was at fault."""
        if self._violations:
            raise invalid_fields(self._violations)

    def uuid(self, field: str, value: str) -> UUID:
        """Read a required UUID in its canonical 36 characters, in either case."""
        parsed = self.optional_uuid(field, value)
        if parsed is None:
            self.violate(field, "is required" if not value else "is not a UUID")
            return NIL
        return parsed

    def optional_uuid(self, field: str, value: str) -> UUID | None:
        """Read a UUID that may be absent; empty means absent."""
        if not value:
            return None
        # UUID() also takes braces, urn: and missing hyphens: two spellings of one id would be two keys elsewhere.
        if _UUID.fullmatch(value) is None:
            self.violate(field, "is not a UUID")
            return NIL
        return UUID(value)

    def text(self, field: str, value: str, *, max_length: int, min_length: int = 0) -> str:
        """Read a text of `least` to `most` characters; PostgreSQL cannot store NUL."""
        if len(value) < min_length:
            self.violate(field, "is required" if not value else f"is shorter than {min_length} characters")
        if len(value) > max_length:
            self.violate(field, f"is longer than {max_length} characters")
        if "\0" in value:
            self.violate(field, "holds a NUL character")
        return value

    def number(self, field: str, value: int, *, minimum: int, maximum: int) -> int:
        """Read a whole number within bounds."""
        if not minimum <= value <= maximum:
            self.violate(field, f"is not within {minimum} and {maximum}")
            return minimum
        return value

    def enum(self, field: str, value: int, kind: EnumTypeWrapper, *, optional: bool = False) -> int:
        """Read an enum by number; 0 (unspecified) only where `optional`, a number not in the contract never."""
        if value == 0 and not optional:
            self.violate(field, "is required")
        elif value not in kind.values():
            self.violate(field, f"has no value {value}")
            return 0
        return value

    def time(self, field: str, value: Timestamp) -> datetime:
        """Read a time, to the microsecond, within the years 1 to 9999."""
        if not (MIN_SECONDS <= value.seconds <= MAX_SECONDS and 0 <= value.nanos <= MAX_NANOS):
            self.violate(field, "is not a time within the years 1 to 9999")
            return EPOCH
        return value.ToDatetime(tzinfo=UTC)

    def struct(self, field: str, value: Struct, *, max_bytes: int) -> dict[str, object]:
        """Read free-form JSON, bounded in bytes and depth, of what PostgreSQL's jsonb can hold."""
        # Before anything walks it: ByteSize is native, and a JSON text is never shorter than half of it.
        if value.ByteSize() > 4 * max_bytes:
            self.violate(field, f"is larger than {max_bytes} bytes as JSON")
            return {}
        fault = _struct_fault(value.fields.values(), value.fields.keys(), MAX_STRUCT_DEPTH)
        if fault:
            self.violate(field, fault)
            return {}
        parsed: dict[str, object] = MessageToDict(value)
        if _json_size(parsed) > max_bytes:
            self.violate(field, f"is larger than {max_bytes} bytes as JSON")
            return {}
        return parsed


def _json_size(value: object) -> int:

    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _struct_fault(values: Iterable[Value], keys: Iterable[str], depth: int) -> str | None:
    if depth == 0:
        return f"nests deeper than {MAX_STRUCT_DEPTH} levels"
    if any("\0" in key for key in keys):
        return "holds a NUL character"
    for value in values:
        fault = _value_fault(value, depth)
        if fault:
            return fault
    return None


def _value_fault(value: Value, depth: int) -> str | None:
    kind = value.WhichOneof("kind")
    if kind is None:
        return "holds a value of no kind"
    if kind == "number_value" and not math.isfinite(value.number_value):
        return "holds a number that JSON does not have (NaN or infinity)"
    if kind == "string_value" and "\0" in value.string_value:
        return "holds a NUL character"
    if kind == "struct_value":
        return _struct_fault(value.struct_value.fields.values(), value.struct_value.fields.keys(), depth - 1)
    if kind == "list_value":
        return _struct_fault(value.list_value.values, (), depth - 1)
    return None
