"""Draw a ticket as a pass of Apple Wallet: a zip with its fields, texts and pictures, signed by the operator.

The format is Apple's "Wallet Passes": pass.json, the texts of each language in `<language>.lproj/pass.strings`, a
manifest with the SHA-1 digest of every file, and a detached PKCS #7 signature of the manifest. A pass of a cancelled
ticket is void and has no code. A reissued ticket keeps the serial number, so its new pass replaces the old one; after a
transfer the ticket has another one, because the previous holder's phone must never receive the new code.
"""

import hashlib
import hmac
import io
import json
import zipfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from ticket_service.adapters.formats import Formats
from ticket_service.adapters.pass_pictures import pass_pictures
from ticket_service.adapters.words import LANGUAGES, Words, words_of
from ticket_service.domain.calendar_entries import is_valid
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.page_design import PageDesign, design_of, ink_on
from ticket_service.domain.tickets import SoldTicket, ticket_hours
from ticket_service.domain.wallets import ApplePasses
from ticket_service.domain.zones import zone_of

# The names of folders of languages, where they differ from the tag.
_FOLDERS: Final = {"zh": "zh-Hans"}
# Equal tickets give equal archives, apart from the signature; the year is the first of the format.
_TIME_OF_FILES: Final = (1980, 1, 1, 0, 0, 0)
_MAX_RELEVANCE: Final = timedelta(days=1)
_LATITUDE: Final = 90.0
_LONGITUDE: Final = 180.0


