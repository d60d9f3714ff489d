import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Self

import aiosmtplib
import pytest

from tests.stand_ins.smtp import Mailbox, serving_mail
from ticket_service.delivery.mail_headers import MailPolicy, mailbox_header
from ticket_service.delivery.receiver import UndeliveredError
from ticket_service.delivery.smtp import SmtpClient

MESSAGE = EmailMessage()
MESSAGE["From"], MESSAGE["To"] = "tickets@example.com", "alice@example.com"
MESSAGE.set_content("Hello")


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with serving_mail(Mailbox()) as mailbox:
        yield mailbox


@pytest.mark.parametrize(("answer", "is_permanent"), [("451 later, <alice@example.com>", False), ("550 never", True)])
async def test_rejection_is_reported_by_its_code_only(mailbox, answer, is_permanent):
    mailbox.refuses = lambda address: answer
    with pytest.raises(UndeliveredError, match=rf"refused with {answer[:3]}$") as caught:
        await SmtpClient(mailbox.url, 5, 4).send(MESSAGE)
    assert caught.value.is_permanent is is_permanent


async def test_unreachable_server_is_no_permanent_failure(mailbox):
    url = mailbox.url.replace("smtp://", "smtp://me:secret@")
    # The server offers no login without TLS.
    with pytest.raises(UndeliveredError, match="SMTP") as caught:
        await SmtpClient(url, 5, 4).send(MESSAGE)
    assert not caught.value.is_permanent
    async with serving_mail(Mailbox()) as gone:
        pass
    with pytest.raises(UndeliveredError, match="SMTPConnectError"):
        await SmtpClient(gone.url, 5, 4).send(MESSAGE)


async def test_a_mail_that_a_slow_server_does_not_take_in_time_is_not_sent(monkeypatch):
    class Slow:
        """A server each of whose answers comes in time, and never the last one."""

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def sendmail(self, *_: object, **__: object) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(aiosmtplib, "SMTP", lambda **_: Slow())
    with pytest.raises(UndeliveredError, match="not sent within") as caught:
        await SmtpClient("smtp://localhost", 0.01, 4).send(MESSAGE)
    assert not caught.value.is_permanent


def message_to(address: str) -> EmailMessage:
    message = EmailMessage(policy=MailPolicy())
    message["From"], message["To"] = mailbox_header("From", "Köln", "a@example.com"), mailbox_header("To", "", address)
    message.set_content("Grüße")
    return message


async def test_an_address_that_is_not_ascii_is_sent_by_smtputf8(mailbox):
    await SmtpClient(mailbox.url, 5, 4).send(message_to("jörg@xn--mnchen-3ya.de"))
    assert mailbox.recipient == "jörg@xn--mnchen-3ya.de"
    assert "SMTPUTF8" in mailbox.options
    assert (await mailbox.next())["to"] == "jörg@xn--mnchen-3ya.de"
    await SmtpClient(mailbox.url, 5, 4).send(message_to("alice@example.com"))
    assert "SMTPUTF8" not in mailbox.options


async def test_a_server_without_smtputf8_is_a_permanent_failure_for_such_an_address():
    async with serving_mail(Mailbox(), smtputf8=False) as old:
        with pytest.raises(UndeliveredError, match="the server has no SMTPUTF8") as caught:
            await SmtpClient(old.url, 5, 4).send(message_to("jörg@example.com"))
        assert caught.value.is_permanent
        assert "jörg" not in str(caught.value)
        # The domain alone needs no extension.
        await SmtpClient(old.url, 5, 4).send(message_to("bob@xn--mnchen-3ya.de"))
        assert (await old.next())["to"] == "bob@xn--mnchen-3ya.de"
