"""Show passes of Apple Wallet as a phone does, from the files of the passes, with keys that nobody signed but we."""

import base64
import html
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

STYLE: Final = """
.pass {width:330px;min-height:430px;border-radius:12px;padding:16px;font:15px/1.3 sans-serif;box-sizing:border-box}
.pass header {display:flex;align-items:center;gap:8px;font-size:17px;margin-bottom:18px}
.pass header img {max-height:36px;border-radius:4px}
.pass small {display:block;font-size:11px;opacity:.85;text-transform:uppercase}
.pass .primary {font-size:23px;margin-bottom:14px}
.pass .row {display:flex;gap:18px;margin-bottom:14px}
.pass .code {background:#fff;color:#000;width:190px;margin:20px auto 0;padding:4px 0;border-radius:6px;text-align:center}
.pass .code img {width:170px;display:block;margin:auto}
"""


def write_keys(folder: Path) -> dict[str, str]:
    """Write a key and certificates as Apple names them; return the settings that name the files."""
    now = datetime.now(UTC)
    authority_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Gallery authority")])
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.USER_ID, "pass.com.example.gallery"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Gallery"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "ABCDE12345"),
        ]
    )
    for name, its_subject, its_key in (("authority", issuer, authority_key), ("pass", subject, key)):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(its_subject)
            .issuer_name(issuer)
            .public_key(its_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(authority_key, hashes.SHA256())
        )
        (folder / f"{name}.cer").write_bytes(certificate.public_bytes(Encoding.DER))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "pass.key").write_bytes(private)
    return {
        "TICKETS_APPLE_WALLET_CERTIFICATE": str(folder / "pass.cer"),
        "TICKETS_APPLE_WALLET_KEY": str(folder / "pass.key"),
        "TICKETS_APPLE_WALLET_WWDR": str(folder / "authority.cer"),
    }


def pass_as_html(content: bytes, code_picture: bytes) -> str:
    """Return a pass as a phone lays it out; `code_picture` is the PNG of its QR code."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        fields: dict[str, Any] = json.loads(archive.read("pass.json"))
        logo = next((name for name in ("logo@3x.png", "icon@3x.png") if name in archive.namelist()), "")
        picture = archive.read(logo)
    shown = fields["eventTicket"]
    [primary] = shown["primaryFields"]
    rows = "".join(
        f'<div class="row">{"".join(_field(one) for one in shown.get(row, []))}</div>'
        for row in ("headerFields", "secondaryFields", "auxiliaryFields")
    )
    colors = f"background:{fields['backgroundColor']};color:{fields['foregroundColor']}"
    alternative = html.escape(fields["barcodes"][0]["altText"])
    return (
        f'<div class="pass" style="{colors}"><header><img src="{_url(picture)}">{html.escape(fields["logoText"])}</header>'
        f'<div class="primary" dir="auto">{html.escape(primary["value"])}</div>{rows}'
        f'<div class="code"><img src="{_url(code_picture)}"><span>{alternative}</span></div></div>'
    )


def _field(field: dict[str, str]) -> str:
    return (
        f'<div dir="auto"><small>{html.escape(field.get("label", ""))}</small>{html.escape(str(field["value"]))}</div>'
    )


def _url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
