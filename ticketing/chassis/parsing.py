"""Parse requests at the edge and report every field at fault in one answer.

A reader returns a harmless substitute for a bad field and records the violation; `check()` raises for all of them
together. Code before `check()` must not act upon the values. The bounds of a field stand in the contract (`bounds`).
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from ticketing.chassis.bounds import BOUNDS, FieldBounds
from ticketing.chassis.failures import FieldViolation, invalid_fields
from ticketing.chassis.ids import read_id
from ticketing.chassis.texts import MAX_COMBINING, composed, fault_of_lines, fault_of_name, with_line_feeds
from ticketing.options.v1 import options_pb2

NIL: Final = UUID(int=0)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# 9999-12-31T23:59:59 and 0001-01-01T00:00:00, as google.protobuf.Timestamp counts them.
MAX_SECONDS: Final = 253_402_300_799
MIN_SECONDS: Final = -62_135_596_800
MAX_NANOS: Final = 999_999_999
# NFC is shorter than any other form of a text, at most by this factor.
MAX_GROWTH: Final = 4
# A Struct may nest to any depth; recursive code that reads it again needs a bound.
MAX_STRUCT_DEPTH: Final = 32

M = TypeVar("M", bound=Message)
N = TypeVar("N", bound=Message)
E = TypeVar("E")


class Fields(Generic[M]):
    """The fields of one message, and the violations of the whole request.

    Every reader takes the name of a field, finds its bounds in the contract, and reads the message's value unless
    `value` replaces it. `key` names an item of a repeated field or map, such as `[0]`; `path` precedes the names of all
    fields of the message, such as `items[0].`. Fields `of` the same request share its violations.
    """

    __slots__ = ("_bounds", "_path", "_violations", "message")

    def __init__(self, message: M, path: str = "", of: "Fields[N] | None" = None) -> None:
        self.message = message
        self._path = path
        self._bounds = BOUNDS[type(message)]
        self._violations: list[FieldViolation] = [] if of is None else of._violations  # noqa: SLF001 - of the same class

    def inside(self, field: str, message: N) -> "Fields[N]":
        """Return the fields of the message in `field`."""
        return Fields(message, f"{self._path}{field}.", self)

    def each(self, field: str, messages: Sequence[N]) -> "Sequence[Fields[N]]":
        """Return the fields of every message of a repeated field; none where there are too many."""
        if not self._are_within(field, len(messages)):
            return ()
        path = f"{self._path}{field}["
        return [Fields(message, f"{path}{index}].", self) for index, message in enumerate(messages)]

    def bounds(self, field: str) -> FieldBounds:
        """Return the bounds of `field`."""
        return self._bounds[field]

    def violate(self, field: str, description: str) -> None:
        """Record that `field` is at fault."""
        self._violations.append(FieldViolation(self._path + field, description))

    def at_fault(self, field: str) -> bool:
        """Return whether `field` is at fault: its value is a substitute."""
        path = self._path + field
        return any(violation.field == path for violation in self._violations)

    def check(self) -> None:
        """Raise INVALID_ARGUMENT if any field of the request is at fault."""
        if self._violations:
            raise invalid_fields(self._violations)

    def uuid(self, field: str, value: str | None = None, key: str = "") -> UUID:
        """Read a required UUID in its canonical 36 characters, in either case."""
        if value is None:
            value = getattr(self.message, field)
        # UUID() also takes braces, urn: and missing hyphens: two spellings of one id would be two keys elsewhere.
        if _UUID.fullmatch(value) is not None:
            return read_id(value)
        self.violate(field + key, "is not a UUID" if value else "is required")
        return NIL

    def optional_uuid(self, field: str) -> UUID | None:
        """Read a UUID that may be absent; empty means absent."""
        return self.uuid(field) if getattr(self.message, field) else None

    def uuids(self, field: str) -> list[UUID]:
        """Read a repeated UUID."""
        values: Sequence[str] = getattr(self.message, field)
        if not self._are_within(field, len(values)):
            return []
        return [self.uuid(field, value, f"[{index}]") for index, value in enumerate(values)]

    def text(self, field: str, value: str | None = None) -> str:
        """Read a text as its format asks for: in NFC unless it is opaque, and without NUL, which PostgreSQL cannot store."""
        if value is None:
            value = getattr(self.message, field)
        bounds = self._bounds[field]
        if bounds.format != options_pb2.FORMAT_OPAQUE and len(value) <= MAX_GROWTH * bounds.max_length:
            value = self._composed(field, value, bounds)
        if not bounds.min_length <= len(value) <= bounds.max_length:
            self._violate_length(field, value, bounds)
        elif "\0" in value:
            self.violate(field, "holds a NUL character")
        return value

    def any_text(self, field: str) -> str:
        """Read a text of any characters."""
        value: str = getattr(self.message, field)
        bounds = self._bounds[field]
        if not bounds.min_length <= len(value) <= bounds.max_length:
            self._violate_length(field, value, bounds)
        return value

    def number(self, field: str, value: int | None = None, key: str = "", *, maximum: int | None = None) -> int:
        """Read a whole number; `maximum` lowers the contract's bound."""
        if value is None:
            value = getattr(self.message, field)
        bounds = self._bounds[field]
        if maximum is None:
            maximum = bounds.maximum
        if not bounds.minimum <= value <= maximum:
            self.violate(field + key, f"is not within {bounds.minimum} and {maximum}")
            return bounds.minimum
        return value

    def optional_number(self, field: str) -> int | None:
        """Read a whole number that may be absent."""
        return self.number(field) if self.message.HasField(field) else None

    def enum(self, field: str, members: Mapping[E, int], unspecified: E | None = None) -> E:
        """Read an enum as the member of that number; 0 is `unspecified`, and a violation where that is None."""
        number = getattr(self.message, field)
        if number == 0 and unspecified is not None:
            return unspecified
        return self._member(field, number, members)

    def optional_enum(self, field: str, members: Mapping[E, int]) -> E | None:
        """Read an enum; 0 is None."""
        return self.enum(field, members) if getattr(self.message, field) else None

    def enums(self, field: str, members: Mapping[E, int]) -> frozenset[E]:
        """Read a repeated enum."""
        numbers: Sequence[int] = getattr(self.message, field)
        return frozenset(self._member(f"{field}[{index}]", number, members) for index, number in enumerate(numbers))

    def time(self, field: str) -> datetime:
        """Read a time, to the microsecond, within its bounds, by default the years 1 to 9999."""
        if self._bounds[field].required and not self.message.HasField(field):
            self.violate(field, "is required")
            return EPOCH
        return self._time(field)

    def optional_time(self, field: str) -> datetime | None:
        """Read a time that may be absent."""
        return self._time(field) if self.message.HasField(field) else None

    def span(self, field: str) -> timedelta:
        """Read a Duration, to the microsecond; absent is zero."""
        value: Duration = getattr(self.message, field)
        bounds = self._bounds[field]
        if not bounds.minimum <= value.seconds <= bounds.maximum:
            self.violate(field, f"is not within {bounds.minimum} and {bounds.maximum} seconds")
            return timedelta()
        return timedelta(seconds=value.seconds, microseconds=value.nanos // 1_000)

    def struct(self, field: str) -> dict[str, object]:
        """Read JSON that PostgreSQL's jsonb can store, bounded in bytes and depth; absent is empty."""
        if not self.message.HasField(field):
            return {}
        value: Struct = getattr(self.message, field)
        max_bytes = self._bounds[field].max_bytes
        # This check precedes code that walks the Struct: ByteSize is native, and a JSON text is never shorter than half of it.
        if value.ByteSize() > 4 * max_bytes:
            self.violate(field, f"is larger than {max_bytes} bytes as JSON")
            return {}
        fault = _struct_fault(value.fields.values(), value.fields.keys(), MAX_STRUCT_DEPTH)
        if fault:
            self.violate(field, fault)
            return {}
        parsed: dict[str, object] = _composed_json(MessageToDict(value))
        if _json_size(parsed) > max_bytes:
            self.violate(field, f"is larger than {max_bytes} bytes as JSON")
            return {}
        return parsed

    def _are_within(self, field: str, items: int) -> bool:
        bounds = self._bounds[field]
        if bounds.required and not items:
            self.violate(field, "is required")
        if items > bounds.max_items:
            self.violate(field, f"holds more than {bounds.max_items}")
        return items <= bounds.max_items

    def _member(self, field: str, number: int, members: Mapping[E, int]) -> E:
        for member, member_number in members.items():
            if member_number == number:
                return member
        self.violate(field, f"has no value {number}" if number else "is required")
        return next(iter(members))

    def _composed(self, field: str, value: str, bounds: FieldBounds) -> str:
        """Return the text in NFC; record what the format of the field refuses."""
        text, fault = composed(value), None
        if text is None:
            fault = f"holds more than {MAX_COMBINING} combining characters in a row"
        elif bounds.format == options_pb2.FORMAT_NAME:
            fault = fault_of_name(text)
        elif bounds.format == options_pb2.FORMAT_LINES:
            text = with_line_feeds(text)
            fault = fault_of_lines(text, bounds.max_lines)
        if fault is not None:
            self.violate(field, fault)
        # A substitute without a fault, so that each field is named once.
        return "x" * max(1, bounds.min_length) if text is None or fault is not None else text

    def _violate_length(self, field: str, value: str, bounds: FieldBounds) -> None:
        if len(value) > bounds.max_length:
            self.violate(field, f"is longer than {bounds.max_length} characters")
        else:
            self.violate(field, f"is shorter than {bounds.min_length} characters" if value else "is required")

    def _time(self, field: str) -> datetime:
        value: Timestamp = getattr(self.message, field)
        bounds = self._bounds.get(field)
        first, last = MIN_SECONDS, MAX_SECONDS
        if bounds is not None:
            first, last = max(first, bounds.minimum), min(last, bounds.maximum)
        if not (first <= value.seconds <= last and 0 <= value.nanos <= MAX_NANOS):
            years = [Timestamp(seconds=seconds).ToDatetime().year for seconds in (first, last)]
            self.violate(field, f"is not a time within the years {years[0]} to {years[1]}")
            return EPOCH
        # Timestamp.ToDatetime does the same in Python and takes three times as long.
        return EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1_000)


def read_uuid(request: Message, field: str) -> UUID:
    """Read the only field of a request, a UUID, and check it."""
    fields = Fields(request)
    value = fields.uuid(field)
    fields.check()
    return value


def _json_size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _composed_json(value: Any) -> Any:
    """Return JSON whose texts are in NFC; a text that cannot be normalised in time stays as it is."""
    if isinstance(value, str):
        text = composed(value)
        return value if text is None else text
    if isinstance(value, dict):
        return {_composed_json(key): _composed_json(one) for key, one in value.items()}
    return [_composed_json(one) for one in value] if isinstance(value, list) else value


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
