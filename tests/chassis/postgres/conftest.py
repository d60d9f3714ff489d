import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ticketing.chassis
from tests.chassis.postgres.site import Site
from ticketing.chassis.postgres.binaries import Binaries
from ticketing.chassis.postgres.launcher import Identity, Launcher

NOBODY = 65534


@pytest.fixture
def site(empty_site: Site, made_cluster: Path) -> Site:
    """Return a data directory with a cluster in it, which saves the time of initdb."""
    empty_site.layout.root.mkdir(mode=0o700, parents=True)
    shutil.copytree(made_cluster, empty_site.layout.cluster)
    return empty_site


@pytest.fixture
def empty_site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "data")
    with site.stack:
        yield site
    site.wait_until_idle()


@pytest.fixture(scope="session")
def made_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Site(tmp_path_factory.mktemp("made"))
    with made.lease():
        pass
    made.wait_until_idle()
    return made.layout.cluster


@pytest.fixture
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a data directory that every user may reach; those of pytest are for root alone."""
    base = Path("/tmp") / f"{tmp_path_factory.getbasetemp().name}-{os.urandom(8).hex()}"  # noqa: S108  random enough
    base.mkdir()
    base.chmod(0o711)
    site = Site(base / "data")
    site.data_dir.mkdir()
    site.data_dir.chmod(0o711)
    with site.stack:
        yield site
    site.wait_until_idle()
    shutil.rmtree(site.data_dir)
    for folder in [*base.iterdir(), base]:
        folder.rmdir()  # Not rmtree: nothing may ever be deleted through a mount.


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], Launcher]]:
    """Return a launcher of a shell script in the place of PostgreSQL's programs."""
    with (tmp_path / "lock").open("w") as lock:

        def write(text: str) -> Launcher:
            script = tmp_path / "initdb-or-postgres"
            script.write_text(f"#!/bin/sh\n{text}\n")
            script.chmod(0o700)
            return Launcher(Binaries(initdb=script, postgres=script), Identity(), lock.fileno())

        yield write


# Root's Python may lie where nobody else can reach it; a mount that nobody but the test sees brings it within reach.
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
MOUNTED = ("unshare", "--mount", "--propagation=private", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"')


@pytest.fixture
def as_nobody(open_site: Site) -> tuple[str | Path, ...]:
    """Return the command that runs Python as the user nobody, with the project within its reach."""
    if os.geteuid() != 0:
        pytest.skip("only root can act for another user")
    reach = open_site.data_dir.with_name("python")
    reach.mkdir()
    path = os.pathsep.join(["PYTHONPATH=" + str(Path(ticketing.chassis.__file__).parents[1]), *filter(None, sys.path)])
    # Another user cannot write the figures of coverage where ours are.
    python = ("env", "-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START", path)
    near = (*AS_NOBODY, *python, sys.executable)
    moved = (*MOUNTED, sys.base_prefix, reach, *AS_NOBODY, *python, reach / "bin" / Path(sys.executable).resolve().name)
    for command in (near, moved):
        if not subprocess.run(
            [*command, "-c", "import ticketing.chassis"], capture_output=True, check=False
        ).returncode:
            return command
    return pytest.skip("nobody cannot run this Python")
