"""The options of a channel and the metadata of a call, which both kinds of channel share."""

from collections.abc import Iterable
from typing import Any, Final

import grpc

from ticketing.client.channel_options import CHANNEL_OPTIONS
from ticketing.client.request_ids import REQUEST_ID_KEY, new_id
from ticketing.client.service_config import service_config

CALL_SECONDS: Final = 10.0
_AUTHORIZATION: Final = "authorization"
_BEARER: Final = "Bearer "

Metadata = tuple[tuple[str, str | bytes], ...]


def options_of() -> list[tuple[str, Any]]:
    """Return the options of a channel: keepalive, reconnection, and the retries of gRPC."""
    return [*CHANNEL_OPTIONS, ("grpc.service_config", service_config())]


def metadata_of(given: Iterable[tuple[str, str | bytes]] | None, token: str) -> Metadata:
    """Add the token, if there is one, and an id of the call to the caller's metadata, unless the caller has set them."""
    pairs = tuple(given or ())
    added = {**({_AUTHORIZATION: _BEARER + token} if token else {}), REQUEST_ID_KEY: new_id()}
    return (*pairs, *((key, value) for key, value in added.items() if key not in dict(pairs)))


def id_of(metadata: Metadata) -> str:
    """Return the id of a call."""
    return str(dict(metadata)[REQUEST_ID_KEY])


def refused_token(metadata: Metadata, error: Any) -> str | None:
    """Return the token of a call that failed because the service refused it; None for any other failure."""
    if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
        return None
    return str(dict(metadata).get(_AUTHORIZATION, "")).removeprefix(_BEARER)
