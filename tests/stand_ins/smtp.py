"""A real SMTP server for tests that stores the mails it receives."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope

from tests.environment.waiting import until


@dataclass
class Mailbox:
    """A mailbox; `refuses` returns the answer that rejects a recipient, or None."""

    refuses: Callable[[str], str | None] = lambda address: None
    mails: list[EmailMessage] = field(default_factory=list)
    tried: int = 0
    url: str = ""
    # The arguments of the last MAIL command, and the last recipient, as the client wrote them.
    options: list[str] = field(default_factory=list)
    recipient: str = ""

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: object, session: object, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.tried += 1
        self.options, self.recipient = list(envelope.mail_options), address
        if answer := self.refuses(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Store a mail."""
        assert isinstance(envelope.content, bytes)
        message: Any = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append(message)
        return "250 OK"

    async def next(self) -> EmailMessage:
        """Wait for a mail and remove it from the mailbox."""
        await until(lambda: self.mails)
        return self.mails.pop(0)


@asynccontextmanager
async def serving_mail(mailbox: Mailbox, port: int = 0, *, smtputf8: bool = True) -> AsyncIterator[Mailbox]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, enable_SMTPUTF8=smtputf8), "127.0.0.1", port)
    mailbox.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield mailbox
    finally:
        server.close()
