"""The bounds that the contract states for the fields of a message, as plain Python values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from ticketing.options.v1 import options_pb2

UNBOUNDED: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class FieldBounds:
    """The bounds of one field; see `ticketing.options.v1.Bounds`."""

    required: bool
    min_length: int
    max_length: int
    minimum: int
    maximum: int
    max_items: int
    max_bytes: int
    format: int
    max_lines: int


class _Tables(dict[type[Message], Mapping[str, FieldBounds]]):
    """Tables by message class. A plain look-up costs 30 ns; a descriptor's options cost microseconds."""

    def __missing__(self, message_class: type[Message]) -> Mapping[str, FieldBounds]:
        fields = message_class.DESCRIPTOR.fields
        options = {field.name: field.GetOptions() for field in fields}
        table = {
            name: _read(option.Extensions[options_pb2.bounds])
            for name, option in options.items()
            if option.HasExtension(options_pb2.bounds)
        }
        self[message_class] = table
        return table


# The bounds of each message class by field name; a field without the option is missing.
BOUNDS: Final = _Tables()


def bounds_of(message_class: type[Message], field: str) -> FieldBounds:
    """Return the bounds of a field; raise KeyError where the contract states none."""
    return BOUNDS[message_class][field]


def output_only_fields(message_class: type[Message]) -> tuple[str, ...]:
    """Return the names of the fields that the service sets, in the order of the contract."""
    return tuple(
        field.name
        for field in message_class.DESCRIPTOR.fields
        if field.GetOptions().Extensions[options_pb2.bounds].output_only
    )


def _read(bounds: options_pb2.Bounds) -> FieldBounds:
    return FieldBounds(
        required=bounds.required,
        min_length=bounds.min_length,
        max_length=bounds.max_length or UNBOUNDED,
        minimum=bounds.minimum if bounds.HasField("minimum") else -UNBOUNDED,
        maximum=bounds.maximum if bounds.HasField("maximum") else UNBOUNDED,
        max_items=bounds.max_items or UNBOUNDED,
        max_bytes=bounds.max_bytes or UNBOUNDED,
        format=bounds.format,
        max_lines=bounds.max_lines or UNBOUNDED,
    )
