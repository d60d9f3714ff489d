"""The files of older commits, whose programs tests start beside the present ones."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.environment import ROOT


class NoHistoryError(Exception):
    """The commit is not here: git is not installed, the clone is shallow, or the files come from an archive."""


def check_out(commit: str, folder: Path) -> None:
    """Write the files of a commit into an empty folder.

    Raises:
        NoHistoryError: as its class says.
    """
    git = shutil.which("git")
    if git is None:
        raise NoHistoryError("git is not installed")
    # An archive leaves nothing in the repository, also when this process is killed; a worktree would.
    archive = subprocess.run([git, "-C", ROOT, "archive", commit], capture_output=True, check=False)
    if archive.returncode:
        raise NoHistoryError(f"the history is not here: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
