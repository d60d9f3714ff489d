"""The access token of the device, from `enroll` or from a file that another program renews."""

from pathlib import Path
from typing import Final

# A longer file contains something else.
MAX_TOKEN_BYTES: Final = 16_384

Metadata = tuple[tuple[str, str], ...]


class CredentialError(Exception):
    """A file has no usable access token; the message names the file and says why."""


class Credential:
    """The token that every call sends. A file is read again for every stream, so that a renewed token takes effect."""

    def __init__(self, token: str, file: Path | None = None) -> None:
        self._token = token
        self._file = file

    @classmethod
    def of_file(cls, file: Path) -> "Credential":
        """Read a file; raise CredentialError if it has no token."""
        return cls(read_token_file(file), file)

    def metadata(self) -> Metadata:
        """Return the metadata of a call with the newest token."""
        self._token = self._newest()
        return (("authorization", f"Bearer {self._token}"),)

    def is_renewed(self) -> bool:
        """Return whether the file has another token than the last call sent."""
        return self._newest() != self._token

    def _newest(self) -> str:
        if self._file is None:
            return self._token
        try:
            return read_token_file(self._file)
        except CredentialError:
            # The file is being replaced, or its disk is gone: the last token may still be valid.
            return self._token


def read_token_file(file: Path) -> str:
    """Read an access token; raise CredentialError if the file has none."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise CredentialError(f"--token-file {file}: {error.strerror}") from error
    token = content.strip()
    # A header contains visible ASCII characters only.
    if not token or len(content) > MAX_TOKEN_BYTES or not all(0x21 <= byte <= 0x7E for byte in token):  # noqa: PLR2004 - the visible characters
        raise CredentialError(f"--token-file {file}: contains no access token")
    return token.decode("ascii")
