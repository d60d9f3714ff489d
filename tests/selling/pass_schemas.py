"""The published formats of wallet passes, in our own words, as far as an event ticket uses them.

Apple: "Wallet Passes" of the developer documentation. Google: the discovery document `walletobjects` v1. A key that a
format does not have is refused.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, HttpUrl, StringConstraints


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_Text = Annotated[str, StringConstraints(min_length=1)]
_Color = Annotated[str, StringConstraints(pattern=r"^rgb\((\d{1,3}), (\d{1,3}), (\d{1,3})\)$")]


class _Written(_Strict):
    model_config = ConfigDict(extra="forbid", strict=False)


class PassField(_Strict):
    """A field of a pass; keys are unique within a pass."""

    key: _Text
    label: str
    value: str | int | float


class PassFields(_Strict):
    """The fields of an event ticket; more than these are not shown."""

    headerFields: Annotated[list[PassField], Field(max_length=3)] = []  # noqa: N815 - Apple's name, here and below
    primaryFields: Annotated[list[PassField], Field(max_length=1)]  # noqa: N815
    secondaryFields: Annotated[list[PassField], Field(max_length=4)]  # noqa: N815
    auxiliaryFields: Annotated[list[PassField], Field(max_length=4)]  # noqa: N815
    backFields: list[PassField]  # noqa: N815


class PassBarcode(_Strict):
    """A barcode."""

    format: Literal["PKBarcodeFormatQR", "PKBarcodeFormatPDF417", "PKBarcodeFormatAztec", "PKBarcodeFormatCode128"]
    message: _Text
    messageEncoding: Literal["iso-8859-1", "utf-8"]  # noqa: N815
    altText: str = ""  # noqa: N815


class RelevantDate(_Written):
    """A time, or a period of at most a day."""

    date: AwareDatetime | None = None
    startDate: AwareDatetime | None = None  # noqa: N815
    endDate: AwareDatetime | None = None  # noqa: N815


class Location(_Strict):
    """A place on earth."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]


class Pass(_Written):
    """The content of pass.json."""

    formatVersion: Literal[1]  # noqa: N815
    passTypeIdentifier: Annotated[str, StringConstraints(pattern=r"^pass\.")]  # noqa: N815
    teamIdentifier: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{10}$")]  # noqa: N815
    organizationName: _Text  # noqa: N815
    serialNumber: _Text  # noqa: N815
    description: _Text
    groupingIdentifier: _Text  # noqa: N815
    logoText: str  # noqa: N815
    backgroundColor: _Color  # noqa: N815
    foregroundColor: _Color  # noqa: N815
    labelColor: _Color  # noqa: N815
    relevantDate: AwareDatetime  # noqa: N815
    relevantDates: list[RelevantDate]  # noqa: N815
    expirationDate: AwareDatetime  # noqa: N815
    voided: bool
    eventTicket: PassFields  # noqa: N815
    barcodes: list[PassBarcode] = []
    locations: Annotated[list[Location], Field(max_length=10)] = []
    webServiceURL: HttpUrl | None = None  # noqa: N815
    authenticationToken: Annotated[str, StringConstraints(min_length=16)] | None = None  # noqa: N815


class TranslatedString(_Strict):
    """A text and the BCP 47 tag of its language."""

    language: _Text
    value: _Text


class LocalizedString(_Strict):
    """A text in several languages."""

    defaultValue: TranslatedString  # noqa: N815 - Google's name, here and below
    translatedValues: list[TranslatedString] = []  # noqa: N815


class Venue(_Strict):
    """A place; both fields are required."""

    name: LocalizedString
    address: LocalizedString


class EventDateTime(_Written):
    """The hours of an event."""

    start: datetime
    end: datetime
    doorsOpen: datetime | None = None  # noqa: N815


_Id = Annotated[str, StringConstraints(pattern=r"^\d+\.[A-Za-z0-9._-]+$")]


class TicketClass(_Strict):
    """An eventTicketClass."""

    id: _Id
    issuerName: _Text  # noqa: N815
    reviewStatus: Literal["UNDER_REVIEW", "DRAFT"]  # noqa: N815
    eventName: LocalizedString  # noqa: N815
    dateTime: EventDateTime  # noqa: N815
    venue: Venue | None = None
    hexBackgroundColor: Annotated[str, StringConstraints(pattern=r"^#[0-9a-f]{6}$")] | None = None  # noqa: N815


class GoogleBarcode(_Strict):
    """A barcode."""

    type: Literal["QR_CODE"]
    value: _Text
    alternateText: str = ""  # noqa: N815


class _DateTime(_Written):
    date: datetime


class TimeInterval(_Strict):
    """The time in which an object is active."""

    start: _DateTime | None = None
    end: _DateTime | None = None


class ReservationInfo(_Strict):
    """The order of a ticket."""

    confirmationCode: _Text  # noqa: N815


class TicketObject(_Strict):
    """An eventTicketObject."""

    id: _Id
    classId: _Id  # noqa: N815
    state: Literal["ACTIVE", "COMPLETED", "EXPIRED", "INACTIVE"]
    ticketType: LocalizedString  # noqa: N815
    barcode: GoogleBarcode | None = None
    reservationInfo: ReservationInfo | None = None  # noqa: N815
    validTimeInterval: TimeInterval | None = None  # noqa: N815


class SavePayload(_Strict):
    """The passes of a link."""

    eventTicketClasses: list[TicketClass]  # noqa: N815
    eventTicketObjects: list[TicketObject]  # noqa: N815


class SaveClaims(_Strict):
    """The claims of a "save to wallet" JWT."""

    iss: _Text
    aud: Literal["google"]
    typ: Literal["savetowallet"]
    iat: int
    origins: list[str]
    payload: SavePayload
