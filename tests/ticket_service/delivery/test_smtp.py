from collections.abc import AsyncIterator
from email.message import EmailMessage

import pytest

from tests.stand_ins.smtp import Mailbox, serving_mail
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
