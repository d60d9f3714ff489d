"""The next message of a stream, with its type."""

from typing import Any, TypeVar, cast

import grpc.aio

Response = TypeVar("Response")


async def next_message(
    call: "grpc.aio.UnaryStreamCall[Any, Response] | grpc.aio.StreamStreamCall[Any, Response]",
) -> Response:
    """Read the next message; fail at the end of the stream."""
    message = await call.read()
    assert message is not grpc.aio.EOF, "the stream has ended"
    return cast(Response, message)
