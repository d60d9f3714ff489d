"""Sell tickets for tests, and read the failures of calls."""

from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import grpc
import pytest
import sqlalchemy as sa
from google.rpc import error_details_pb2
from sqlalchemy.engine import Connection

from tests.environment.refusals import detail_of, violations_of
from tests.selling.rows import sell, store_event
from ticket_service.domain.events import Event, TicketType
from ticket_service.store.tables import tickets
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


async def sold(database: Database, clock: Clock, count: int = 1, **wanted: Any) -> tuple[Event, list[UUID]]:
    user_id = wanted.pop("user_id", "alice")
    ticket_type = wanted.pop("ticket_type", TicketType.STANDARD)

    def work(connection: Connection) -> tuple[Event, list[UUID]]:
        event = store_event(connection, now=clock(), **wanted)
        return event, sell(connection, event, count, user_id=user_id, ticket_type=ticket_type)

    return await database.run(work)


async def change(database: Database, ticket_id: UUID, **values: Any) -> None:
    statement = sa.update(tickets).where(tickets.c.ticket_id == ticket_id).values(**values)
    await database.run(lambda connection: connection.execute(statement))


async def refusal(call: Awaitable[object]) -> tuple[str, dict[str, str]]:
    """Make a call that fails; return its reason and metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = detail_of(caught.value, error_details_pb2.ErrorInfo)
    return info.reason.removeprefix("ERROR_REASON_"), dict(info.metadata)


async def fields_at_fault(call: Awaitable[object]) -> list[str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return list(violations_of(caught.value))
