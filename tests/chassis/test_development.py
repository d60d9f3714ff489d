"""The key and the tokens of a first try."""

import logging
from pathlib import Path

import jwt
import pytest

from ticketing.chassis.clock import system_clock
from ticketing.chassis.development import main
from ticketing.chassis.jwks import JwksFile, KeySet, parse_key_set


def test_tokens_of_a_first_try_verify_by_the_key_set_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "keys"
    assert [main([str(folder), role, "alice"]) for role in ("organizer", "user")] == [0, 0]
    [key] = parse_key_set((folder / "jwks.json").read_bytes()).values()
    first, second = capsys.readouterr().out.split()
    for token, role in ((first, "organizer"), (second, "user")):
        claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="ticketing", issuer="ticketing")
        assert (claims["sub"], claims["roles"]) == ("alice", [role])
    assert (folder / "development.pem").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_used_gives_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file"), "user", "bob"]) == 1
    assert capsys.readouterr().err.startswith("development: ")


async def test_a_service_warns_of_the_key_of_a_first_try(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(tmp_path), "user", "bob"]) == 0
    with caplog.at_level(logging.WARNING):
        await KeySet(JwksFile(tmp_path / "jwks.json").read, system_clock).sweep()
    assert [record.getMessage() for record in caplog.records] == [
        "a development key is accepted: whoever has it may act as anybody"
    ]
