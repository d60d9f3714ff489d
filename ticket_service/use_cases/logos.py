"""Refuse an event whose logo cannot be printed."""

import asyncio
from pathlib import Path

from ticket_service.adapters.logos import logo_fault
from ticket_service.domain.page_design import METADATA_KEY, logo_of
from ticketing.chassis.failures import FieldViolation, invalid_fields


async def check_logo(logos: Path | None, metadata: object) -> None:
    """Raise INVALID_ARGUMENT if the metadata of an event name a logo that is not a usable file in the folder."""
    logo = logo_of(metadata)
    # A picture is decoded the first time.
    if logo and (fault := await asyncio.to_thread(logo_fault, logos, logo)) is not None:
        raise invalid_fields([FieldViolation(f"event.metadata.{METADATA_KEY}.logo", fault)])
