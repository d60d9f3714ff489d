"""The settings of wallets. Files of keys are read once, at the start; a fault of a file is one of its setting."""

import hashlib
import hmac
from email.utils import parseaddr
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ticket_service.domain.wallets import ApplePasses, GooglePasses, Wallets
from ticketing.chassis.settings import Environment

ORGANIZATION: Final = "TICKETS_WALLET_ORGANIZATION"
# A link to Google Wallet has few characters left for the name.
MAX_NAME_BYTES: Final = 60
CERTIFICATE: Final = "TICKETS_APPLE_WALLET_CERTIFICATE"
KEY: Final = "TICKETS_APPLE_WALLET_KEY"
AUTHORITY: Final = "TICKETS_APPLE_WALLET_WWDR"
WEB_SERVICE: Final = "TICKETS_APPLE_WALLET_WEB_SERVICE_URL"
LINK: Final = "TICKETS_APPLE_WALLET_LINK"
ISSUER: Final = "TICKETS_GOOGLE_WALLET_ISSUER_ID"
ACCOUNT: Final = "TICKETS_GOOGLE_WALLET_ACCOUNT"


def read_wallets(environment: Environment, mail_from: str, code_secret: str) -> Wallets:
    """Read the wallets of the operator; `environment` collects the faults.

    Args:
        environment: the settings.
        mail_from: the sender of mails, whose name is the default issuer.
        code_secret: the secret from which the tokens of passes are derived, by way of another one.
    """
    name = environment.text(ORGANIZATION, parseaddr(mail_from)[0] or "Tickets")
    wallets = Wallets(_read_apple(environment, name, code_secret), _read_google(environment, name))
    if wallets.google is not None and len(name.encode()) > MAX_NAME_BYTES:
        environment.fault(ORGANIZATION, f"({name}) has more than {MAX_NAME_BYTES} bytes in UTF-8")
    return wallets


def _read_apple(environment: Environment, organization: str, code_secret: str) -> ApplePasses | None:
    password = environment.optional("TICKETS_APPLE_WALLET_KEY_PASSWORD") or ""
    url = environment.optional(WEB_SERVICE) or ""
    if url and (urlsplit(url).scheme != "https" or not urlsplit(url).hostname):
        environment.fault(WEB_SERVICE, "is no URL that begins with https://")
    link = environment.optional(LINK) or ""
    if link and (not link.startswith("https://") or "{ticket_id}" not in link):
        environment.fault(LINK, "is no URL that begins with https:// and contains {ticket_id}")
    given = _all_or_none(environment, CERTIFICATE, KEY, AUTHORITY)
    if given is None:
        return None
    # Imported late, so that a process without wallets does not load the library of certificates.
    from ticket_service.adapters import wallet_keys as files  # noqa: PLC0415

    paths = {name: Path(text).expanduser() for name, text in given.items()}
    setting = KEY
    try:
        key = files.read_private_key(paths[KEY], password)
        setting = AUTHORITY
        authority = files.read_certificate(paths[AUTHORITY])
        setting = CERTIFICATE
        certificate = files.read_certificate(paths[CERTIFICATE])
        pass_type_id, team_id = files.named_in(certificate)
        files.check_pair(certificate, authority, key)
    except files.WalletKeyError as error:
        environment.fault(setting, f"({paths[setting]}) {error}")
        return None
    expire_time = min(certificate.not_valid_after_utc, authority.not_valid_after_utc)
    return ApplePasses(
        pass_type_id=pass_type_id,
        team_id=team_id,
        organization=organization,
        certificate=files.pem(certificate),
        authority=files.pem(authority),
        key=key,
        expire_time=expire_time,
        web_service_url=url,
        link=link,
        token_secret=hmac.digest(code_secret.encode(), b"ticketing apple wallet\0", hashlib.sha256),
    )


def _read_google(environment: Environment, issuer_name: str) -> GooglePasses | None:
    given = _all_or_none(environment, ISSUER, ACCOUNT)
    if given is None:
        return None
    if not given[ISSUER].isdecimal():
        environment.fault(ISSUER, "is not a number")
    from ticket_service.adapters import wallet_keys as files  # noqa: PLC0415 - as above

    try:
        email, key = files.read_service_account(Path(given[ACCOUNT]).expanduser())
    except files.WalletKeyError as error:
        environment.fault(ACCOUNT, f"({given[ACCOUNT]}) {error}")
        return None
    return GooglePasses(given[ISSUER], issuer_name, email, key)


def _all_or_none(environment: Environment, *names: str) -> dict[str, str] | None:
    """Read settings of which all or none must be set."""
    given = {name: value for name in names if (value := environment.optional(name)) is not None}
    if given:
        for name in names:
            if name not in given:
                environment.fault(name, f"is required with {next(iter(given))}")
    return given if len(given) == len(names) else None
