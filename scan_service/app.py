"""The composition root: it builds the service, starts it, and stops its parts in the opposite order."""

from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from sqlalchemy.engine import URL

from scan_service.adapters.tickets import TicketService
from scan_service.domain.devices import Credentials
from scan_service.errors import CATALOGUE
from scan_service.gate_stream.messages import Credits
from scan_service.gate_stream.presence import POLL_SECONDS as PRESENCE_SECONDS
from scan_service.gate_stream.presence import Presence
from scan_service.gate_stream.stream import StreamDependencies, Streams
from scan_service.policy import POLICY
from scan_service.replication.key_replica import INTERVAL_SECONDS as KEY_SECONDS
from scan_service.replication.key_replica import KeyReplica
from scan_service.replication.replica import MAX_WAIT_SECONDS as MAX_FOLLOW_SECONDS
from scan_service.replication.replica import WAIT_SECONDS as FOLLOW_SECONDS
from scan_service.replication.replica import Replica
from scan_service.replication.reports import PAUSE_SECONDS as REPORT_SECONDS
from scan_service.replication.reports import Reports
from scan_service.servicers.devices import DevicesServicer
from scan_service.servicers.revocations import RevocationsServicer
from scan_service.servicers.scanners import ScannersServicer
from scan_service.servicers.scans import ScansServicer, UseCases
from scan_service.settings import Settings
from scan_service.store.admission import STATEMENTS
from scan_service.store.clock import DatabaseClock
from scan_service.store.incidents import STATEMENTS as INCIDENT_STATEMENTS
from scan_service.store.uploads import STATEMENTS as UPLOAD_STATEMENTS
from scan_service.use_cases import admission, uploads
from scan_service.use_cases.admission_watcher import AdmissionWatcher
from scan_service.use_cases.annulments import Annulments
from scan_service.use_cases.attendance import Attendances
from scan_service.use_cases.batch_locker import BatchLocker
from scan_service.use_cases.devices import Devices
from scan_service.use_cases.failed_code_limit import FailedCodeLimit
from scan_service.use_cases.gates import Gates
from scan_service.use_cases.holders import Holders
from scan_service.use_cases.incidents import Incidents
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.look_ups import LookUps
from scan_service.use_cases.revocations import Revocations
from scan_service.use_cases.scanners import Scanners
from scan_service.use_cases.scans import Scans
from scan_service.use_cases.validation import Validation
from scan_service.use_cases.watch_pacer import WatchPacer
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Attempt, Scan
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.health import Health
from ticketing.chassis.leadership import Leadership
from ticketing.chassis.loop_connection import LoopConnection
from ticketing.chassis.server import Server
from ticketing.chassis.service import call_interceptor
from ticketing.chassis.tasks import BackgroundTask, Tasks
from ticketing.scans.v1.device_service_pb2_grpc import add_DeviceServiceServicer_to_server
from ticketing.scans.v1.revocation_service_pb2_grpc import add_RevocationServiceServicer_to_server
from ticketing.scans.v1.scan_service_pb2_grpc import add_ScanServiceServicer_to_server
from ticketing.scans.v1.scanner_service_pb2_grpc import add_ScannerServiceServicer_to_server

NAME: Final = "scan_service"
# A larger batch delays its first scan by more than it saves for its last one.
MAX_BATCH: Final = 256
# Small batches lock few tickets briefly, so that live scans of these tickets wait less.
MAX_UPLOAD_BATCH: Final = 64


