"""The composition root: puts the service together, starts it, and takes it apart in the opposite order."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, NoReturn

from sqlalchemy.engine import URL

from scan_service.adapters.tickets import TicketService
from scan_service.errors import CATALOGUE
from scan_service.gate_stream.messages import Credits
from scan_service.gate_stream.presence import Presence
from scan_service.gate_stream.stream import Rules, Streams
from scan_service.policy import POLICY
from scan_service.replication.key_replica import KeyReplica
from scan_service.replication.replica import Replica
from scan_service.replication.reports import Reports
from scan_service.servicers.devices import DevicesServicer
from scan_service.servicers.revocations import RevocationsServicer
from scan_service.servicers.scans import ScansServicer, UseCases
from scan_service.settings import Settings
from scan_service.store.admission import STATEMENTS
from scan_service.store.incidents import STATEMENTS as INCIDENT_STATEMENTS
from scan_service.store.uploads import STATEMENTS as UPLOAD_STATEMENTS
from scan_service.use_cases import admission, uploads
from scan_service.use_cases.admissions_watch import AdmissionsWatch
from scan_service.use_cases.annulments import Annulments
from scan_service.use_cases.attendance import Attendances
from scan_service.use_cases.batch_locker import BatchLocker
from scan_service.use_cases.devices import Devices
from scan_service.use_cases.guessing import Guessing
from scan_service.use_cases.incidents import Incidents
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.revocations import Revocations
from scan_service.use_cases.scans import Records
from scan_service.use_cases.validation import Validation
from scan_service.use_cases.watching import Watching
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Attempt, Scan
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.leadership import repeat_with_backoff, run_as_leader
from ticketing.chassis.loop_connection import LoopConnection
from ticketing.chassis.server import Server
from ticketing.chassis.service import call_interceptor
from ticketing.scans.v1.device_service_pb2_grpc import add_DeviceServiceServicer_to_server
from ticketing.scans.v1.revocation_service_pb2_grpc import (
    add_RevocationServiceServicer_to_server,
)
from ticketing.scans.v1.scan_service_pb2_grpc import add_ScanServiceServicer_to_server

NAME: Final = "scan_service"
# Larger batches take longer for the first of them than they save for the last.
MAX_BATCH: Final = 256
MAX_UPLOAD_BATCH: Final = 64


class App:
    """The scan service.

    Args:
        settings: as read from the environment.
        url: the scans database, migrated.
        clock: the present time.
    """

    def __init__(self, settings: Settings, url: URL, clock: Clock = system_clock) -> None:
        self._settings = settings
        self._url = url
        self._clock = clock
        self._running = AsyncExitStack()

    async def start(self) -> int:
        """Serve; return the port. The ticket service need not be there."""
        database = Database(self._url, NAME)
        self._running.push_async_callback(database.close)
        keys = Keys(database, self._clock)
        await keys.load()
        codes = Codes(self._settings.code_secret)
        self._follow(database, keys)
        guessing = Guessing(self._settings.max_failed_codes, database, self._clock)
        batcher, uploads = self._batcher(keys, codes, guessing), self._uploads(keys, codes)
        annulments = Annulments(database, codes, self._clock)
        allowed = Credits(self._settings.max_outstanding_scans, self._settings.max_outstanding_uploads)
        rules = Rules(database, batcher, uploads, annulments, codes, self._clock, allowed)
        streams = Streams(rules)
        revocations = RevocationsServicer(Revocations(database, codes, self._clock))
        validation = Validation(database, keys, codes, self._clock, guessing)
        watching = Watching(self._clock)
        use_cases = UseCases(
            batcher=batcher,
            uploads=uploads,
            streams=streams,
            validation=validation,
            annulments=annulments,
            records=Records(database, codes),
            incidents=Incidents(database, codes),
            attendances=Attendances(database, self._clock, watching),
            admissions_watch=AdmissionsWatch(database, watching),
        )
        scans = ScansServicer(use_cases, codes)
        devices = Devices(database, self._clock)
        presence = Presence(database, self._clock, streams, watching)
        self._running.push_async_callback(
            _end, asyncio.create_task(repeat_with_backoff("presence of devices", presence.look))
        )
        server = Server(
            self._settings.service.listen,
            call_interceptor(self._settings.service, POLICY, CATALOGUE, self._clock, devices.caller),
            {
                "ticketing.scans.v1.ScanService": partial(add_ScanServiceServicer_to_server, scans),
                "ticketing.scans.v1.RevocationService": partial(add_RevocationServiceServicer_to_server, revocations),
                "ticketing.scans.v1.DeviceService": partial(
                    add_DeviceServiceServicer_to_server, DevicesServicer(devices, self._clock)
                ),
            },
        )
        port = await server.start()

        def tell_streams() -> None:
            streams.drain()
            watching.drain()

        self._running.push_async_callback(server.drain, tell_streams)
        return port

    async def stop(self) -> None:
        """Drain, then let go of everything."""
        await self._running.aclose()

    def _batcher(self, keys: Keys, codes: Codes, guessing: Guessing) -> Batcher[Attempt, Scan]:
        connection = LoopConnection(self._url, NAME, {**STATEMENTS, **INCIDENT_STATEMENTS})
        self._running.callback(connection.close)
        holder = BatchLocker(connection, keys, codes, self._clock)
        waiting = self._settings.max_waiting_scans
        decide = partial(holder.transact, work=admission.answer)
        batcher: Batcher[Attempt, Scan] = Batcher(
            "scans", partial(guessing.process, decide=decide), max_batch=MAX_BATCH, max_waiting=waiting
        )
        self._running.push_async_callback(batcher.close)
        return batcher

    def _uploads(self, keys: Keys, codes: Codes) -> Batcher[Attempt, Scan]:
        """Make the lane of offline scans: its own connection, and small batches, which hold few tickets and shortly."""
        connection = LoopConnection(self._url, f"{NAME} uploads", UPLOAD_STATEMENTS)
        self._running.callback(connection.close)
        holder = BatchLocker(connection, keys, codes, self._clock, lock_first=True)
        waiting = self._settings.max_waiting_scans
        batcher: Batcher[Attempt, Scan] = Batcher(
            "uploads", partial(holder.transact, work=uploads.record), max_batch=MAX_UPLOAD_BATCH, max_waiting=waiting
        )
        self._running.push_async_callback(batcher.close)
        return batcher

    def _follow(self, database: Database, keys: Keys) -> None:
        """Follow the ticket service in the background, whether it is there or not."""
        peer = self._settings.service.peer(self._settings.tickets_address)
        self._running.push_async_callback(peer.close)
        connection = LoopConnection(self._url, f"{NAME} lead", {})
        self._running.callback(connection.close)
        tickets = TicketService(peer)
        key_replica = KeyReplica(database, tickets, keys, self._clock)
        replica, reports = Replica(database, tickets, key_replica, self._clock), Reports(database, tickets, self._clock)
        duties = (
            partial(repeat_with_backoff, "copy of the tickets", replica.follow),
            partial(repeat_with_backoff, "reports of check-ins", reports.report),
            partial(repeat_with_backoff, "reports of incidents", reports.report_incidents),
        )
        for work in (repeat_with_backoff("copy of the keys", key_replica.refresh), run_as_leader(connection, duties)):
            self._running.push_async_callback(_end, asyncio.create_task(work))


async def _end(task: "asyncio.Task[NoReturn]") -> None:
    task.cancel()
    await asyncio.wait([task])
