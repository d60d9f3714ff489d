"""Generation of unusual messages and of bytes that are no message; a seed repeats them."""

import random
import uuid
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

INTEGERS = (0, 1, -1, 2, 7, 100, 1_000, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 253_402_300_800)
NUMBERS = (0.0, -0.0, 1.5, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 5e-324)
TEXTS = (
    *(
        "",
        " ",
        "x",
        "a\0b",
        "\ud7ff\ue000",
        "\u202etxet",
        "\U0001f3ab" * 50,
        "x" * 101,
        "x" * 5_000,
        "%s{0}${x}",
        "'; --",
    ),
    *("TKT-0123456789ABCDEF", "T1", "T1" + "A" * 170, "EUR", "eur", "Europe/Berlin", "../../etc/passwd", "*", "name"),
    *(
        "00000000-0000-0000-0000-000000000000",
        "{0197A2B0-1111-7000-8000-000000000001}",
        "urn:uuid:0",
        "bm90LWEtdG9rZW4",
    ),
)
# The depth of a generated message; another limit bounds its size.
DEPTH = 4
SIGNED = {FieldDescriptor.CPPTYPE_INT32: 2**31, FieldDescriptor.CPPTYPE_INT64: 2**63}
UNSIGNED = {FieldDescriptor.CPPTYPE_UINT32: 2**32, FieldDescriptor.CPPTYPE_UINT64: 2**64}
FLOATING = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


class Fuzzer:
    """The generator of inputs; `known` contains ids, codes and tokens that exist."""

    def __init__(self, chance: random.Random, known: Sequence[str]) -> None:
        self.chance = chance
        self._known = known

    def payload(self, kind: Descriptor, good: Sequence[Message]) -> bytes:
        """Make the bytes of a changed message of `good`, of a random message, of a damaged one, or random bytes."""
        way = self.chance.random()
        if way < 0.1:
            return self.chance.randbytes(self.chance.choice((0, 1, 2, 9, 100, 2_000)))
        if way < 0.7 and good:
            message = GetMessageClass(kind)()
            message.CopyFrom(self.chance.choice(good))
            self._change(message)
            return message.SerializePartialToString()
        data = bytearray(self.message(kind).SerializePartialToString())
        if way < 0.8 and data:
            for _ in range(self.chance.randint(1, 4)):
                data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
            del data[self.chance.randint(0, 2 * len(data)) :]
        return bytes(data)

    def message(self, kind: Descriptor, depth: int = 0) -> Message:
        message = GetMessageClass(kind)()
        for field in kind.fields:
            if self.chance.random() < (0.75 if depth == 0 else 0.5):
                self._set(message, field, depth)
        return message

    def _change(self, message: Message, depth: int = 0) -> None:
        """Change one field of the message or of a message inside it."""
        if not message.DESCRIPTOR.fields:
            return
        fields: Any = message.DESCRIPTOR.fields
        field: FieldDescriptor = self.chance.choice(fields)
        inner = field.message_type is not None and not field.is_repeated
        if inner and message.HasField(field.name) and self.chance.random() < 0.7:
            self._change(getattr(message, field.name), depth + 1)
            return
        message.ClearField(field.name)
        self._set(message, field, depth)

    def _set(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        entry = field.message_type
        if entry is not None and depth >= DEPTH:
            return
        if entry is not None and entry.GetOptions().map_entry:
            key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
            for _ in range(self.chance.randint(0, 3)):
                if value.message_type is None:
                    getattr(message, field.name)[self._scalar(key)] = self._scalar(value)
                else:
                    made = self.message(value.message_type, depth + 1)
                    getattr(message, field.name)[self._scalar(key)].CopyFrom(made)
        elif field.is_repeated:
            for _ in range(self.chance.choice((0, 1, 1, 2, 3, 30))):
                added = self._value(field, depth)
                getattr(message, field.name).append(added)
        elif entry is not None:
            getattr(message, field.name).CopyFrom(self.message(entry, depth + 1))
        else:
            setattr(message, field.name, self._scalar(field))

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        return self._scalar(field) if field.message_type is None else self.message(field.message_type, depth + 1)

    def _scalar(self, field: FieldDescriptor) -> Any:
        kind, chance = field.cpp_type, self.chance
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        if kind in FLOATING:
            return chance.choice(NUMBERS)
        if field.enum_type is not None:
            return chance.choice((*(value.number for value in field.enum_type.values), 99, 2**31 - 1, -1))
        if kind == FieldDescriptor.CPPTYPE_STRING:
            text = chance.choice((self._known, TEXTS, (str(uuid.UUID(int=chance.getrandbits(128))),)))
            found = chance.choice(text)
            return (
                chance.randbytes(chance.choice((0, 1, 16, 60))) if field.type == FieldDescriptor.TYPE_BYTES else found
            )
        number = chance.choice((*INTEGERS, chance.randint(0, 10)))
        if kind in UNSIGNED:
            return number % UNSIGNED[kind]
        half = SIGNED[kind]
        return (number + half) % (2 * half) - half
