"""Who is told of what happens, and how patiently; nobody set: a line in the log."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ticketing.chassis.settings import Environment

# In the service's own process.
BUILT_IN: Final = "built-in"


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """The settings of notifications; a receiver whose URL is None is not told."""

    # Whether this service delivers too, or leaves it to `python -m ticket_service relay`.
    relay: str
    nats_url: str | None
    nats_stream: str
    webhook_url: str | None
    webhook_secret: str = field(repr=False)
    # With its password.
    smtp_url: str | None = field(repr=False)
    # Who mails are from, as it stands in a list of mails.
    mail_from: str
    mail_language: str
    # Its files replace ours of the same name.
    mail_templates: Path | None
    # Of one delivery.
    deadline_seconds: float
    # The first wait before another try.
    retry_seconds: float
    # Tries before a notification is given up.
    attempts: int


def read_notification_settings(environment: Environment) -> NotificationSettings:
    """Read them; what is wrong is collected in `environment`."""
    webhook_url = _url(environment, "TICKETS_WEBHOOK_URL", "http", "https")
    smtp_url = _url(environment, "TICKETS_SMTP_URL", "smtp", "smtps")
    webhook_secret = environment.optional("TICKETS_WEBHOOK_SECRET") or ""
    if webhook_url is not None:
        _check_secret(environment, webhook_secret)
    mail_from = environment.text("TICKETS_MAIL_FROM", "" if smtp_url is None else None)
    templates = environment.optional("TICKETS_MAIL_TEMPLATES")
    return NotificationSettings(
        relay=environment.choice("TICKETS_RELAY", BUILT_IN, (BUILT_IN, "off")),
        nats_url=_url(environment, "TICKETS_NATS_URL", "nats", "tls"),
        nats_stream=environment.text("TICKETS_NATS_STREAM", "ticketing"),
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        smtp_url=smtp_url,
        mail_from=mail_from,
        mail_language=environment.text("TICKETS_MAIL_LANGUAGE", "en"),
        mail_templates=None if templates is None else Path(templates).expanduser(),
        deadline_seconds=environment.seconds("TICKETS_DELIVERY_SECONDS", 10, minimum=0.1, maximum=300),
        retry_seconds=environment.seconds("TICKETS_DELIVERY_RETRY_SECONDS", 1, minimum=0.01, maximum=300),
        attempts=environment.number("TICKETS_DELIVERY_ATTEMPTS", 100, minimum=1, maximum=100_000),
    )


def _url(environment: Environment, name: str, *schemes: str) -> str | None:
    url = environment.optional(name)
    if url is not None and (urlsplit(url).scheme not in schemes or not urlsplit(url).hostname):
        environment.fault(name, f"is no URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def _check_secret(environment: Environment, secret: str) -> None:
    # Imported only where there is one.
    from ticket_service.delivery.webhook import signing_key  # noqa: PLC0415

    try:
        signing_key(secret)
    except ValueError as error:
        environment.fault("TICKETS_WEBHOOK_SECRET", f"is no signing secret: it {error}")
