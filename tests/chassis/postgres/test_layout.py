import os

import pytest

from ticketing.chassis.postgres import EmbeddedPostgresError
from ticketing.chassis.postgres.layout import Layout, prepare


def test_the_recorded_port_is_read_back_and_no_port_is_none(tmp_path):
    layout = Layout(tmp_path)
    assert layout.read_port() is None
    layout.record_port(15_432)
    layout.record_port(15_433)
    assert layout.read_port() == 15_433
    assert [path.name for path in tmp_path.iterdir()] == ["port"]


def test_an_owner_without_a_name_is_named_by_number(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can change the owner of a directory")
    layout = Layout(tmp_path / "postgres")
    prepare(layout)
    os.chown(layout.root, 4_123_456, -1)
    with pytest.raises(EmbeddedPostgresError, match="belongs to uid 4123456, and this is root"):
        prepare(layout)
