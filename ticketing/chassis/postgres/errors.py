"""The error of the embedded PostgreSQL, with advice for known causes."""

_ADVICE = (
    ("No space left on device", "The disk is full: free some space and start again."),
    ("Disk quota exceeded", "The disk quota is used up: free some space and start again."),
    (
        "Permission denied",
        "The user of the server may not enter that place: choose another data directory, or run as the user who owns it.",
    ),
    ("Read-only file system", "Choose a data directory that can be written to."),
)


class EmbeddedPostgresError(Exception):
    """The cause why the embedded PostgreSQL cannot be used, with advice for known causes."""

    def __init__(self, message: str) -> None:
        # The error of a keeper already contains its advice when a service raises it again.
        advice = [advice for cause, advice in _ADVICE if cause in message and advice not in message]
        super().__init__("\n".join([message, *advice]))
