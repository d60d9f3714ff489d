from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from ticketing.chassis.failures import INVALID_ARGUMENT, MAX_VIOLATIONS, Failure, invalid
from ticketing.chassis.parsing import MAX_SECONDS, MAX_STRUCT_DEPTH, MIN_SECONDS, Fields
from ticketing.tickets.v1.event_pb2 import EventType

CANONICAL = "0197a2b0-1111-7000-8000-0123456789ab"
# Its stub describes a class; at runtime it is the wrapper that `enum` takes.
KIND: Any = EventType


def faults(fields: Fields) -> dict[str, str]:
    with pytest.raises(Failure) as caught:
        fields.check()
    assert caught.value.reason == INVALID_ARGUMENT
    return {violation.field: violation.description for violation in caught.value.violations}


def test_every_field_at_fault_is_named_at_once() -> None:
    fields = Fields()
    fields.uuid("event_id", "nonsense")
    fields.text("name", "", min_length=1, max_length=10)
    fields.number("quantity", 0, minimum=1, maximum=10)
    assert faults(fields) == {
        "event_id": "is not a UUID",
        "name": "is required",
        "quantity": "is not within 1 and 10",
    }


def test_a_request_without_fault_passes_and_keeps_its_values() -> None:
    fields = Fields()
    assert str(fields.uuid("id", CANONICAL)) == CANONICAL
    assert str(fields.uuid("id", CANONICAL.upper())) == CANONICAL
    assert fields.optional_uuid("id", "") is None
    assert fields.text("name", "Ärger 🎫", min_length=1, max_length=7) == "Ärger 🎫"
    assert fields.number("n", 10, minimum=1, maximum=10) == 10
    assert fields.enum("kind", 2, KIND) == 2
    assert fields.enum("kind", 0, KIND, optional=True) == 0
    fields.check()


@pytest.mark.parametrize(
    "value",
    [
        "0",
        CANONICAL[:-1],
        CANONICAL + "0",
        f"{{{CANONICAL}}}",
        f"urn:uuid:{CANONICAL}",
        CANONICAL.replace("-", ""),
        "0197a2b0-1111-7000-8000-0123456789ag",
        "\0" * 36,
    ],
)
def test_only_the_canonical_spelling_is_a_uuid(value: str) -> None:
    fields = Fields()
    fields.uuid("id", value)
    assert faults(fields) == {"id": "is not a UUID"}


def test_a_missing_uuid_is_required() -> None:
    fields = Fields()
    fields.uuid("id", "")
    assert faults(fields) == {"id": "is required"}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("x" * 11, "is longer than 10 characters"),
        ("x", "is shorter than 2 characters"),
        ("a\0b", "holds a NUL character"),
    ],
)
def test_texts_are_bounded_and_hold_no_nul(value: str, fault: str) -> None:
    fields = Fields()
    fields.text("name", value, min_length=2, max_length=10)
    assert faults(fields) == {"name": fault}


def test_an_enum_must_be_given_and_be_in_the_contract() -> None:
    fields = Fields()
    assert fields.enum("missing", 0, KIND) == 0
    assert fields.enum("unknown", 77, KIND) == 0
    assert fields.enum("negative", -1, KIND, optional=True) == 0
    assert faults(fields) == {
        "missing": "is required",
        "unknown": "has no value 77",
        "negative": "has no value -1",
    }


@pytest.mark.parametrize(
    ("seconds", "nanos", "good"),
    [
        (MIN_SECONDS, 0, True),
        (MIN_SECONDS - 1, 0, False),
        (MAX_SECONDS, 999_999_999, True),
        (MAX_SECONDS + 1, 0, False),
        (0, -1, False),
        (0, 1_000_000_000, False),
        (2**62, 0, False),
    ],
)
def test_times_are_within_the_years_1_to_9999(seconds: int, nanos: int, *, good: bool) -> None:
    fields = Fields()
    parsed = fields.time("start_time", Timestamp(seconds=seconds, nanos=nanos))
    assert parsed.utcoffset() is not None
    if good:
        fields.check()
    else:
        assert faults(fields) == {"start_time": "is not a time within the years 1 to 9999"}


def struct(**values: Any) -> Struct:
    result = Struct()
    result.update(values)
    return result


def nested(depth: int) -> Struct:
    result = struct(leaf=1)
    for _ in range(depth - 1):
        outer = Struct()
        outer.fields["inner"].struct_value.CopyFrom(result)
        result = outer
    return result


def test_json_is_kept_as_it_is() -> None:
    fields = Fields()
    value = {"seat": "A 1", "steps": [1.5, True, None, {"deep": "✓"}]}
    assert fields.struct("metadata", struct(**value), max_bytes=200) == value
    assert fields.struct("metadata", nested(MAX_STRUCT_DEPTH), max_bytes=2000)
    fields.check()


def kindless() -> Struct:
    return Struct(fields={"x": Value()})


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (struct(x=float("nan")), "holds a number that JSON does not have (NaN or infinity)"),
        (struct(x=[float("inf")]), "holds a number that JSON does not have (NaN or infinity)"),
        (struct(x={"y": "a\0"}), "holds a NUL character"),
        (struct(**{"a\0": 1}), "holds a NUL character"),
        (struct(x=["a\0"]), "holds a NUL character"),
        (kindless(), "holds a value of no kind"),
        (struct(x="é" * 100), "is larger than 200 bytes as JSON"),
        (struct(x="y" * 10_000), "is larger than 200 bytes as JSON"),
        (nested(MAX_STRUCT_DEPTH + 1), f"nests deeper than {MAX_STRUCT_DEPTH} levels"),
    ],
)
def test_json_that_postgresql_cannot_hold_is_refused(value: Struct, fault: str) -> None:
    fields = Fields()
    most = 2000 if "nests" in fault else 200
    assert fields.struct("metadata", value, max_bytes=most) == {}
    assert faults(fields) == {"metadata": fault}


def test_so_many_violations_are_named_and_the_rest_counted() -> None:
    fields = Fields()
    for n in range(MAX_VIOLATIONS + 10):
        fields.violate(f"items[{n}]", "is wrong")
    with pytest.raises(Failure) as caught:
        fields.check()
    assert len(caught.value.violations) == MAX_VIOLATIONS + 1
    assert caught.value.violations[-1].description == "and 10 more"


def test_the_message_names_the_first_fault_and_counts_the_others() -> None:
    fields = Fields()
    fields.violate("a", "is bad")
    fields.violate("b", "is worse")
    with pytest.raises(Failure, match=r"a: is bad \(and 1 more\)"):
        fields.check()


def test_a_message_that_is_wrong_as_a_whole_names_no_field() -> None:
    assert invalid("", "garbage").message == "garbage"
