"""The settings of the delivery: receivers, deadlines and retries. Without a receiver, the relay logs notifications."""

from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parseaddr
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ticket_service.convert.addresses import mailbox
from ticket_service.delivery.wallet_settings import read_wallets
from ticket_service.domain.languages import normalised
from ticket_service.domain.page_design import COLOR, LOGO, PageDesign, Paper
from ticket_service.domain.wallets import Wallets
from ticketing.chassis.settings import Environment

BUILT_IN: Final = "built-in"
METRICS_PORT: Final = 9466


@dataclass(frozen=True, slots=True)
class DeliveryTerms:
    """Deadlines, retries and intervals of deliveries."""

    # The deadline of one delivery.
    deadline_seconds: float
    # The wait after the first failed try; each further failure doubles the wait.
    retry_seconds: float
    # After this number of tries a notification becomes a dead letter.
    max_attempts: int
    # The pause when no delivery is due.
    interval_seconds: float
    # The time in which deliveries in progress may end when the relay stops.
    drain_seconds: float
    # The time for which a notification is kept so that it can be sent again; zero: none is kept.
    kept_for: timedelta


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """The settings of a relay; a receiver whose URL is None gets no notifications."""

    # True if the process of the ticket service runs a relay.
    is_built_in: bool
    # The port of the metrics of a relay in a process of its own.
    metrics_port: int
    terms: DeliveryTerms
    # A URL may contain a password or a token.
    nats_url: str | None = field(repr=False)
    nats_stream: str
    nats_max_parallel: int
    webhook_url: str | None = field(repr=False)
    webhook_secret: str = field(repr=False)
    webhook_max_parallel: int
    smtp_url: str | None = field(repr=False)
    mail_max_parallel: int
    # The sender of mails, such as `Concert Hall <tickets@example.com>`.
    mail_from: str
    # A normalised BCP 47 tag.
    mail_language: str
    # The mail server takes local parts that are not ASCII (RFC 6531).
    smtputf8: bool
    # A folder whose files replace the built-in files of the same name.
    mail_templates: Path | None
    # The number of tickets of a mail up to which each has files of its own.
    mail_max_separate: int
    # The number of worker processes that draw the files.
    drawing_workers: int
    # The design of pages; the service draws them too.
    page: PageDesign
    # The keys by which tickets are issued to the wallets of phones, in the service too.
    wallets: Wallets
    # Mails contain codes and tokens: the relay derives and signs them as the ticket service does.
    code_secret: str = field(repr=False)
    signing_key_file: Path


def read_delivery_settings(
    environment: Environment,
    *,
    code_secret: str,
    signing_key_file: Path,
    interval_seconds: float,
    drain_seconds: float,
) -> DeliverySettings:
    """Read the settings; `environment` collects the faults. The other arguments are settings of the ticket service."""
    webhook_url = _url(environment, "TICKETS_WEBHOOK_URL", "http", "https")
    smtp_url = _url(environment, "TICKETS_SMTP_URL", "smtp", "smtps")
    webhook_secret = environment.optional("TICKETS_WEBHOOK_SECRET") or ""
    mail_from = _sender(environment, "" if smtp_url is None else None)
    if webhook_url is not None:
        _check_secret(environment, webhook_secret)
    return DeliverySettings(
        is_built_in=environment.choice("TICKETS_RELAY", "off", (BUILT_IN, "off")) == BUILT_IN,
        metrics_port=environment.port("TICKETS_RELAY_METRICS_PORT", METRICS_PORT),
        terms=DeliveryTerms(
            deadline_seconds=environment.seconds("TICKETS_DELIVERY_SECONDS", 10, minimum=0.1, maximum=300),
            retry_seconds=environment.seconds("TICKETS_DELIVERY_RETRY_SECONDS", 1, minimum=0.01, maximum=300),
            max_attempts=environment.number("TICKETS_DELIVERY_ATTEMPTS", 100, minimum=1, maximum=100_000),
            interval_seconds=interval_seconds,
            drain_seconds=drain_seconds,
            kept_for=timedelta(days=environment.number("TICKETS_REPLAY_DAYS", 7, minimum=0, maximum=365)),
        ),
        nats_url=_url(environment, "TICKETS_NATS_URL", "nats", "tls"),
        nats_stream=environment.text("TICKETS_NATS_STREAM", "ticketing"),
        nats_max_parallel=_max_parallel(environment, "TICKETS_NATS_MAX_PARALLEL", 64),
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        webhook_max_parallel=_max_parallel(environment, "TICKETS_WEBHOOK_MAX_PARALLEL", 16),
        smtp_url=smtp_url,
        mail_max_parallel=_max_parallel(environment, "TICKETS_MAIL_MAX_PARALLEL", 4),
        mail_from=mail_from,
        mail_language=_language(environment),
        smtputf8=environment.flag("TICKETS_UNICODE_ADDRESSES"),
        mail_templates=environment.optional_path("TICKETS_MAIL_TEMPLATES"),
        mail_max_separate=environment.number("TICKETS_MAIL_MAX_SEPARATE_TICKETS", 10, minimum=0, maximum=100),
        drawing_workers=environment.number("TICKETS_DRAWING_WORKERS", 1, minimum=1, maximum=64),
        page=_page_design(environment),
        wallets=read_wallets(environment, mail_from, code_secret),
        code_secret=code_secret,
        signing_key_file=signing_key_file,
    )


