"""How many files a process may have open; every connection is one, and wanted systems begin at 1,024."""

import resource
from typing import Final

# For some thousand callers. Not all that is allowed: with a limit of a million, closing "all files" takes a second.
WANTED_FILES: Final = 10_240


def raise_file_limit() -> None:
    """Raise this process's limit to WANTED_FILES, or as far as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # RLIM_INFINITY is less than any number.
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
