"""The composition root: it builds the service, starts it, and stops its parts in the opposite order."""

from collections.abc import Mapping
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
from scan_service.servicers.audit_trail import AuditTrailServicer
from scan_service.servicers.devices import DevicesServicer
from scan_service.servicers.recovery import RecoveryServicer
from scan_service.servicers.replica import ReplicaServicer
from scan_service.servicers.revocations import RevocationsServicer
from scan_service.servicers.scanners import ScannersServicer
from scan_service.servicers.scans import ScansServicer, UseCases
from scan_service.settings import Settings
from scan_service.store.admission import STATEMENTS
from scan_service.store.clock import DatabaseClock
from scan_service.store.free_rows import STATEMENTS as FREE_STATEMENTS
from scan_service.store.incidents import STATEMENTS as INCIDENT_STATEMENTS
from scan_service.store.uploads import STATEMENTS as UPLOAD_STATEMENTS
from scan_service.use_cases import admission, uploads
from scan_service.use_cases.admission_watcher import AdmissionWatcher
from scan_service.use_cases.annulments import Annulments
from scan_service.use_cases.attendance import Attendances
from scan_service.use_cases.audit_trail import AuditTrail
from scan_service.use_cases.batch_locker import BatchLocker
from scan_service.use_cases.devices import Devices
from scan_service.use_cases.failed_code_limit import FailedCodeLimit
from scan_service.use_cases.figures import INTERVAL_SECONDS as FIGURES_SECONDS
from scan_service.use_cases.figures import FiguresExport
from scan_service.use_cases.gates import Gates
from scan_service.use_cases.holders import Holders
from scan_service.use_cases.incidents import Incidents
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.locked_events import LockedEvents
from scan_service.use_cases.look_ups import LookUps
from scan_service.use_cases.lost_commits import INTERVAL_SECONDS as LOST_COMMITS_SECONDS
from scan_service.use_cases.lost_commits import LostCommits
from scan_service.use_cases.recoveries import STEP_SECONDS as RECOVERY_SECONDS
from scan_service.use_cases.recoveries import Recoveries
from scan_service.use_cases.recovery import KnownState
from scan_service.use_cases.replica_position import ReplicaPositions
from scan_service.use_cases.revocations import Revocations
from scan_service.use_cases.scan_counters import count_failures
from scan_service.use_cases.scanners import Scanners
from scan_service.use_cases.scans import Scans
from scan_service.use_cases.upload_pace import UploadPace
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
from ticketing.scans.v1.gate_change_service_pb2_grpc import add_GateChangeServiceServicer_to_server
from ticketing.scans.v1.recovery_service_pb2_grpc import add_RecoveryServiceServicer_to_server
from ticketing.scans.v1.replica_service_pb2_grpc import add_ReplicaServiceServicer_to_server
from ticketing.scans.v1.revocation_service_pb2_grpc import add_RevocationServiceServicer_to_server
from ticketing.scans.v1.scan_service_pb2_grpc import add_ScanServiceServicer_to_server
from ticketing.scans.v1.scanner_service_pb2_grpc import add_ScannerServiceServicer_to_server

NAME: Final = "scan_service"
# A larger batch delays its first scan by more than it saves for its last one.
MAX_BATCH: Final = 256
# A batch locks its tickets for some hundredths of a second, and live scans of them wait meanwhile. A batch has fixed
# costs of 2 ms of PostgreSQL: with 64, an upload took 83 us of it, with 128 70 us, with 256 63 us.
MAX_UPLOAD_BATCH: Final = 128
# The longest wait for a locked row. All gates wait with a batch of live scans, at which people stand; the ticket service
# waits 2 s for a revocation. Batches, the feed and uploads lock rows for some hundredths of a second.
SCAN_LOCK_MILLISECONDS: Final = {"lock_timeout": 250}
LOCK_MILLISECONDS: Final = {"lock_timeout": 500}
# The threads, and so the connections, of each kind of work. A kind waits for no other kind.
CALL_THREADS: Final = 4
GATE_THREADS: Final = 2
REVOCATION_THREADS: Final = 4
FEED_THREADS: Final = 2
WATCH_THREADS: Final = 2


