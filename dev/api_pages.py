"""Write the API reference from the contract: `python -m dev.api_pages`.

Comments, roles, bounds and reasons come from `protos/`, and the example requests from the tests of the contract, which
send them.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from dev.contract import ROOT
from dev.contract_comments import comments
from tests.contract.documented_requests import documented_requests
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly
from ticketing.client.service_config import is_repeatable, methods, service_config
from ticketing.options.v1 import options_pb2

PAGES: Final = ROOT / "docs" / "api"
HEADER: Final = "<!-- `make proto` generates this page from protos/. -->\n\n"
# Any call may fail for these reasons.
EVERY_CALL: Final = ("INVALID_ARGUMENT", "UNAUTHENTICATED", "FORBIDDEN", "OVERLOADED", "DEPENDENCY_UNAVAILABLE")
SERVICES: Final = {"tickets": "ticket service", "scans": "scan service"}
FORMATS: Final = {
    options_pb2.FORMAT_UUID: "UUID",
    options_pb2.FORMAT_EMAIL: "e-mail address",
    options_pb2.FORMAT_HTTPS_URL: "https URL",
    options_pb2.FORMAT_TIME_ZONE: "IANA time zone",
    options_pb2.FORMAT_CURRENCY_CODE: "ISO 4217 code",
    options_pb2.FORMAT_CONSTANT_NAME: "UPPER_CASE name",
    options_pb2.FORMAT_NAME: "one line",
    options_pb2.FORMAT_LINES: "lines of text",
    options_pb2.FORMAT_SEARCH: "text to search for",
    options_pb2.FORMAT_LANGUAGE_TAG: "BCP 47 tag",
    options_pb2.FORMAT_OPAQUE: "opaque",
}
_comments = cache(comments)


def pages(examples: Mapping[str, str]) -> dict[str, str]:
    """Return the text of each page by its name; `examples` are JSON requests by "Service/Method"."""
    services = {method.containing_service.full_name: method.containing_service for method in methods()}
    return {
        "README.md": HEADER + _index(services.values()),
        "errors.md": HEADER + _errors(),
        "messages.md": HEADER + "\n".join(_messages()),
        "service_config.json": service_config() + "\n",
        **{_page_of(service): HEADER + _service(service, examples) for service in services.values()},
    }


def _page_of(service: ServiceDescriptor) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", service.name).lower() + ".md"


def _package_of(descriptor: Any) -> str:
    return str(descriptor.full_name.split(".")[1])


def _comment(descriptor: Any) -> str:
    """Return the comment as Markdown, where no tag may begin and no table cell end."""
    text = _comments().get(descriptor.full_name, "")
    return text.replace("<", "&lt;").replace("|", "\\|")


def _index(services: Iterable[ServiceDescriptor]) -> str:
    parts = [
        "# API reference\n",
        "The contract is in `protos/`. [The guide](../guide.md) shows how calls follow each other, [errors](errors.md) what",
        "to do about each failure, and [messages](messages.md) the messages that several calls use. Both services serve",
        "reflection, so grpcurl and `buf curl` need no files. Send an example of these pages like this:\n",
        "    grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{}' 127.0.0.1:50051 \\",
        "      ticketing.tickets.v1.EventService/ListEvents\n",
        "A FieldMask such as `updateMask` is a text in JSON, as in the examples. grpcurl 1.8.6, which `make up` installs,",
        'takes an object in its place: `"updateMask": {"paths": ["description"]}`.\n',
        "A service on another machine requires TLS: leave out `-plaintext`. [service_config.json](service_config.json) is",
        "the gRPC service config that repeats calls whose repetition has no second effect; the Python client has it built in.",
        "*Internal* calls are for the other service and may change without notice.\n",
    ]
    for service in services:
        parts += [f"## [{service.name}]({_page_of(service)})\n", "| call | roles | |", "|---|---|---|"]
        for method in service.methods:
            first = re.split(r"[.:] ", _comment(method))[0].rstrip(".")
            parts.append(
                f"| [{method.name}]({_page_of(service)}#{method.name.lower()}) | {_roles(method)} | {first}. |"
            )
        parts.append("")
    return "\n".join(parts)


def _roles(method: MethodDescriptor) -> str:
    access = method.GetOptions().Extensions[options_pb2.access]
    if access.public:
        return "no credential"
    names = [options_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in access.roles]
    return "*internal*" if names == ["peer"] else ", ".join(names)


def _service(service: ServiceDescriptor, examples: Mapping[str, str]) -> str:
    parts = [f"# {service.name}\n", f"`{service.full_name}`, at the {SERVICES[_package_of(service)]}.\n"]
    parts.append(f"{_comment(service)}\n")
    for method in service.methods:
        parts += [
            f"## {method.name}\n",
            f"{_comment(method)}\n",
            f"- **Roles:** {_roles(method)}",
            f"- **Repetition:** {_repetition(method)}",
            f"- **Errors:** {_reasons(method)}\n",
            *_fields(f"Request{' (a stream)' if method.client_streaming else ''}", method.input_type),
            *_fields(f"Response{' (a stream)' if method.server_streaming else ''}", method.output_type),
        ]
        example = examples[f"{service.name}/{method.name}"]
        parts += ["Example request:\n", f"```json\n{example}\n```\n"]
    return "\n".join(parts)


def _repetition(method: MethodDescriptor) -> str:
    level = method.GetOptions().idempotency_level
    if level == MethodOptions.NO_SIDE_EFFECTS:
        return "changes nothing, so clients repeat it."
    if "request_id" in method.input_type.fields_by_name:
        return "the same `request_id` has one effect, so clients repeat it."
    return "has no second effect, so clients repeat it." if is_repeatable(method) else "clients do not repeat it."


def _reasons(method: MethodDescriptor) -> str:
    package = _package_of(method)
    own = method.GetOptions().Extensions[options_pb2.errors].reasons
    links = [f"[{reason}](errors.md#{package}-{reason.lower()})" for reason in own]
    return ", ".join([*links, "[those of every call](errors.md#errors-of-every-call)"])


def _fields(title: str, message: Descriptor) -> Iterator[str]:
    if not message.fields:
        yield f"{title}: empty.\n"
        return
    yield f"{title}:\n\n| field | type | bounds | meaning |\n|---|---|---|---|"
    for field in message.fields:
        oneof = field.containing_oneof
        choice = f" (one of `{oneof.name}`)" if oneof is not None and len(oneof.fields) > 1 else ""
        bounds = _bounds(field)
        meaning = _comment(field).removeprefix("Required. ") if bounds.startswith("required") else _comment(field)
        yield f"| `{field.name}` | {_type(field)} | {bounds}{choice} | {meaning} |"
    yield ""


def _type(field: FieldDescriptor) -> str:
    inner = field.message_type or field.enum_type
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return f"map of string to {_type(field.message_type.fields_by_name['value'])}"
    name = _link(inner) if inner is not None else _SCALARS[field.type]
    return f"list of {name}" if field.is_repeated else name


_SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_DOUBLE: "double",
}


def _link(inner: Any) -> str:
    if not inner.full_name.startswith("ticketing."):
        return str(inner.name)
    return f"[{_local_name(inner)}](messages.md#{_anchor(inner)})"


def _local_name(inner: Any) -> str:
    """Return the name within the package, such as "RefundPolicy.Tier"."""
    return str(inner.full_name.split(".v1.")[1])


def _anchor(inner: Any) -> str:
    return _title(inner).lower().replace(".", "").replace(" ", "-").replace("(", "").replace(")", "")


def _title(inner: Any) -> str:
    return f"{_local_name(inner)} ({_package_of(inner)})"


def _bounds(field: FieldDescriptor) -> str:
    bounds = field.GetOptions().Extensions[options_pb2.bounds]
    is_time = field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
    words = [
        "required" if bounds.required else "",
        "set by the service" if bounds.output_only else "",
        FORMATS.get(bounds.format, ""),
        _range(bounds.min_length or None, bounds.max_length or None, "characters"),
        f"from {datetime.fromtimestamp(bounds.minimum, UTC):%Y-%m-%d} on"
        if is_time and bounds.HasField("minimum")
        else _range(
            bounds.minimum if bounds.HasField("minimum") else None,
            bounds.maximum if bounds.HasField("maximum") else None,
            "",
        ),
        f"at most {bounds.max_items:,} items" if bounds.max_items else "",
        f"at most {bounds.max_bytes:,} bytes of JSON" if bounds.max_bytes else "",
        f"at most {bounds.max_lines:,} lines" if bounds.max_lines else "",
    ]
    return ", ".join(word for word in words if word)


def _range(minimum: int | None, maximum: int | None, unit: str) -> str:
    if minimum is not None and maximum is not None:
        text = f"{minimum:,} to {maximum:,}"
    elif maximum is not None:
        text = f"at most {maximum:,}"
    elif minimum is not None:
        text = f"at least {minimum:,}"
    else:
        return ""
    return f"{text} {unit}".strip()


def _messages() -> Iterator[str]:
    yield "# Messages\n\nThe messages and enums that calls use, by name.\n"
    for inner in sorted(_used(), key=_title):
        yield f"## {_title(inner)}\n\n{_comment(inner)}\n"
        if isinstance(inner, EnumDescriptor):
            yield "| value | meaning |\n|---|---|"
            yield from (f"| `{value.name}` | {_value_comment(inner, value)} |" for value in inner.values)
            yield ""
        else:
            yield from _fields("Fields", inner)


def _value_comment(enum: EnumDescriptor, value: Any) -> str:
    return _comments().get(f"{enum.full_name}.{value.name}", "").replace("<", "&lt;").replace("|", "\\|")


def _used() -> list[Any]:
    """Return every message and enum of the contract that requests and responses contain, without those themselves."""
    found: dict[str, Any] = {}

    def visit(message: Descriptor) -> None:
        for field in message.fields:
            inner = field.message_type or field.enum_type
            if inner is None or inner.full_name in found or not inner.full_name.startswith("ticketing."):
                continue
            is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
            if not is_map:
                found[inner.full_name] = inner
            if field.message_type is not None:
                visit(field.message_type)

    for method in methods():
        visit(method.input_type)
        visit(method.output_type)
    return list(found.values())


def _errors() -> str:
    parts = [
        "# Errors\n",
        "A failed call has a gRPC status with a `google.rpc.ErrorInfo`: the reason, the domain `tickets.ticketing` or",
        "`scans.ticketing`, and metadata. On the wire each reason has the prefix `ERROR_REASON_`, such as",
        "`ERROR_REASON_SOLD_OUT`; the Python client removes it. A `google.rpc.BadRequest` names the fields of an invalid",
        "request. A `google.rpc.RetryInfo` says when a repetition may succeed; for waits of at most 2 s the metadata",
        "`grpc-retry-pushback-ms` asks the retries of gRPC for the same wait, with jitter. A status without an ErrorInfo is",
        "one of the network, of a proxy, or of gRPC itself. A denied ticket is no error: see `Scan.verdict`.\n",
        "## Errors of every call\n",
        ", ".join(f"`{reason}`" for reason in EVERY_CALL) + ".\n",
    ]
    for package, service in SERVICES.items():
        parts += [f"## Reasons of the {service}\n", "| reason | status | meaning | metadata | what to do |"]
        parts.append("|---|---|---|---|---|")
        prefix = f"ticketing.{package}.v1.ErrorReason.ERROR_REASON_"
        for name, text in _comments().items():
            if name.startswith(prefix) and not name.endswith("_UNSPECIFIED"):
                parts.append(_reason_row(package, name.removeprefix(prefix), text))
        parts.append("")
    return "\n".join(parts)


def _reason_row(package: str, reason: str, text: str) -> str:
    code, _, rest = text.partition(": ")
    meaning, _, action = rest.partition(" Do: ")
    meaning, _, keys = meaning.partition(" metadata: ")
    cells = (f'<a id="{package}-{reason.lower()}"></a>`{reason}`', code, meaning, keys.rstrip("."), action)
    return f"| {' | '.join(cells)} |"


def write(folder: Path, examples: Mapping[str, str]) -> None:
    """Replace the pages in a folder."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, text in pages(examples).items():
        (folder / name).write_text(text)


def main() -> int:
    """Write docs/api."""
    Parser(prog="python -m dev.api_pages", description="Write docs/api from the contract.").parse_args()
    write(PAGES, documented_requests())
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
