from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from tests.environment.messages import struct
from ticketing.chassis.bounds import bounds_of, output_only_fields
from ticketing.chassis.failures import INVALID_ARGUMENT, MAX_VIOLATIONS, Failure, invalid
from ticketing.chassis.parsing import EPOCH, MAX_SECONDS, MAX_STRUCT_DEPTH, MIN_SECONDS, NIL, Fields, read_uuid
from ticketing.options.v1.options_pb2 import Bounds, bounds

CANONICAL = "0197a2b0-1111-7000-8000-0123456789ab"
COLOURS = {"red": 1, "blue": 2}

FieldProto = descriptor_pb2.FieldDescriptorProto
SCALARS = {"text": FieldProto.TYPE_STRING, "number": FieldProto.TYPE_INT64}
MESSAGES = {
    "struct": ".google.protobuf.Struct",
    "time": ".google.protobuf.Timestamp",
    "span": ".google.protobuf.Duration",
    "message": ".tests.parsing.Sample",
}
# Each field has a name, a type, whether it is repeated, and its bounds.
SAMPLE: list[tuple[str, str, bool, Bounds | None]] = [
    ("id", "text", False, Bounds(required=True)),
    ("ids", "text", True, Bounds(max_items=2)),
    ("name", "text", False, Bounds(required=True, min_length=2, max_length=10)),
    ("note", "text", False, Bounds(max_length=10)),
    ("quantity", "number", False, Bounds(minimum=1, maximum=10)),
    ("colour", "number", False, None),
    ("colours", "number", True, None),
    ("start_time", "time", False, Bounds(required=True)),
    ("end_time", "time", False, None),
    ("offset", "span", False, Bounds(minimum=-60, maximum=60)),
    ("metadata", "struct", False, Bounds(max_bytes=200)),
    ("large", "struct", False, Bounds(max_bytes=2_000)),
    ("inner", "message", False, None),
    ("items", "message", True, Bounds(required=True, max_items=2)),
    ("revision", "number", False, Bounds(output_only=True)),
]