# The pause between two looks for guessed codes, beside those after a guess.
GUESS_SECONDS: Final = 5.0


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
        database = self._database("calls", CALL_THREADS)
        # The look-ups of devices and keys are on the way of every call and scan.
        gate_database = self._database("gates", GATE_THREADS)
        keys = Keys(gate_database, self._clock)
        await keys.load()
        codes = Codes(self._settings.code_secret)
        tickets = self._ticket_service()
        lost_commits = self._follow(keys, tickets, codes)
        failed_codes = FailedCodeLimit(self._settings.max_failed_codes, database, self._database_clock)
        guesses = self.tasks.new("code_guesses", failed_codes.record, GUESS_SECONDS)
        failed_codes.report_guess = guesses.wake
        self._start(guesses)
        batcher, uploads = self._batchers(keys, codes, failed_codes)
        annulments = Annulments(database, codes, self._database_clock)
        gates = Gates(gate_database, self._database_clock)
        allowed = Credits(self._settings.max_outstanding_scans, self._settings.max_outstanding_uploads)
        streams = Streams(StreamDependencies(gates, batcher, uploads, annulments, codes, self._clock, allowed))
        revoking = self._database("revocations", REVOCATION_THREADS)
        revocations = RevocationsServicer(Revocations(revoking, codes, self._database_clock))
        validation = Validation(database, keys, codes, self._database_clock, failed_codes)
        pacer = WatchPacer(self._clock)
        admission_watcher = AdmissionWatcher(self._database("watches", WATCH_THREADS), pacer, self._clock)
        admission_watcher.report_lost_commits = lost_commits.report_cursor
        use_cases = UseCases(
            batcher=batcher,
            uploads=uploads,
            streams=streams,
            validation=validation,
            annulments=annulments,
            scans=Scans(database, codes),
            incidents=Incidents(database, codes),
            attendances=Attendances(database, self._clock, pacer),
            admission_watcher=admission_watcher,
            look_ups=LookUps(database, tickets, codes, self._database_clock, self._settings.max_look_ups),
            holders=Holders(database, tickets, self._database_clock),
        )
        scans = ScansServicer(use_cases, codes)
        credentials = Credentials(self._settings.code_secret)
        devices = Devices(database, gate_database, credentials, self._clock, self._database_clock)
        presence = Presence(gates, self._clock, streams, pacer)
        self._start(self.tasks.new("presence", presence.poll, PRESENCE_SECONDS))
        self._start(self.tasks.new("figures", FiguresExport(self._database("figures", 1)).sweep, FIGURES_SECONDS))
        server = Server(
            self._settings.service.listen,
            call_interceptor(self._settings.service, POLICY, CATALOGUE, self._clock, self.tasks, devices.caller),
            {
                "ticketing.scans.v1.ScanService": partial(add_ScanServiceServicer_to_server, scans),
                "ticketing.scans.v1.RevocationService": partial(add_RevocationServiceServicer_to_server, revocations),
                "ticketing.scans.v1.DeviceService": partial(
                    add_DeviceServiceServicer_to_server, DevicesServicer(devices)
                ),
                "ticketing.scans.v1.GateChangeService": partial(
                    add_GateChangeServiceServicer_to_server, AuditTrailServicer(AuditTrail(database))
                ),
                "ticketing.scans.v1.RecoveryService": partial(
                    add_RecoveryServiceServicer_to_server,
                    # Pages of a whole database delay no gate.
                    RecoveryServicer(KnownState(self._database("recovery", 1, {}))),
                ),
                "ticketing.scans.v1.ReplicaService": partial(
                    add_ReplicaServiceServicer_to_server,
                    ReplicaServicer(ReplicaPositions(database, self._database_clock)),
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

    def _database(self, pool: str, threads: int, limits: Mapping[str, int] = LOCK_MILLISECONDS) -> Database:
        database = Database(self._url, f"{NAME} {pool}", threads, limits)
        self._running.push_async_callback(database.close)
        return database

    def _scanners(self) -> ScannersServicer:
        # An erasure of many scans delays no gate.
        return ScannersServicer(Scanners(self._database("erasures", 1, {})))

    def _batchers(
        self, keys: Keys, codes: Codes, failed_codes: FailedCodeLimit
    ) -> tuple[Batcher[Attempt, Scan], Batcher[Attempt, Scan]]:
        """Build the batchers of live scans and of uploads, with a connection each: neither waits for the other."""
        statements = {**STATEMENTS, **FREE_STATEMENTS, **INCIDENT_STATEMENTS}
        live = LoopConnection(self._url, f"{NAME} scans", statements, SCAN_LOCK_MILLISECONDS)
        uploading = LoopConnection(
            self._url, f"{NAME} uploads", {**UPLOAD_STATEMENTS, **FREE_STATEMENTS}, LOCK_MILLISECONDS
        )
        locker = BatchLocker(live, keys, codes, self._database_clock, LockedEvents("scans"))
        decide = partial(locker.transact, work=admission.decide_batch)
        locker = BatchLocker(uploading, keys, codes, self._database_clock, LockedEvents("uploads"), lock_first=True)
        pace = UploadPace()
        record = pace.of_uploads(partial(locker.transact, work=uploads.record_batch))
        decide_scans = pace.of_live_scans(partial(failed_codes.process, decide=decide))
        waiting = self._settings.max_waiting_scans
        batchers: tuple[Batcher[Attempt, Scan], Batcher[Attempt, Scan]] = (
            Batcher(
                "scans",
                count_failures("scans", decide_scans),
                max_batch=MAX_BATCH,
                max_waiting=waiting,
                describe=_ids,
            ),
            Batcher(
                "uploads",
                count_failures("uploads", record),
                max_batch=MAX_UPLOAD_BATCH,
                max_waiting=waiting,
                describe=_ids,
            ),
        )
        for connection, batcher in zip((live, uploading), batchers, strict=True):
            self._running.callback(connection.close)
            self._running.push_async_callback(batcher.close)
        return batchers

    def _ticket_service(self) -> TicketService:
        peer = self._settings.service.peer(self._settings.tickets_address)
        self._running.push_async_callback(peer.close)
        return TicketService(peer)

    def _follow(self, keys: Keys, tickets: TicketService, codes: Codes) -> LostCommits:
        """Start to follow the ticket service in the background; return the check of the database for lost commits."""
        database = self._database("feed", FEED_THREADS)
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
        recoveries = Recoveries(database, tickets, codes, self._database_clock)
        lost_commits = LostCommits(database, recoveries, self._database_clock)
        self._start(self.tasks.new("lost_commits", lost_commits.check, LOST_COMMITS_SECONDS))
        reporting = [
            self.tasks.new("check_in_reports", reports.report_check_ins, REPORT_SECONDS),
            self.tasks.new("incident_reports", reports.report_incidents, REPORT_SECONDS),
            self.tasks.new("device_reports", reports.report_devices, REPORT_SECONDS),
            self.tasks.new("recovery", recoveries.step, RECOVERY_SECONDS),
        ]
        self._start(Leadership(connection, self.tasks, following, reporting).task)
        return lost_commits

    def _start(self, task: BackgroundTask) -> None:
        task.start()
        self._running.push_async_callback(task.stop)


def _ids(attempt: Attempt) -> dict[str, str]:
    return {"event_id": str(attempt.gate.event_id), "scan_id": str(attempt.scan_id)}
