"""Read and write the file of the private signing keys.

The processes of a host share the file, and only its owner can read it. Its content is
`{"seeds": ["<base64 of 32 bytes>", ...]}`; a second seed is the next key, which is published before it signs.
"""

import base64
import fcntl
import json
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nacl.bindings import crypto_sign_SEEDBYTES
from nacl.signing import SigningKey

from ticketing.chassis.settings import SettingsError

log = logging.getLogger(__name__)
OWNER_ONLY: Final = 0o600
OTHER_USERS: Final = 0o077


def private_keys(path: Path) -> list[SigningKey]:
    """Read the keys; the first process creates the file with one key.

    Raises:
        SettingsError: the file cannot be used, here as in the other functions.
    """
    with _opened(path):
        return _read(path)


def add_key(path: Path) -> None:
    """Add a key; the processes that share the file read it at their next sweep."""
    with _opened(path):
        _write(path, [*_read(path), SigningKey.generate()])


def drop_keys(path: Path, public_keys: Collection[bytes]) -> None:
    """Delete the private keys of the given public keys."""
    with _opened(path):
        _write(path, [key for key in _read(path) if bytes(key.verify_key) not in public_keys])


@contextmanager
def _opened(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path):
            if not path.exists():
                _write(path, [SigningKey.generate()])
            if path.stat().st_mode & OTHER_USERS:
                # An operator may have copied the file from a backup.
                path.chmod(OWNER_ONLY)
                log.warning("others could read the signing key file", extra={"path": str(path)})
            yield
    except OSError as error:
        raise SettingsError(f"the signing key file {path} cannot be used: {error.strerror}") from error


def _read(path: Path) -> list[SigningKey]:
    content = path.read_bytes()
    try:
        return _parsed(content)
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f'the signing key file {path} is not {{"seeds": [base64 of {crypto_sign_SEEDBYTES} bytes, ...]}}; '
            "restore it from a backup: without its key no new ticket is signed"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude the other processes of this host; the kernel releases the lock of a killed process."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, keys: Sequence[SigningKey]) -> None:
    """Replace the file atomically, even if the power fails."""
    seeds = [base64.b64encode(bytes(key)).decode() for key in keys]
    unfinished = path.with_name(path.name + ".new")
    # A process that was killed before the rename left this file. The lock excludes that a process still writes it.
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"seeds": seeds}, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _parsed(content: bytes) -> list[SigningKey]:
    seeds = json.loads(content)["seeds"]
    if not isinstance(seeds, list) or not seeds:
        raise ValueError("no seeds")
    return [SigningKey(base64.b64decode(seed, validate=True)) for seed in seeds]
