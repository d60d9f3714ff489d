"""Write a mail: draw its files in worker processes, then compose it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from uuid import UUID

from ticket_service.adapters.drawers import Drawers, Turn
from ticket_service.delivery.emails import Email
from ticket_service.delivery.mail_composer import MailComposer
from ticket_service.delivery.mail_files import FileStyle, files_of
from ticket_service.delivery.mail_texts import MailTexts
from ticket_service.domain.calendar_entries import CalendarOrganizer
from ticket_service.domain.page_design import PageDesign
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.wallets import NO_WALLETS, Wallets


@dataclass(frozen=True, slots=True)
class MailDrawing:
    """The workers that draw the files of mails, and the settings of the files."""

    drawers: Drawers
    design: PageDesign
    # The number of tickets of a mail up to which each has files of its own.
    max_separate: int
    wallets: Wallets = NO_WALLETS


class MimeWriter:
    """A writer of MIME messages.

    Args:
        texts: the texts of each language.
        language: the language of purchases that name no known language.
        sender: the From header, such as `Concert Hall <tickets@example.com>`.
        drawing: the drawing of the files.
    """

    def __init__(self, texts: Mapping[str, MailTexts], language: str, sender: str, drawing: MailDrawing) -> None:
        self._composer = MailComposer(texts, language, sender, drawing.design)
        self._drawing = drawing

    @property
    def organizer(self) -> CalendarOrganizer:
        """Return the sender as the organizer of calendar entries."""
        return CalendarOrganizer(self._composer.sender_name, self._composer.address)

    async def write(
        self, email: Email, secrets: Mapping[UUID, Secrets], message_id: str, now: datetime
    ) -> EmailMessage:
        """Draw the files of a mail and write it; a repetition finds the files in the cache of the drawers.

        Args:
            email: the mail.
            secrets: the code and the token of each ticket of the mail and of its calendar entries, by the ticket's id.
            message_id: equal for every repetition of the mail.
            now: the Date header.

        Raises:
            UndeliveredError: the address is not valid in a mail.
            Failure: OVERLOADED.
        """
        style = FileStyle(
            self._composer.language_of_files(email),
            self._drawing.design,
            now,
            self._drawing.max_separate,
            self._drawing.wallets,
        )
        files = files_of(email, secrets, style)
        turn = Turn(message_id, max_waiting=1)
        contents = await self._drawing.drawers.draw_each([file.drawing for file in files], turn)
        drawn = list(zip(files, contents, strict=True))
        # The text of a large order would block the event loop.
        return await asyncio.to_thread(self._composer.compose, email, secrets, drawn, message_id, now)
