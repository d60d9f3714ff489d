"""The file that holds the private signing keys: made once, readable by its owner alone, shared by the host's processes.

`{"seeds": ["<base64 of 32 bytes>", ...]}`; a second seed is the next key, published before it signs.
"""

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nacl.bindings import crypto_sign_SEEDBYTES
from nacl.signing import SigningKey

from chassis.settings import SettingsError


def private_keys(path: Path) -> list[SigningKey]:
    """Read the keys; the first process to come makes the file with one.

    Raises:
        SettingsError: the file cannot be used; the message names it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path):
            if not path.exists():
                _make(path)
            content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the signing key file {path} cannot be used: {error.strerror}") from error
    try:
        return _parsed(content)
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f'the signing key file {path} is not {{"seeds": [base64 of {crypto_sign_SEEDBYTES} bytes, ...]}}; '
            "restore it from a backup: without its key no new ticket is signed"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let the processes of this host start one by one; the kernel drops the lock of one that dies."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    """Write the file so that it is there whole or not at all, also after a power cut."""
    seed = base64.b64encode(bytes(SigningKey.generate())).decode()
    unfinished = path.with_name(path.name + ".new")
    # Left by a process that died between the two steps; we hold the lock, so nobody is writing it.
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"seeds": [seed]}, file)
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
