"""The descriptors of the contract with their comments, which the generated stubs do not contain."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from dev.contract import PROTOS

# The numbers of the fields of FileDescriptorProto and of the messages in it, from which the path of a comment is made.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _NESTED_ENUMS = 2, 3, 4
_MEMBERS = 2


def comments() -> Mapping[str, str]:
    """Return the comment of every message, field, enum, value, service and method by its full name."""
    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "contract.binpb"
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", "--include_source_info"]
        subprocess.run([*protoc, f"--descriptor_set_out={target}", *sources], check=True)
        files = FileDescriptorSet.FromString(target.read_bytes()).file
    return {name: text for file in files for name, text in _comments_of(file)}


def _comments_of(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    texts = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    for name, path in _paths_of(file):
        lines = (line.strip() for line in texts.get(path, "").splitlines())
        yield f"{file.package}.{name}", " ".join(line for line in lines if line)


def _paths_of(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    for index, message in enumerate(file.message_type):
        yield from _paths_of_message(message, message.name, (_MESSAGES, index))
    for index, enum in enumerate(file.enum_type):
        yield from _paths_of_enum(enum, enum.name, (_ENUMS, index))
    for index, service in enumerate(file.service):
        yield service.name, (_SERVICES, index)
        for number, method in enumerate(service.method):
            yield f"{service.name}.{method.name}", (_SERVICES, index, _MEMBERS, number)


def _paths_of_message(message: Any, name: str, path: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield name, path
    for number, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, _FIELDS, number)
    for number, nested in enumerate(message.nested_type):
        yield from _paths_of_message(nested, f"{name}.{nested.name}", (*path, _NESTED, number))
    for number, enum in enumerate(message.enum_type):
        yield from _paths_of_enum(enum, f"{name}.{enum.name}", (*path, _NESTED_ENUMS, number))


def _paths_of_enum(enum: Any, name: str, path: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield name, path
    for number, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*path, _MEMBERS, number)
