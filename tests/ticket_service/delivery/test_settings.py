from pathlib import Path

import pytest
from PIL import Image

from ticket_service.delivery.settings import DeliverySettings, read_delivery_settings
from ticket_service.domain.page_design import PageDesign, Paper
from ticketing.chassis.settings import Environment, SettingsError


def read(environment: Environment) -> DeliverySettings:
    return read_delivery_settings(
        environment, code_secret="", signing_key_file=Path("keys"), interval_seconds=1, drain_seconds=1
    )


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"TICKETS_NATS_URL": "http://nats"}, r"TICKETS_NATS_URL is no URL that begins with nats:// or tls://"),
        ({"TICKETS_SMTP_URL": "smtp:///"}, r"TICKETS_SMTP_URL is no URL"),
        ({"TICKETS_SMTP_URL": "smtp://mail"}, r"TICKETS_MAIL_FROM is required"),
        ({"TICKETS_MAIL_FROM": "Concert Hall"}, r"TICKETS_MAIL_FROM is no sender such as `Concert Hall <tickets@"),
        ({"TICKETS_MAIL_FROM": "jörg@example.com"}, r"TICKETS_MAIL_FROM is no sender"),
        ({"TICKETS_MAIL_LANGUAGE": "german"}, r"TICKETS_MAIL_LANGUAGE is not the tag of a language"),
        ({"TICKETS_WEBHOOK_URL": "https://shop/"}, r"TICKETS_WEBHOOK_SECRET is no signing secret"),
        (
            {"TICKETS_WEBHOOK_URL": "https://shop/", "TICKETS_WEBHOOK_SECRET": "whsec_?"},
            r"TICKETS_WEBHOOK_SECRET is no signing secret",
        ),
        ({"TICKETS_PAPER": "A5"}, r"TICKETS_PAPER is 'A5'; it can be A4, LETTER, PHONE"),
        ({"TICKETS_PAGE_COLOR": "blue"}, r"TICKETS_PAGE_COLOR is no colour such as #183050"),
        ({"TICKETS_LOGOS": "/no/such/folder"}, r"TICKETS_LOGOS is not a folder"),
        ({"TICKETS_LOGO": "hall.png"}, r"TICKETS_LOGO cannot be set: the service has no folder of logos"),
        ({"TICKETS_LOGOS": "/", "TICKETS_LOGO": "../x.png"}, r"TICKETS_LOGO is not the name of a .png or .jpg file"),
        ({"TICKETS_LOGOS": "/", "TICKETS_LOGO": "none.png"}, r"TICKETS_LOGO is not a file in the folder of logos"),
        ({"TICKETS_RELAY": "yes"}, r"TICKETS_RELAY is 'yes'; it can be built-in, off"),
    ],
)
def test_wrong_setting_is_named(variables, fault):
    environment = Environment(variables)
    read(environment)
    with pytest.raises(SettingsError, match=fault):
        environment.check()


def test_the_design_of_pages_is_read(tmp_path):
    Image.new("RGB", (30, 10)).save(tmp_path / "hall.png")
    environment = Environment(
        {
            "TICKETS_PAPER": "LETTER",
            "TICKETS_PAGE_COLOR": "#FFaa00",
            "TICKETS_LOGOS": str(tmp_path),
            "TICKETS_LOGO": "hall.png",
        }
    )
    assert read(environment).page == PageDesign(Paper.LETTER, "#FFaa00", "hall.png", tmp_path)
    environment.check()


def test_repr_of_the_settings_contains_no_secret():
    secret = "whsec_c2VjcmV0"
    variables = {
        "TICKETS_WEBHOOK_SECRET": secret,
        "TICKETS_SMTP_URL": "smtp://me:hush@mail",
        "TICKETS_MAIL_FROM": "a@b",
    }
    settings = read(Environment(variables))
    assert settings.webhook_secret == secret
    assert "hush" not in repr(settings)
    assert secret not in repr(settings)
