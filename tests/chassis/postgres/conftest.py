import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ticketing.chassis
from tests.chassis.postgres.site import Site
from ticketing.chassis.postgres.launcher import Launcher

NOBODY = 65534


@pytest.fixture
def site(empty_site: Site, made_cluster: Path) -> Site:
    """Return a data directory with a copied cluster, which saves the time of initdb."""
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
    """Return a data directory that every user can reach; only the owner can reach the directories of pytest."""
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
        # rmdir deletes only empty folders; rmtree could delete files through a mount.
        folder.rmdir()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], Launcher]]:
    """Return a function that makes a launcher of a shell script in place of PostgreSQL's programs."""
    with (tmp_path / "lock").open("w") as lock:

        def write(text: str) -> Launcher:
            for name in ("initdb", "postgres"):
                script = tmp_path / name
                script.write_text(f"#!/bin/sh\n{text}\n")
                script.chmod(0o700)
            return Launcher(tmp_path, lock.fileno())

        yield write


# Root's Python may be in a folder that other users cannot reach; a private mount makes it reachable for the test.
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
MOUNTED = ("unshare", "--mount", "--propagation=private", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"')


@pytest.fixture
def as_nobody(open_site: Site) -> tuple[str | Path, ...]:
    """Return the command that runs Python as the user nobody, who can reach the project."""
    if os.geteuid() != 0:
        pytest.skip("only root can act for another user")
    reach = open_site.data_dir.with_name("python")
    reach.mkdir()
    path = os.pathsep.join(["PYTHONPATH=" + str(Path(ticketing.chassis.__file__).parents[2]), *filter(None, sys.path)])
    # Another user cannot write coverage data into this directory.
    python = ("env", "-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START", path)
    direct = (*AS_NOBODY, *python, sys.executable)
    mounted = (
        *MOUNTED,
        sys.base_prefix,
        reach,
        *AS_NOBODY,
        *python,
        reach / "bin" / Path(sys.executable).resolve().name,
    )
    for command in (direct, mounted):
        if not subprocess.run(
            [*command, "-c", "import ticketing.chassis"], capture_output=True, check=False
        ).returncode:
            return command
    return pytest.skip("nobody cannot run this Python")
