from pathlib import Path

import pytest

from ticketing.chassis.settings import Environment, SettingsError


def test_settings_have_defaults() -> None:
    environment = Environment({"BLANK": "  "})
    assert environment.text("NAME", "default") == "default"
    assert environment.text("BLANK", "default") == "default"
    assert environment.optional("BLANK") is None
    assert environment.port("PORT", 50051) == 50051
    assert environment.seconds("SECONDS", 1.5, minimum=0, maximum=10) == 1.5
    assert environment.path("DIR", "~/x") == Path.home() / "x"
    assert environment.choice("LEVEL", "INFO", ["INFO", "DEBUG"]) == "INFO"
    environment.check()


def test_settings_are_read() -> None:
    environment = Environment({"NAME": " x ", "PORT": "0", "SECONDS": "2.5", "LEVEL": "DEBUG"})
    assert environment.text("NAME") == "x"
    assert environment.optional("NAME") == "x"
    assert environment.port("PORT", 50051) == 0
    assert environment.seconds("SECONDS", 1.5, minimum=0, maximum=10) == 2.5
    assert environment.choice("LEVEL", "INFO", ["INFO", "DEBUG"]) == "DEBUG"
    environment.check()


def test_one_message_names_all_faults() -> None:
    environment = Environment(
        {"PORT": "http", "METRICS": "70000", "SECONDS": "nan", "SECRET": "short", "LEVEL": "LOUD", "N": "1.5"}
    )
    environment.text("REQUIRED")
    environment.port("PORT", 1)
    environment.port("METRICS", 1)
    environment.seconds("SECONDS", 1, minimum=0, maximum=10)
    environment.text("SECRET", min_length=32)
    environment.choice("LEVEL", "INFO", ["INFO", "DEBUG"])
    environment.number("N", 1, minimum=0, maximum=5)
    with pytest.raises(SettingsError) as caught:
        environment.check()
    assert str(caught.value).splitlines()[1:] == [
        "  REQUIRED is required and not set",
        "  PORT is 'http', not a whole number",
        "  METRICS is 70000, not within 0 and 65535",
        "  SECONDS is nan, not within 0 and 10",
        "  SECRET is shorter than 32 characters",
        "  LEVEL is 'LOUD'; it can be INFO, DEBUG",
        "  N is '1.5', not a whole number",
    ]


def test_the_message_contains_no_secret() -> None:
    environment = Environment({"SECRET": "hunter2"})
    environment.text("SECRET", min_length=32)
    with pytest.raises(SettingsError) as caught:
        environment.check()
    assert "hunter2" not in str(caught.value)