def build_sample() -> Any:
    """Build a message class whose fields have the bounds of SAMPLE."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/parsing.proto", package="tests.parsing", syntax="proto3")
    file.dependency[:] = ["google/protobuf/struct.proto", "google/protobuf/timestamp.proto"]
    file.dependency[:] += ["google/protobuf/duration.proto", "ticketing/options/v1/options.proto"]
    message = file.message_type.add(name="Sample")
    for number, (name, kind, repeated, limits) in enumerate(SAMPLE, 1):
        label = FieldProto.LABEL_REPEATED if repeated else FieldProto.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, label=label)
        if kind in SCALARS:
            field.type = SCALARS[kind]
        else:
            field.type, field.type_name = FieldProto.TYPE_MESSAGE, MESSAGES[kind]
        if limits is not None:
            field.options.Extensions[bounds].CopyFrom(limits)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("tests.parsing.Sample"))


Sample = build_sample()


def violations_of(fields: Fields[Any]) -> dict[str, str]:
    with pytest.raises(Failure) as caught:
        fields.check()
    assert caught.value.reason == INVALID_ARGUMENT
    return {violation.field: violation.description for violation in caught.value.violations}


def nested(depth: int) -> Struct:
    result = struct(leaf=1)
    for _ in range(depth - 1):
        outer = Struct()
        outer.fields["inner"].struct_value.CopyFrom(result)
        result = outer
    return result


def test_every_field_at_fault_is_named_at_once() -> None:
    fields = Fields(Sample(id="nonsense"))
    fields.uuid("id")
    fields.text("name")
    fields.number("quantity")
    assert violations_of(fields) == {"id": "is not a UUID", "name": "is required", "quantity": "is not within 1 and 10"}


def test_a_valid_message_keeps_its_values() -> None:
    message = Sample(id=CANONICAL.upper(), ids=[CANONICAL], name="Ärger 🎫", quantity=10, colour=2, colours=[1, 2])
    fields = Fields(message)
    assert str(fields.uuid("id")) == CANONICAL
    assert [str(value) for value in fields.uuids("ids")] == [CANONICAL]
    assert (fields.text("name"), fields.text("note"), fields.any_text("note")) == ("Ärger 🎫", "", "")
    assert fields.number("quantity") == 10
    assert (fields.enum("colour", COLOURS), fields.optional_enum("colour", COLOURS)) == ("blue", "blue")
    assert fields.enums("colours", COLOURS) == {"red", "blue"}
    assert (fields.optional_time("end_time"), fields.span("offset"), fields.struct("metadata")) == (
        None,
        timedelta(),
        {},
    )
    fields.check()


def test_absent_optional_values_are_none() -> None:
    fields = Fields(Sample())
    assert fields.optional_uuid("id") is None
    assert fields.optional_enum("colour", COLOURS) is None
    assert fields.enum("colour", COLOURS, "red") == "red"
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
    fields = Fields(Sample(id=value))
    assert fields.uuid("id") == NIL
    assert violations_of(fields) == {"id": "is not a UUID"}


def test_a_missing_uuid_is_a_violation() -> None:
    with pytest.raises(Failure) as caught:
        read_uuid(Sample(), "id")
    assert [(v.field, v.description) for v in caught.value.violations] == [("id", "is required")]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("x" * 11, "is longer than 10 characters"),
        ("x", "is shorter than 2 characters"),
        ("a\0b", "holds a NUL character"),
    ],
)
def test_texts_are_bounded_and_contain_no_nul(value: str, fault: str) -> None:
    fields = Fields(Sample(name=value))
    fields.text("name")
    assert violations_of(fields) == {"name": fault}


def test_any_text_is_bounded_and_may_contain_nul() -> None:
    assert Fields(Sample(note="a\0b")).any_text("note") == "a\0b"
    fields = Fields(Sample(note="x" * 11))
    fields.any_text("note")
    assert violations_of(fields) == {"note": "is longer than 10 characters"}


def test_a_replaced_value_is_bounded_like_the_field() -> None:
    fields = Fields(Sample(name=" ab "))
    assert fields.text("name", "AB") == "AB"
    fields.check()
    assert Fields(Sample(quantity=5)).number("quantity", maximum=5) == 5
    fields = Fields(Sample(quantity=6))
    assert fields.number("quantity", maximum=5) == 1
    fields.number("quantity", 11, '["key"]')
    assert violations_of(fields) == {"quantity": "is not within 1 and 5", 'quantity["key"]': "is not within 1 and 10"}


def test_an_enum_must_be_set_and_be_in_the_contract() -> None:
    fields = Fields(Sample(colours=[1, 0, 9, -1]))
    fields.enum("colour", COLOURS)
    fields.enums("colours", COLOURS)
    assert violations_of(fields) == {
        "colour": "is required",
        "colours[1]": "is required",
        "colours[2]": "has no value 9",
        "colours[3]": "has no value -1",
    }


def test_an_optional_enum_must_be_in_the_contract() -> None:
    fields = Fields(Sample(colour=-1))
    fields.optional_enum("colour", COLOURS)
    assert violations_of(fields) == {"colour": "has no value -1"}


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
    fields = Fields(Sample(start_time=Timestamp(seconds=seconds, nanos=nanos)))
    assert fields.time("start_time").utcoffset() is not None
    if good:
        fields.check()
    else:
        assert violations_of(fields) == {"start_time": "is not a time within the years 1 to 9999"}


def test_a_required_time_must_be_present() -> None:
    fields = Fields(Sample(end_time=Timestamp(seconds=1)))
    assert fields.time("start_time") == EPOCH
    assert fields.optional_time("end_time") == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert violations_of(fields) == {"start_time": "is required"}


@pytest.mark.parametrize(("seconds", "good"), [(60, True), (61, False), (-60, True), (-61, False), (2**62, False)])
def test_a_span_is_within_its_seconds(seconds: int, *, good: bool) -> None:
    fields = Fields(Sample(offset=Duration(seconds=seconds)))
    assert fields.span("offset") == timedelta(seconds=seconds if good else 0)
    if not good:
        assert violations_of(fields) == {"offset": "is not within -60 and 60 seconds"}


def test_json_is_kept_unchanged() -> None:
    value = {"seat": "A 1", "steps": [1.5, True, None, {"deep": "✓"}]}
    fields = Fields(Sample(metadata=struct(**value), large=nested(MAX_STRUCT_DEPTH)))
    assert fields.struct("metadata") == value
    assert fields.struct("large")
    fields.check()


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("metadata", struct(x=float("nan")), "holds a number that JSON does not have (NaN or infinity)"),
        ("metadata", struct(x=[float("inf")]), "holds a number that JSON does not have (NaN or infinity)"),
        ("metadata", struct(x={"y": "a\0"}), "holds a NUL character"),
        ("metadata", struct(**{"a\0": 1}), "holds a NUL character"),
        ("metadata", struct(x=["a\0"]), "holds a NUL character"),
        ("metadata", Struct(fields={"x": Value()}), "holds a value of no kind"),
        ("metadata", struct(x="é" * 100), "is larger than 200 bytes as JSON"),
        ("metadata", struct(x="y" * 10_000), "is larger than 200 bytes as JSON"),
        ("large", nested(MAX_STRUCT_DEPTH + 1), f"nests deeper than {MAX_STRUCT_DEPTH} levels"),
    ],
)
def test_json_that_postgresql_cannot_store_is_refused(field: str, value: Struct, fault: str) -> None:
    fields = Fields(Sample(**{field: value}))
    assert fields.struct(field) == {}
    assert violations_of(fields) == {field: fault}


def test_violations_of_inner_messages_have_their_path() -> None:
    message = Sample(inner=Sample(quantity=0), items=[Sample(quantity=1), Sample(quantity=0)])
    fields = Fields(message, "scan.")
    fields.inside("inner", message.inner).number("quantity")
    for item in fields.each("items", message.items):
        item.number("quantity")
    assert fields.at_fault("inner.quantity")
    assert not fields.at_fault("quantity")
    assert set(violations_of(fields)) == {"scan.inner.quantity", "scan.items[1].quantity"}


def test_no_item_is_read_of_a_list_that_is_too_long() -> None:
    message = Sample(ids=["x"] * 3, items=[Sample()] * 3)
    fields = Fields(message)
    assert (fields.uuids("ids"), list(fields.each("items", message.items))) == ([], [])
    assert violations_of(fields) == {"ids": "holds more than 2", "items": "holds more than 2"}


def test_a_required_list_has_an_item() -> None:
    fields = Fields(Sample())
    assert list(fields.each("items", [])) == []
    assert violations_of(fields) == {"items": "is required"}


def test_a_field_without_bounds_in_the_contract_is_not_read() -> None:
    with pytest.raises(KeyError):
        Fields(Sample()).number("colour")


def test_bounds_are_those_of_the_contract() -> None:
    limits = bounds_of(Sample, "name")
    assert (limits.required, limits.min_length, limits.max_length) == (True, 2, 10)
    assert output_only_fields(Sample) == ("revision",)


def test_violations_beyond_the_maximum_are_counted() -> None:
    fields = Fields(Sample())
    for n in range(MAX_VIOLATIONS + 10):
        fields.violate(f"items[{n}]", "is wrong")
    with pytest.raises(Failure) as caught:
        fields.check()
    assert len(caught.value.violations) == MAX_VIOLATIONS + 1
    assert caught.value.violations[-1].description == "and 10 more"


def test_the_message_names_the_first_violation() -> None:
    fields = Fields(Sample())
    fields.violate("a", "is bad")
    fields.violate("b", "is worse")
    with pytest.raises(Failure, match=r"a: is bad \(and 1 more\)"):
        fields.check()


def test_a_violation_of_the_whole_message_names_no_field() -> None:
    assert invalid("", "garbage").message == "garbage"
