"""Send mails by SMTP, with STARTTLS where the server offers it."""

import asyncio
from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from ticket_service.delivery.receiver import UndeliveredError

TLS_SCHEME: Final = "smtps"
# The replies of a server that refuses the mail for good.
PERMANENT: Final = range(500, 600)


class SmtpClient:
    """A client of one mail server.

    Args:
        url: `smtp://user:password@host:587`, or `smtps://` for TLS from the first byte.
        seconds: the deadline of one mail. The relay also gives the drawing of its files time, which a slow server must not
            take.
        max_connections: how many mails the receiver sends at the same time, each on its own connection.
    """

    def __init__(self, url: str, seconds: float, max_connections: int) -> None:
        self.max_connections = max_connections
        parts = urlsplit(url)
        self._use_tls = parts.scheme == TLS_SCHEME
        self._host = parts.hostname
        self._port = parts.port or (465 if self._use_tls else 587)
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = None if parts.password is None else unquote(parts.password)
        self._seconds = seconds

    async def send(self, message: EmailMessage) -> None:
        """Send one mail; raise UndeliveredError, without an address in its message, unless the server accepts it."""
        [sender], [recipient] = message["From"].addresses, message["To"].addresses
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            use_tls=self._use_tls,
            timeout=self._seconds,
        )
        try:
            async with asyncio.timeout(self._seconds), client:
                options = [] if recipient.addr_spec.isascii() else await _smtputf8(client)
                # The library would write the headers anew, by its own rules.
                content = message.as_bytes()
                await client.sendmail(sender.addr_spec, [recipient.addr_spec], content, mail_options=options)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _undelivered("the recipient", [refused.code for refused in error.recipients]) from error
        except aiosmtplib.SMTPDataError as error:
            raise _undelivered("the mail", [error.code]) from error
        except aiosmtplib.SMTPException as error:
            code = f" {error.code}" if isinstance(error, aiosmtplib.SMTPResponseException) else ""
            raise UndeliveredError(f"SMTP: {type(error).__name__}{code}") from error
        except TimeoutError as error:
            raise UndeliveredError(f"SMTP: not sent within {self._seconds:g} s") from error


async def _smtputf8(client: aiosmtplib.SMTP) -> list[str]:
    await client.ehlo()
    if not client.supports_extension("smtputf8"):
        # The server may change, but a buyer waits for a ticket: the dead letter shows that now.
        message = "SMTP: the address is not ASCII, and the server has no SMTPUTF8"
        raise UndeliveredError(message, is_permanent=True)
    return ["SMTPUTF8"]


def _undelivered(subject: str, codes: list[int]) -> UndeliveredError:
    listed = ", ".join(map(str, codes))
    is_permanent = all(code in PERMANENT for code in codes)
    return UndeliveredError(f"SMTP: {subject} was refused with {listed}", is_permanent=is_permanent)
