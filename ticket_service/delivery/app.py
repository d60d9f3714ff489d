"""The relay put together, within the ticket service or as a process of its own: `python -m ticket_service relay`."""

from contextlib import AsyncExitStack
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.delivery.log import LogRelay
from ticket_service.delivery.relay import Receiver, Relay, Terms
from ticket_service.delivery.settings import NotificationSettings
from ticket_service.domain.codes import Codes
from ticket_service.settings import Settings
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import SigningKeys
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.settings import SettingsError
from ticketing.chassis.sweeper import Sweeper

# Of its own, so that no call waits for one: most of the time a relay waits for receivers, not for the database.
THREADS: Final = 3


class DeliveryApp:
    """One relay and what it needs.

    Args:
        settings: the ticket service's.
        url: its database, migrated.
        clock: the present time.
    """

    def __init__(self, settings: Settings, url: URL, clock: Clock = system_clock) -> None:
        self._settings = settings
        self._url = url
        self._clock = clock
        # What has been opened, closed in reverse order.
        self._opened = AsyncExitStack()

    async def start(self) -> int:
        """Deliver; return 0, for it listens nowhere.

        Raises:
            SettingsError: the signing key file, or a template of mails, cannot be used.
        """
        database = Database(self._url, "ticket_service relay", THREADS)
        self._opened.push_async_callback(database.close)
        told = self._settings.notifications
        terms = Terms(told.deadline_seconds, told.retry_seconds, told.attempts, self._settings.sweep_seconds)
        receivers = await self._receivers(database, told)
        relay: Relay | Sweeper
        if receivers:
            relay = Relay(database, receivers, terms, self._clock)
        else:
            relay = Sweeper(LogRelay(database), self._settings.sweep_seconds)
        self._opened.push_async_callback(relay.stop)
        relay.start()
        return 0

    async def stop(self) -> None:
        """Let go of everything; what is under way is delivered again by another relay."""
        await self._opened.aclose()

    async def _receivers(self, database: Database, told: NotificationSettings) -> list[Receiver]:
        receivers: list[Receiver] = []
        # Each imported only where it is used.
        if told.webhook_url is not None:
            from ticket_service.delivery.webhook import Webhook  # noqa: PLC0415

            receivers.append(Webhook(told.webhook_url, told.webhook_secret, self._clock))
        if told.nats_url is not None:
            from ticket_service.delivery.nats import JetStream  # noqa: PLC0415

            receivers.append(JetStream(told.nats_url, told.nats_stream))
        if told.smtp_url is not None:
            receivers.append(await self._mails(database, told, told.smtp_url))
        return receivers

    async def _mails(self, database: Database, told: NotificationSettings, smtp_url: str) -> Receiver:
        # As above; drawing pages is a second of imports.
        from ticket_service.delivery.mail import Mails  # noqa: PLC0415
        from ticket_service.delivery.mail_message import MailWriter  # noqa: PLC0415
        from ticket_service.delivery.mail_texts import read_texts  # noqa: PLC0415
        from ticket_service.delivery.smtp import Smtp  # noqa: PLC0415

        texts = read_texts(told.mail_templates)
        if told.mail_language not in texts:
            raise SettingsError(f"TICKETS_MAIL_LANGUAGE is {told.mail_language!r}; there is {', '.join(sorted(texts))}")
        keys = await SigningKeys.open(database, self._settings.signing_key_file, self._clock)
        writer = MailWriter(texts, told.mail_language, told.mail_from)
        issuing = Issuing(Codes(self._settings.code_secret), keys)
        return Mails(database, writer, Smtp(smtp_url, told.deadline_seconds), issuing, self._clock)
