"""The limit of open files of a process; every connection is one, and most systems start with 1,024."""

import resource
from typing import Final

# The limit allows some thousand callers. With a hard limit of a million, closing "all files" would take a second.
WANTED_FILES: Final = 10_240


def raise_file_limit() -> None:
    """Raise the soft limit of this process to WANTED_FILES, or to the hard limit where that is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # RLIM_INFINITY compares as less than any number.
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
