"""Change the keys that sign tokens while services run: `rotate-keys`, and later `retire-keys`.

A new key is published ten minutes before it signs. Gates continue to accept the old key, because tickets are printed.
An operator retires the old key after a leak, or when no valid ticket has its signature.
"""

import asyncio
import os
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, Connection

from ticket_service.adapters.key_file import add_key, drop_keys, private_keys
from ticket_service.domain.tokens import PublicKey
from ticket_service.settings import read_settings
from ticket_service.store import keys as store
from ticket_service.use_cases.keys import SigningKeys
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.command_line import Command
from ticketing.chassis.database import Database
from ticketing.chassis.settings import Environment

DONE: Final = 0
TOO_EARLY: Final = 1
UNKNOWN_KEY: Final = 1
Write = Callable[[str], None]


def rotate_keys(url: URL) -> int:
    """Add a key to the file of this host and publish it."""
    return _run(url, lambda database, path: rotate(database, path, system_clock, print))


def retire_keys(url: URL) -> int:
    """Retire all keys in the file of this host except the one that signs."""
    return _run(url, lambda database, path: retire(database, path, system_clock, print))


def retire_named_keys(url: URL, key_ids: Sequence[int]) -> int:
    """Retire keys by their ids, also those that another host's file or no file contains."""
    return _run(url, lambda database, path: retire_named(database, path, frozenset(key_ids), system_clock, print))


async def rotate(database: Database, key_file: Path, clock: Clock, write: Write) -> int:
    """Add a key and publish it; return the exit status.

    After a crash between the two steps, any process publishes the key at its next sweep, ten minutes ahead too.
    """
    before = await SigningKeys.open(database, key_file, clock)
    await asyncio.to_thread(add_key, key_file)
    await before.sweep()
    newest = (await database.run(store.all_keys))[-1]
    write(f"key {newest.key_id} signs from {newest.activate_time:%Y-%m-%d %H:%M:%S} UTC on; gates accept the others")
    return DONE


async def retire(database: Database, key_file: Path, clock: Clock, write: Write) -> int:
    """Retire the keys that no longer sign; return the exit status."""
    keys = await SigningKeys.open(database, key_file, clock)
    in_file = {bytes(key.verify_key) for key in await asyncio.to_thread(private_keys, key_file)}
    signing, now = keys.signer().key_id, clock()

    def work(connection: Connection) -> list[PublicKey]:
        store.lock(connection)
        ours = [key for key in store.all_keys(connection) if key.public_key in in_file and key.retire_time is None]
        old = [key for key in ours if key.key_id != signing]
        if not any(key.activate_time > now for key in old):
            store.retire(connection, [key.key_id for key in old], now)
        return old

    old = await database.run(work)
    if any(key.activate_time > now for key in old):
        write(f"key {signing} still signs; wait for the new one")
        return TOO_EARLY
    # The database first: as long as gates accept the public key, deleting the private key is of no use.
    await asyncio.to_thread(drop_keys, key_file, [key.public_key for key in old])
    names = ", ".join(str(key.key_id) for key in old) or "none"
    write(f"retired: {names}; gates deny their tokens within a minute. Key {signing} signs")
    return DONE


async def retire_named(database: Database, key_file: Path, key_ids: Collection[int], clock: Clock, write: Write) -> int:
    """Retire the keys of `key_ids` unless one signs or is unknown; return the exit status."""
    keys = await SigningKeys.open(database, key_file, clock)
    signing, now = keys.signer().key_id, clock()
    if signing in key_ids:
        write(f"key {signing} still signs; run rotate-keys and wait for the new one")
        return TOO_EARLY

    def work(connection: Connection) -> list[PublicKey]:
        store.lock(connection)
        known = [key for key in store.all_keys(connection) if key.key_id in key_ids]
        if len(known) == len(key_ids):
            store.retire(connection, [key.key_id for key in known if key.retire_time is None], now)
        return known

    known = await database.run(work)
    if unknown := sorted(set(key_ids) - {key.key_id for key in known}):
        # A restore may have lost a key that the scan service still has.
        names = " ".join(map(str, unknown))
        write(f"nothing is retired: this database has no key {names}; try `python -m scan_service retire-keys {names}`")
        return UNKNOWN_KEY
    await asyncio.to_thread(drop_keys, key_file, [key.public_key for key in known])
    write(f"retired: {', '.join(map(str, sorted(key_ids)))}; gates deny their tokens within a minute")
    return DONE


def _run(url: URL, work: Callable[[Database, Path], Awaitable[int]]) -> int:
    async def run() -> int:
        database = Database(url, "ticket_service keys")
        try:
            return await work(database, read_settings(Environment(os.environ)).signing_key_file)
        finally:
            await database.close()

    return asyncio.run(run())


def read_key_id(text: str) -> int:
    """Read the id of a key from the command line."""
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError(f"{text!r} is not the id of a key")
    return int(text)


def _add_key_ids(parser: ArgumentParser) -> None:
    parser.add_argument("key_ids", metavar="ID", type=read_key_id, nargs="*", help="the id of a signing key")


COMMANDS: Final = (
    Command("rotate-keys", "add a key that signs tokens in ten minutes", lambda url, _: rotate_keys(url)),
    Command(
        "retire-keys",
        "deny the tokens of the named keys, or of all keys that no longer sign",
        lambda url, given: retire_named_keys(url, given.key_ids) if given.key_ids else retire_keys(url),
        _add_key_ids,
    ),
)
