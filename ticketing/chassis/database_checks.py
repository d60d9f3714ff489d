"""Checks at the start that the database server suits a service; each fault is one line that says what to do.

The checks need no table. `ticketing.chassis.migrations` checks whose tables the database contains.
"""

import asyncio
import logging
from contextlib import closing, suppress
from typing import Final

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name
from sqlalchemy.engine import URL

from ticketing.chassis.connections import connect
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection

log = logging.getLogger(__name__)

OLDEST_VERSION: Final = 15
# A pooler that gives one session to one client answers two clients from two servers in every round. One that shares
# servers nearly always shows it in the first round: the server that the first client used is the next one to be used.
POOLER_ROUNDS: Final = 20
POOLER_SECONDS: Final = 10.0

SERVER: Final = (
    "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version'),"
    " current_setting('server_encoding'), current_setting('fsync'), pg_backend_pid()"
)


class UnsuitableDatabaseError(Exception):
    """A database that a service cannot use; the message is one line that says what to do."""


def check_server(url: URL) -> None:
    """Check the server of `url`: a primary of a supported version, in UTF-8, without a pooler that shares sessions.

    Raises:
        UnsuitableDatabaseError: the server does not suit.
        psycopg2.OperationalError: the server does not answer, or refuses the user.
    """
    with closing(_connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(SERVER)
            [(major, version, encoding, fsync, server_process)] = cursor.fetchall()
        has_pooler = connection.info.backend_pid != server_process
    if major < OLDEST_VERSION:
        raise UnsuitableDatabaseError(f"the database is PostgreSQL {version}: use {OLDEST_VERSION} or newer")
    if encoding != "UTF8":
        raise UnsuitableDatabaseError(
            f"the database has the encoding {encoding}: create it with ENCODING 'UTF8' TEMPLATE template0"
        )
    if has_pooler:
        # A pooler invents the process id that a client gets at the connect.
        asyncio.run(_check_pooler(url))
    if fsync == "off":
        # No refusal: some hosted services store the log elsewhere before they answer, and report `off`.
        log.warning("the database has fsync = off: unless its provider stores commits elsewhere, a crash loses them")


def _connect(url: URL) -> Connection:
    try:
        return connect(url, "start")
    except psycopg2.OperationalError:
        # libpq's reason is a text in any language; the server itself answers whether it is a replica.
        if _is_read_only(url):
            raise UnsuitableDatabaseError(
                "the database is a replica or read-only: set the URL of the primary, or all hosts as"
                " postgresql://user:password@host1,host2/name, of which the primary is used"
            ) from None
        raise


def _is_read_only(url: URL) -> bool:
    with (
        suppress(psycopg2.Error),
        closing(connect(url, "start", target_session_attrs="any")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT current_setting('transaction_read_only')")
        return cursor.fetchall() == [("on",)]
    return False


async def _check_pooler(url: URL) -> None:
    """Refuse a pooler that gives the session of one client to others between its transactions.

    Advisory locks, prepared statements and the settings of a session would get lost or reach the wrong client.
    """
    first, second = (LoopConnection(url, "start", {}) for _ in range(2))
    try:
        async with asyncio.timeout(POOLER_SECONDS):
            is_shared = await first.transact(lambda one: second.transact(lambda other: _shares_servers(one, other)))
    except (Failure, TimeoutError) as error:
        raise UnsuitableDatabaseError(
            "the connection pooler gives no second connection: every process needs about 30, so raise the size of its"
            " pool (PgBouncer: default_pool_size), or set the URL of PostgreSQL itself"
        ) from error
    finally:
        first.close()
        second.close()
    if is_shared:
        raise UnsuitableDatabaseError(
            "the connection pooler shares sessions (PgBouncer: pool_mode = transaction or statement): use"
            " pool_mode = session for this database, or set the URL of PostgreSQL itself"
        )


async def _shares_servers(one: LoopConnection, other: LoopConnection) -> bool:
    """Return whether two clients of a pooler get the same server, or one client gets several."""
    ones, others = set[int](), set[int]()
    for _ in range(POOLER_ROUNDS):
        ones.add(await _server_process(one))
        try:
            await other.round_trip("BEGIN")
        except psycopg2.Error:
            # With pool_mode = statement PgBouncer ends the connection of a client that begins a transaction.
            return True
        others.add(await _server_process(other))
        # The transaction occupies the server of `other`, so a shared pool has to give `one` another server.
        ones.add(await _server_process(one))
        await other.round_trip("COMMIT")
        if len(ones) > 1 or len(others) > 1 or ones & others:
            return True
    return False


async def _server_process(connection: LoopConnection) -> int:
    [(process,)] = await connection.round_trip("SELECT pg_backend_pid()")
    return int(process)
