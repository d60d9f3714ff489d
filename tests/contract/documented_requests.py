"""The example requests of docs/api: those of the matrix, with readable ids instead of real ones."""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from tests.contract.matrix_requests import REQUESTS
from tests.contract.matrix_world import OWN, RPCS, World

# Everything in a request that differs from run to run, with the text that stands for it in the pages.
_VARIABLE = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": "0197a2b0-1111-7000-8000-{:012d}",
    r"TKT-[0-9A-F]{16}": "TKT-{:016d}",
    r"[A-Z0-9]{4}(?:-[A-Z0-9]{4}){3}": "AAAA-BBBB-CCCC-{:04d}",
    r"20\d\d-\d\d-\d\dT[\d:.]+Z": "2030-05-{:02d}T18:00:00Z",
}
_ANY = re.compile("|".join(f"({pattern})" for pattern in _VARIABLE))


class PaperWorld(World):
    """A world without services: its objects are ids alone."""

    def __post_init__(self) -> None:
        """Record no statements."""

    async def _once(self, name: str, side: str, make: Callable[[str], Awaitable[Any]]) -> Any:
        new_id, code = str(uuid.uuid4()), f"TKT-{uuid.uuid4().hex[:16].upper()}"
        made = SimpleNamespace(
            purchase_id=new_id,
            event_id=new_id,
            code=code,
            tickets=[SimpleNamespace(ticket_id=new_id, code=code)],
            device=SimpleNamespace(device_id=new_id),
            enrollment_code="AAAA-BBBB-CCCC-DDDD",
        )
        return made if name in {"purchase", "shown", "device", "enrollment"} else new_id

    async def dispute(self, side: str) -> str:
        return new_id() if side else ""


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Document:
    """A request as JSON with readable values, and the real value of each."""

    text: str
    real_values: dict[str, str]


def document(request: Message) -> Document:
    """Replace the values that differ from run to run by readable ones, in the order in which they appear."""
    real_values: dict[str, str] = {}
    readable: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        value = match.group()
        if value not in readable:
            kind = next(index for index, group in enumerate(match.groups()) if group is not None)
            form = list(_VARIABLE.values())[kind]
            count = sum(other.startswith(form[:4]) for other in real_values)
            readable[value] = form.format(count + 1)
            real_values[readable[value]] = value
        return readable[value]

    text = json.dumps(json_format.MessageToDict(request), indent=2, ensure_ascii=False)
    return Document(_ANY.sub(replace, text), real_values)


def documented_requests() -> dict[str, str]:
    """Return the example of every RPC as JSON, by "Service/Method"."""
    unused: Any = None
    shop: Any = SimpleNamespace(now=datetime.now(UTC))

    async def examples() -> dict[str, str]:
        world = PaperWorld(unused, unused, unused, unused, shop, unused)
        return {rpc: document(await REQUESTS[rpc](world, OWN)).text for rpc in RPCS}

    return asyncio.run(examples())
