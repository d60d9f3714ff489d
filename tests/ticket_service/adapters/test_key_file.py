import json
import multiprocessing
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from ticket_service.adapters.key_file import private_keys
from ticketing.chassis.settings import SettingsError


def seeds(path: Path) -> list[bytes]:
    return [bytes(key) for key in private_keys(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "signing.json"


def test_first_start_creates_a_key_that_only_the_owner_can_read(path):
    made = seeds(path)
    assert len(made) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_next_start_reads_the_same_key(path):
    assert seeds(path) == seeds(path)


@pytest.mark.slow
def test_processes_that_start_together_share_one_key(path):
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=spawned) as processes:
        assert len({key for keys in processes.map(seeds, [path] * 8) for key in keys}) == 1


def test_file_of_a_process_that_died_while_writing_is_replaced(path):
    path.parent.mkdir()
    path.with_name("signing.json.new").write_text('{"see')
    assert len(seeds(path)) == 1
    assert not path.with_name("signing.json.new").exists()


def test_second_seed_is_a_second_key(path):
    first = seeds(path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({"seeds": [*document["seeds"], "A" * 43 + "="]}))
    assert seeds(path) == [*first, bytes(32)]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"seeds": []}',
        '{"seeds": "abc"}',
        '{"seeds": [7]}',
        '{"seeds": ["AAAA"]}',
        '{"seeds": ["not base64!"]}',
        b"\xff\xfe",
    ],
)
def test_start_fails_on_a_key_file_with_wrong_content(path, content):
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=r"signing\.json"):
        private_keys(path)
    # The file is never replaced: it may contain the key of sold tickets.
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())


def test_start_fails_on_an_unusable_key_file_path(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"file/signing\.json cannot be used"):
        private_keys(tmp_path / "file" / "signing.json")
