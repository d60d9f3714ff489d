"""Compose the relay and its receivers, as the command `relay` alone or for the process of the ticket service."""

import os
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.adapters.drawers import Drawers, DrawingLimits
from ticket_service.delivery.backlog import INTERVAL_SECONDS, BacklogMetrics
from ticket_service.delivery.log import LogRelay
from ticket_service.delivery.receiver import Receiver
from ticket_service.delivery.relay import Relay
from ticket_service.delivery.settings import DeliverySettings
from ticket_service.domain.codes import Codes
from ticket_service.domain.languages import look_up
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import LOOK_SECONDS, SigningKeys
from ticket_service.use_cases.recovery_guard import LOOK_SECONDS as RECOVERY_LOOK_SECONDS
from ticket_service.use_cases.recovery_guard import RecoveryGuard
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.health import Health
from ticketing.chassis.settings import SettingsError
from ticketing.chassis.tasks import Sweepable, Tasks

# The relay has its own threads, so that no call waits for the relay. Four suffice: a relay mostly waits for receivers.
THREADS: Final = 4
# The time for which drawn files are kept, so that the tries after it need no drawing while a mail server is down.
DRAWN_SECONDS: Final = 3_600.0
# A nice value. On busy processors sales and scans run first, and the relay catches up later.
NICE: Final = 12
AUTOGROUP: Final = Path("/proc/self/autogroup")


def lower_priority() -> None:
    """Let other processes run first; threads and processes that this thread starts from now on inherit it.

    The embedded PostgreSQL, which another thread starts in a session of its own, keeps its priority (on Linux, a priority
    belongs to a thread).
    """
    os.nice(NICE)
    # Linux may schedule each session as a group; between sessions, only the priority of the group counts then.
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            AUTOGROUP.write_text(str(NICE))


class DeliveryApp:
    """One relay with its receivers, on the migrated database of the ticket service.

    `tasks` and `guard` are those of the process that contains the relay; None: the relay is a program of its own.
    """

    def __init__(
        self,
        settings: DeliverySettings,
        url: URL,
        clock: Clock = system_clock,
        tasks: Tasks | None = None,
        guard: RecoveryGuard | None = None,
    ) -> None:
        self._guard = guard or RecoveryGuard(Database(url, "ticket_service recovery state", 1), clock)
        self._watches_recovery = guard is None
        self._settings = settings
        self._url = url
        self._clock = clock
        self._is_program = tasks is None
        self._tasks = tasks or Tasks()
        self.health = Health(self._tasks)
        self._opened = AsyncExitStack()

    async def start(self) -> int:
        """Start delivering; return 0, because the relay listens on no port.

        Raises:
            SettingsError: the signing key file or a mail template cannot be used.
        """
        if self._watches_recovery:
            await self._guard.sweep()
            self._always("recovery", self._guard, RECOVERY_LOOK_SECONDS)
        database = Database(self._url, "ticket_service relay", THREADS, refusal=self._guard.refusal)
        self._opened.push_async_callback(database.close)
        receivers = await self._receivers(database)
        terms = self._settings.terms
        if receivers:
            relay = Relay(database, receivers, terms, self._clock, self._tasks, self._guard.pausing)
            self._opened.push_async_callback(relay.stop)
            relay.start(is_program=self._is_program)
        else:
            self._sweep("notification_log", LogRelay(database), terms.interval_seconds)
        self._always("backlog", BacklogMetrics(database, self._clock), INTERVAL_SECONDS)
        return 0

    async def stop(self) -> None:
        """Stop and close everything; another relay repeats the deliveries in progress."""
        await self._opened.aclose()

    def _sweep(self, name: str, work: Sweepable, interval_seconds: float) -> None:
        """Sweep work that pauses while the database is recovered."""
        self._always(name, self._guard.pausing(work), interval_seconds)

    def _always(self, name: str, work: Sweepable, interval_seconds: float) -> None:
        task = self._tasks.sweep(name, work, interval_seconds)
        self._opened.push_async_callback(task.stop)

    async def _receivers(self, database: Database) -> list[Receiver]:
        settings = self._settings
        receivers: list[Receiver] = []
        # Each module is imported only if its receiver is configured.
        if settings.webhook_url is not None:
            from ticket_service.delivery.webhook import WebhookReceiver  # noqa: PLC0415

            receivers.append(
                WebhookReceiver(
                    settings.webhook_url, settings.webhook_secret, settings.webhook_max_parallel, self._clock
                )
            )
        if settings.nats_url is not None:
            from ticket_service.delivery.nats import NatsReceiver  # noqa: PLC0415

            receivers.append(NatsReceiver(settings.nats_url, settings.nats_stream, settings.nats_max_parallel))
        if settings.smtp_url is not None:
            receivers.append(await self._email_receiver(database, settings.smtp_url))
        return receivers

    async def _email_receiver(self, database: Database, smtp_url: str) -> Receiver:
        # Imported late too: templates and languages take time to load.
        from ticket_service.delivery.mail import EmailReceiver  # noqa: PLC0415
        from ticket_service.delivery.mail_texts import read_texts  # noqa: PLC0415
        from ticket_service.delivery.mime_writer import MailDrawing, MimeWriter  # noqa: PLC0415
        from ticket_service.delivery.smtp import SmtpClient  # noqa: PLC0415

        settings = self._settings
        texts, language = read_texts(settings.mail_templates), settings.mail_language
        if not look_up(language, texts, ""):
            raise SettingsError(f"TICKETS_MAIL_LANGUAGE is {language!r}; there is {', '.join(sorted(texts))}")
        keys = await SigningKeys.open(database, settings.signing_key_file, self._clock, self._guard.refusal)
        # A mail must not contain a token of a key that was retired since the start.
        self._always("mail_signing_keys", keys, LOOK_SECONDS)
        limits = DrawingLimits(
            settings.drawing_workers,
            # Each mail in progress has one job; a job that nobody waits for any more may still stand in the queue.
            waiting=2 * settings.mail_max_parallel,
            seconds=EmailReceiver.preparation_seconds,
            cache_seconds=DRAWN_SECONDS,
            # Mails follow each other as fast as the low priority of the relay permits.
            rest=0.0,
        )
        drawers = Drawers("mails", limits, settings.wallets)
        self._opened.push_async_callback(drawers.close)
        drawing = MailDrawing(drawers, settings.page, settings.mail_max_separate, settings.wallets)
        writer = MimeWriter(texts, language, settings.mail_from, drawing)
        issuing = Issuing(Codes(settings.code_secret), keys)
        smtp = SmtpClient(smtp_url, settings.terms.deadline_seconds, settings.mail_max_parallel)
        return EmailReceiver(database, writer, smtp, issuing, self._clock)
