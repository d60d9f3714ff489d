from datetime import timedelta

import pytest

from tests.selling.rows import CHANGE_RULES
from ticketing.chassis.settings import SettingsError


def test_unset_settings_have_defaults(make_settings, tmp_path):
    settings = make_settings(TICKETS_SCANS_ADDRESS="")
    assert settings.scans_address == "127.0.0.1:50052"
    assert settings.signing_key_file == tmp_path / "keys" / "signing.json"
    assert timedelta(seconds=settings.sweep_seconds) == timedelta(seconds=1)
    assert settings.max_per_purchase == 20
    assert settings.changes == CHANGE_RULES


def test_all_wrong_settings_are_named_in_one_message(make_settings):
    wrong = {
        "TICKETING_CODE_SECRET": "short",
        "TICKETS_SWEEP_SECONDS": "nan",
        "TICKETS_MAX_PER_PURCHASE": "0",
        "TICKETS_PORT": "http",
    }
    with pytest.raises(SettingsError) as caught:
        make_settings(**wrong)
    assert all(name in str(caught.value) for name in wrong)
