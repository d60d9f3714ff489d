"""The drawings of a ticket."""

from enum import StrEnum


class TicketFormat(StrEnum):
    """A drawing of a ticket, by the contract's name."""

    PNG = "PNG"
    SVG = "SVG"
    PDF = "PDF"
    ICS = "ICS"
