"""The one error of the embedded PostgreSQL, and the advice that goes with known causes."""


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


_ADVICE = (
    ("No space left on device", "The disk is full: free some space and start again."),
    ("Disk quota exceeded", "The disk quota is used up: free some space and start again."),
    (
        "Permission denied",
        "The server's user may not enter that place: choose another data directory, or run as the user who owns it.",
    ),
    ("Read-only file system", "Choose a data directory that can be written to."),
)


def with_advice(text: str) -> str:
    """Return `text`, followed by what to do if the cause is a known one."""
    return "\n".join([text, *(advice for cause, advice in _ADVICE if cause in text)])
