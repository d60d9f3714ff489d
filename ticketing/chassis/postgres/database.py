"""Create databases on the embedded server."""

from contextlib import closing

from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.layout import USER

HOST = "127.0.0.1"
MAINTENANCE = "postgres"

_CONNECT_SECONDS = 5
_STATEMENT_LIMIT = "30s"
# Any number works; the lock keeps two services from creating the same database at the same moment.
_ADVISORY_LOCK = 7_316_242_012


class NotReachableError(Exception):
    """The server does not answer, yet or any longer."""


def ensure(port: int, password: str, name: str) -> None:
    """Create the database if it is missing.

    Raises:
        NotReachableError: a retry may succeed.
        EmbeddedPostgresError: the server refused.
    """
    import psycopg2  # noqa: PLC0415 - a service with a database URL does not need it to start
    from psycopg2 import sql  # noqa: PLC0415 - as above

    try:
        with closing(
            psycopg2.connect(
                host=HOST,
                port=port,
                user=USER,
                password=password,
                dbname=MAINTENANCE,
                connect_timeout=_CONNECT_SECONDS,
                options=f"-c statement_timeout={_STATEMENT_LIMIT}",
                sslmode="disable",
            )
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
                if cursor.rowcount == 0:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg2.Error as error:
        # 57P is an operator intervention: starting up, shutting down. Without a code the connection failed.
        if error.pgcode is None or error.pgcode.startswith("57P"):
            raise NotReachableError(str(error).strip()) from error
        raise EmbeddedPostgresError(f"cannot create the database {name}: {error}") from error