class App:
    """The scan service; `url` is that of its migrated database."""

    def __init__(
        self,
        settings: Settings,
        url: URL,
        clock: Clock = system_clock,
        database_clock: DatabaseClock | None = None,
    ) -> None:
        self._settings = settings
        self._url = url
        self._clock = clock
        self._database_clock = database_clock or DatabaseClock()
        self.tasks = Tasks()
        self.health = Health(self.tasks)
        self._running = AsyncExitStack()

    async def start(self) -> int:
        """Start to serve and return the port, whether the ticket service is available or not."""
        self._running.push_async_callback(self.tasks.stop)
        database = Database(self._url, NAME)
        self._running.push_async_callback(database.close)
        keys = Keys(database, self._clock)
        await keys.load()
        codes = Codes(self._settings.code_secret)
        tickets = self._ticket_service()
        self._follow(database, keys, tickets)
        failed_codes = FailedCodeLimit(self._settings.max_failed_codes, database, self._database_clock)
        batcher, uploads = self._batchers(keys, codes, failed_codes)
        annulments = Annulments(database, codes, self._database_clock)
        gates = Gates(database, self._database_clock)
        allowed = Credits(self._settings.max_outstanding_scans, self._settings.max_outstanding_uploads)
        streams = Streams(StreamDependencies(gates, batcher, uploads, annulments, codes, self._clock, allowed))
        revocations = RevocationsServicer(Revocations(database, codes, self._clock))
        validation = Validation(database, keys, codes, self._database_clock, failed_codes)
        pacer = WatchPacer(self._clock)
        use_cases = UseCases(
            batcher=batcher,
            uploads=uploads,
            streams=streams,
            validation=validation,
            annulments=annulments,
            scans=Scans(database, codes),
            incidents=Incidents(database, codes),
            attendances=Attendances(database, self._clock, pacer),
            admission_watcher=AdmissionWatcher(database, pacer, self._clock),
            look_ups=LookUps(database, tickets, codes, self._database_clock, self._settings.max_look_ups),
            holders=Holders(database, tickets, self._database_clock),
        )
        scans = ScansServicer(use_cases, codes)
        devices = Devices(database, Credentials(self._settings.code_secret), self._clock, self._database_clock)
        presence = Presence(gates, self._clock, streams, pacer)
        self._start(self.tasks.new("presence", presence.poll, PRESENCE_SECONDS))
        server = Server(
            self._settings.service.listen,
            call_interceptor(self._settings.service, POLICY, CATALOGUE, self._clock, self.tasks, devices.caller),
            {
                "ticketing.scans.v1.ScanService": partial(add_ScanServiceServicer_to_server, scans),
                "ticketing.scans.v1.RevocationService": partial(add_RevocationServiceServicer_to_server, revocations),
                "ticketing.scans.v1.DeviceService": partial(
                    add_DeviceServiceServicer_to_server, DevicesServicer(devices)
                ),
                "ticketing.scans.v1.ScannerService": partial(add_ScannerServiceServicer_to_server, self._scanners()),
            },
            self.health,
        )
        port = await server.start()

        def drain_streams() -> None:
            streams.drain()
            pacer.drain()

        self._running.push_async_callback(server.drain, drain_streams)
        return port

    async def stop(self) -> None:
        """Drain the streams, then stop all parts."""
        await self._running.aclose()

    def _scanners(self) -> ScannersServicer:
        # A pool of its own: an erasure of many scans delays no gate.
        database = Database(self._url, f"{NAME} erasures", threads=1)
        self._running.push_async_callback(database.close)
        return ScannersServicer(Scanners(database))

    def _batchers(
        self, keys: Keys, codes: Codes, failed_codes: FailedCodeLimit
    ) -> tuple[Batcher[Attempt, Scan], Batcher[Attempt, Scan]]:
        """Build the batchers of live scans and of uploads, with a connection each: neither waits for the other."""
        live = LoopConnection(self._url, NAME, {**STATEMENTS, **INCIDENT_STATEMENTS})
        uploading = LoopConnection(self._url, f"{NAME} uploads", UPLOAD_STATEMENTS)
        decide = partial(BatchLocker(live, keys, codes, self._database_clock).transact, work=admission.decide_batch)
        locker = BatchLocker(uploading, keys, codes, self._database_clock, lock_first=True)
        record = partial(locker.transact, work=uploads.record_batch)
        waiting = self._settings.max_waiting_scans
        batchers: tuple[Batcher[Attempt, Scan], Batcher[Attempt, Scan]] = (
            Batcher("scans", partial(failed_codes.process, decide=decide), max_batch=MAX_BATCH, max_waiting=waiting),
            Batcher("uploads", record, max_batch=MAX_UPLOAD_BATCH, max_waiting=waiting),
        )
        for connection, batcher in zip((live, uploading), batchers, strict=True):
            self._running.callback(connection.close)
            self._running.push_async_callback(batcher.close)
        return batchers

    def _ticket_service(self) -> TicketService:
        peer = self._settings.service.peer(self._settings.tickets_address)
        self._running.push_async_callback(peer.close)
        return TicketService(peer)

    def _follow(self, database: Database, keys: Keys, tickets: TicketService) -> None:
        """Start to follow the ticket service in the background."""
        connection = LoopConnection(self._url, f"{NAME} leader", {})
        self._running.callback(connection.close)
        key_replica = KeyReplica(database, tickets, keys, self._database_clock)
        fetching = self.tasks.new("signing_keys", key_replica.refresh, KEY_SECONDS)
        keys.report_missing = fetching.wake
        self._start(fetching)
        replica = Replica(database, tickets, key_replica, self._database_clock)
        following = self.tasks.new("replica", replica.follow, FOLLOW_SECONDS, max_backoff_seconds=MAX_FOLLOW_SECONDS)
        replica.report_success = following.record.succeeded
        reports = Reports(database, tickets, self._database_clock)
        reporting = [
            self.tasks.new("check_in_reports", reports.report_check_ins, REPORT_SECONDS),
            self.tasks.new("incident_reports", reports.report_incidents, REPORT_SECONDS),
        ]
        self._start(Leadership(connection, self.tasks, following, reporting).task)

    def _start(self, task: BackgroundTask) -> None:
        task.start()
        self._running.push_async_callback(task.stop)
