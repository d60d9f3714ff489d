"""The expressions that read the place in the write-ahead log."""

from typing import Any, Final

from scan_service.domain.write_ahead_log import LogPlace, ServerLog

# Columns of a SELECT for `log_of`.
# The position is the one of insertion: the records of aborted transactions are not flushed, and their ids count too.
# Only a standby asks for the log of another server, and a start forgets that. Without this condition, the replayed log
# would contain what this server itself wrote before a crash.
LOG_COLUMNS: Final = """
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS timeline,
    CASE WHEN pg_is_in_recovery() THEN NULL
         ELSE CAST(pg_current_wal_insert_lsn() - CAST('0/0' AS pg_lsn) AS bigint) END AS position,
    CASE WHEN pg_last_wal_receive_lsn() IS NOT NULL
         THEN CAST(pg_last_wal_replay_lsn() - CAST('0/0' AS pg_lsn) AS bigint) END AS promoted_at
"""


def log_of(row: Any) -> ServerLog:
    """Convert LOG_COLUMNS."""
    if row.timeline is None:
        return ServerLog(None, row.promoted_at)
    return ServerLog(LogPlace(int(row.timeline, 16), row.position), row.promoted_at)
