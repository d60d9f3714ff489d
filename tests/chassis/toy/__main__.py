"""A minimal service for the tests of `ticketing.chassis.service`: one table, and no RPC but health."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import sqlalchemy as sa
from sqlalchemy.engine import URL

from ticketing.chassis.clock import system_clock
from ticketing.chassis.command_line import Command
from ticketing.chassis.health import Health
from ticketing.chassis.server import Server
from ticketing.chassis.service import ServiceDefinition, call_interceptor, main
from ticketing.chassis.service_settings import ServiceSettings, read_service_settings
from ticketing.chassis.statuses import Catalogue
from ticketing.chassis.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Settings:
    service: ServiceSettings


class App:
    def __init__(self, settings: Settings, url: URL) -> None:
        self.health = Health(Tasks())
        interceptor = call_interceptor(settings.service, {}, Catalogue("toy", {}), system_clock, self.health.tasks)
        self._server = Server(settings.service.listen, interceptor, {}, self.health)
        self._url = url

    async def start(self) -> int:
        connection = psycopg2.connect(self._url.set(drivername="postgresql").render_as_string(hide_password=False))
        with connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO starts VALUES (%s)", (os.getpid(),))
        connection.close()
        return await self._server.start()

    async def stop(self) -> None:
        await self._server.drain(lambda: None)


def count_starts(url: URL) -> int:
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("SELECT count(*) FROM starts"))
    return 0


if __name__ == "__main__":
    commands = (
        Command("lucky", "return 7", lambda url, _: 7 if url.database else 1),
        Command("starts", "count the starts", lambda url, _: count_starts(url)),
    )
    definition = ServiceDefinition("toy", "toy", Path(__file__).parent / "migrations", commands)
    sys.exit(main(definition, lambda e: Settings(read_service_settings(e, "TOY", 0, 0)), App))