def _max_parallel(environment: Environment, name: str, default: int) -> int:
    return environment.number(name, default, minimum=1, maximum=256)


def _page_design(environment: Environment) -> PageDesign:
    default = PageDesign()
    color = environment.text("TICKETS_PAGE_COLOR", default.color)
    if not COLOR.fullmatch(color):
        environment.fault("TICKETS_PAGE_COLOR", "is no colour such as #183050")
    logos, logo = environment.optional_path("TICKETS_LOGOS"), environment.optional("TICKETS_LOGO") or ""
    if logos is not None and not logos.is_dir():
        environment.fault("TICKETS_LOGOS", "is not a folder")
    elif logo and not LOGO.fullmatch(logo):
        environment.fault("TICKETS_LOGO", "is not the name of a .png or .jpg file")
    elif logo:
        # Imported late, so that a process without a logo does not load the imaging library.
        from ticket_service.adapters.logos import logo_fault  # noqa: PLC0415

        if (fault := logo_fault(logos, logo)) is not None:
            environment.fault("TICKETS_LOGO", fault)
    return PageDesign(Paper(environment.choice("TICKETS_PAPER", default.paper, tuple(Paper))), color, logo, logos)


def _url(environment: Environment, name: str, *schemes: str) -> str | None:
    url = environment.optional(name)
    if url is not None and (urlsplit(url).scheme not in schemes or not urlsplit(url).hostname):
        environment.fault(name, f"is no URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def _sender(environment: Environment, default: str | None) -> str:
    """Read the sender of mails, with the domain in A-labels."""
    sender = environment.text("TICKETS_MAIL_FROM", default)
    named = parseaddr(sender)[1]
    address = mailbox(named)
    # With another local part, every mail would need SMTPUTF8.
    if sender and (address is None or not address.isascii()):
        environment.fault("TICKETS_MAIL_FROM", "is no sender such as `Concert Hall <tickets@example.com>`")
    return sender.replace(named, address) if named and address else sender


def _language(environment: Environment) -> str:
    tag = environment.text("TICKETS_MAIL_LANGUAGE", "en")
    found = normalised(tag)
    if found is None:
        environment.fault("TICKETS_MAIL_LANGUAGE", "is not the tag of a language (BCP 47), such as de or pt-BR")
    return found or tag


def _check_secret(environment: Environment, secret: str) -> None:
    # Imported late, so that a process without a webhook does not load httpx.
    from ticket_service.delivery.webhook import signing_key  # noqa: PLC0415

    try:
        signing_key(secret)
    except ValueError as error:
        environment.fault("TICKETS_WEBHOOK_SECRET", f"is no signing secret: it {error}")