def pkpass(drawing: Drawing, passes: ApplePasses) -> bytes:
    """Draw the pass of one ticket."""
    [ticket] = drawing.tickets
    design = design_of(ticket.sold.event.metadata, drawing.design)
    words = words_of(drawing.language)
    files = {
        "pass.json": _json(pass_of(ticket, words, design, passes)),
        **{
            f"{_folder(language)}.lproj/pass.strings": _strings(ticket.sold, words, words_of(language))
            for language in LANGUAGES
        },
        **pass_pictures(design),
    }
    manifest = _json(
        {name: hashlib.sha1(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in {**files, "manifest.json": manifest, "signature": _signature(manifest, passes)}.items():
            written.writestr(zipfile.ZipInfo(name, _TIME_OF_FILES), content, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def pass_of(ticket: PrintedTicket, words: Words, design: PageDesign, passes: ApplePasses) -> dict[str, Any]:
    """Return the content of pass.json, whose texts are those of `words`."""
    sold, event = ticket.sold, ticket.sold.event
    starts, ends = ticket_hours(sold)
    doors = event.doors_open_time
    opens = doors if doors is not None and starts == event.start_time else starts
    serial = serial_number(sold)
    fields: dict[str, Any] = {
        "formatVersion": 1,
        "passTypeIdentifier": passes.pass_type_id,
        "teamIdentifier": passes.team_id,
        "organizationName": passes.organization,
        "serialNumber": serial,
        "groupingIdentifier": str(event.event_id),
        "description": event.name,
        "logoText": passes.organization,
        "backgroundColor": _rgb(design.color),
        "foregroundColor": _rgb(ink_on(design.color)),
        "labelColor": _rgb(ink_on(design.color)),
        # Phones before iOS 18 read the first one, later phones the second one.
        "relevantDate": _local(opens, sold),
        "relevantDates": [_relevance(opens, ends, sold)],
        "expirationDate": _local(max(sold.valid_until, ends), sold),
        "voided": not is_valid(sold),
        "eventTicket": _fields(ticket, words),
    }
    if is_valid(sold):
        fields["barcodes"] = [
            {
                "format": "PKBarcodeFormatQR",
                "message": ticket.secrets.token,
                "messageEncoding": "iso-8859-1",
                "altText": ticket.secrets.code,
            }
        ]
    if (place := _place(event.metadata)) is not None:
        fields["locations"] = [place]
    if passes.web_service_url:
        fields["webServiceURL"] = passes.web_service_url
        fields["authenticationToken"] = authentication_token(serial, passes)
    return fields


def serial_number(sold: SoldTicket) -> str:
    """Return the number of the pass of a ticket and its holder."""
    holder = hashlib.sha256(f"{sold.ticket.ticket_id}\0{sold.ticket.user_id}".encode()).hexdigest()[:12]
    return f"{sold.ticket.ticket_id}.{holder}"


def authentication_token(serial: str, passes: ApplePasses) -> str:
    """Derive the token by which a phone asks the web service for a pass."""
    return hmac.digest(passes.token_secret, serial.encode(), hashlib.sha256).hex()


def _relevance(opens: datetime, ends: datetime, sold: SoldTicket) -> dict[str, str]:
    """Return the time for which a phone shows the pass on its lock screen; a period has at most a day."""
    if ends - opens > _MAX_RELEVANCE:
        return {"date": _local(opens, sold)}
    return {"startDate": _local(opens, sold), "endDate": _local(ends, sold)}


def _fields(ticket: PrintedTicket, words: Words) -> dict[str, list[dict[str, str]]]:
    sold = ticket.sold
    labels = words.labels
    where = _where(sold, words)
    return {
        "primaryFields": [{"key": "event", "label": labels["event"], "value": sold.event.name}],
        "secondaryFields": [{"key": "when", "label": labels["when"], "value": _when(sold, words.formats)}],
        "auxiliaryFields": [
            *([{"key": "where", "label": labels["where"], "value": where}] if where else []),
            {"key": "type", "label": labels["ticket"], "value": words.ticket_types[sold.ticket.ticket_type]},
        ],
        "backFields": [
            *([{"key": "code", "label": labels["code"], "value": ticket.secrets.code}] if is_valid(sold) else []),
            {"key": "order", "label": labels["order"], "value": str(sold.ticket.purchase_id)},
        ],
    }


def _strings(sold: SoldTicket, words: Words, others: Words) -> bytes:
    """Write the texts of a pass in another language, each after its text in the language of the pass."""
    pairs = {words.labels[name]: others.labels[name] for name in ("event", "when", "where", "ticket", "code", "order")}
    ticket_type = sold.ticket.ticket_type
    pairs[words.ticket_types[ticket_type]] = others.ticket_types[ticket_type]
    pairs[_when(sold, words.formats)] = _when(sold, others.formats)
    if sold.event.is_online and not sold.event.location:
        pairs[words.labels["online"]] = others.labels["online"]
    # An event named "Ticket" keeps its name.
    pairs |= {text: text for text in (sold.event.name, sold.event.location) if text}
    return "".join([f"{_quoted(text)} = {_quoted(other)};\n" for text, other in pairs.items()]).encode()


def _when(sold: SoldTicket, formats: Formats) -> str:
    return formats.period(*ticket_hours(sold), sold.event.time_zone)


def _where(sold: SoldTicket, words: Words) -> str:
    return sold.event.location or (words.labels["online"] if sold.event.is_online else "")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _local(time: datetime, sold: SoldTicket) -> str:
    return time.astimezone(zone_of(sold.event.time_zone, time)).isoformat(timespec="seconds")


def _place(metadata: Mapping[str, object]) -> dict[str, float] | None:
    """Return the place that the metadata of an event name in degrees, or None."""
    latitude, longitude = metadata.get("latitude"), metadata.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    is_on_earth = abs(latitude) <= _LATITUDE and abs(longitude) <= _LONGITUDE
    return {"latitude": float(latitude), "longitude": float(longitude)} if is_on_earth else None


def _rgb(color: str) -> str:
    return f"rgb({int(color[1:3], 16)}, {int(color[3:5], 16)}, {int(color[5:7], 16)})"


def _folder(language: str) -> str:
    return _FOLDERS.get(language, language)


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _signature(manifest: bytes, passes: ApplePasses) -> bytes:
    certificate, authority, key = _loaded(passes.certificate, passes.authority, passes.key)
    builder = PKCS7SignatureBuilder().set_data(manifest).add_signer(certificate, key, SHA256())
    options = [PKCS7Options.DetachedSignature, PKCS7Options.Binary]
    return builder.add_certificate(authority).sign(Encoding.DER, options)


@lru_cache(maxsize=2)
def _loaded(
    certificate: bytes, authority: bytes, key: bytes
) -> tuple[x509.Certificate, x509.Certificate, RSAPrivateKey]:
    # Loading a key checks it, which takes longer than a signature.
    private: Any = load_pem_private_key(key, None)
    return x509.load_pem_x509_certificate(certificate), x509.load_pem_x509_certificate(authority), private
