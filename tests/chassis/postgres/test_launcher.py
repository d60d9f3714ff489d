import os
import pwd
import shutil
import signal
import stat

import pytest

from ticketing.chassis.postgres import launcher
from ticketing.chassis.postgres.errors import EmbeddedPostgresError

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
WITHOUT_UNSHARE = {"PATH": "/nonexistent"}


@as_root
def test_without_namespaces_the_server_runs_as_nobody(open_site):
    open_site.environment |= WITHOUT_UNSHARE
    process = open_site.start_process()
    assert open_site.query(process.url(), "SELECT 1") == [(1,)]
    layout = open_site.layout
    assert layout.data.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o710
    inside = [layout.cluster, *layout.cluster.rglob("*"), *(path for path in layout.root.iterdir() if path.is_file())]
    assert [path for path in inside if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    # The server ends with its keeper although it has changed its user.
    keeper = open_site.keeper_pid()
    process.kill()
    os.kill(keeper, signal.SIGKILL)
    open_site.wait_until_idle()


@as_root
def test_a_cluster_of_nobody_keeps_its_owner(open_site):
    open_site.environment |= WITHOUT_UNSHARE
    first = open_site.start_process()
    open_site.query(first.url(), "CREATE TABLE kept ()")
    first.release()
    open_site.environment.clear()
    second = open_site.start_process()
    assert open_site.query(second.url(), "TABLE kept") == []


@as_root
def test_a_directory_closed_to_nobody_is_a_clear_error(empty_site):
    empty_site.data_dir.parent.chmod(0o700)
    empty_site.environment |= WITHOUT_UNSHARE
    message = empty_site.start_process().error()
    assert "Permission denied" in message
    assert "choose another data directory" in message


@as_root
def test_a_cluster_of_root_needs_user_namespaces(site):
    site.environment |= WITHOUT_UNSHARE
    assert "Neither a user namespace" in site.start_process().error()


@as_root
def test_programs_closed_to_nobody_are_a_clear_error(tmp_path, site, monkeypatch):
    tmp_path.chmod(0o700)
    shutil.copy("/bin/true", tmp_path / "postgres")
    shutil.rmtree(site.layout.cluster)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(EmbeddedPostgresError, match="run as an ordinary user, allow user namespaces"):
        launcher.choose_launcher(tmp_path, site.layout, lock=0)


@as_root
def test_a_forbidden_namespace_is_skipped(tmp_path, site, monkeypatch):
    refusing = tmp_path / "bin"
    refusing.mkdir()
    shutil.copy("/bin/false", refusing / "unshare")
    monkeypatch.setenv("PATH", str(refusing))
    with pytest.raises(EmbeddedPostgresError, match="Neither"):
        launcher.choose_launcher(launcher.find_programs(), site.layout, lock=0)


def test_a_directory_of_another_user_is_a_clear_error(open_site, as_nobody):
    with open_site.lease():
        pass
    open_site.command = as_nobody
    message = open_site.start_process().error()
    assert "belongs to root (uid 0), and this is nobody (uid 65534): run as root (uid 0)" in message
    assert "choose another data directory" in message


def test_a_read_only_directory_is_a_clear_error(open_site, as_nobody):
    open_site.command = as_nobody
    message = open_site.start_process().error()
    assert "cannot use the data directory" in message
    assert "choose another data directory" in message
