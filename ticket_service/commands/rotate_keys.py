"""Changing the keys that sign tokens, while services run: `rotate-keys`, and when it is time for it, `retire-keys`.

A new key is published ten minutes before it signs. The old one goes on verifying, for tickets are printed: it is
retired by a command of its own, after a leak or when nobody holds its tokens any more.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, Connection

from ticket_service.adapters.key_file import add_key, drop_keys, private_keys
from ticket_service.domain.tokens import PublicKey
from ticket_service.settings import read_settings
from ticket_service.store import keys as store
from ticket_service.use_cases.keys import SigningKeys
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.settings import Environment

DONE: Final = 0
TOO_EARLY: Final = 1
Tell = Callable[[str], None]


def rotate_keys(url: URL) -> int:
    """Add a key to this host's file and publish it."""
    return _run(url, lambda database, path: rotate(database, path, system_clock, print))


def retire_keys(url: URL) -> int:
    """Retire all keys of this host's file but the one that signs."""
    return _run(url, lambda database, path: retire(database, path, system_clock, print))


async def rotate(database: Database, key_file: Path, clock: Clock, tell: Tell) -> int:
    """Add a key and publish it; return the exit status.

    A crash between the two leaves a key that any process publishes at its next look, ten minutes ahead as well.
    """
    before = await SigningKeys.open(database, key_file, clock)
    await asyncio.to_thread(add_key, key_file)
    await before.sweep()
    newest = (await database.run(store.all_keys))[-1]
    tell(f"key {newest.key_id} signs from {newest.activate_time:%Y-%m-%d %H:%M:%S} UTC on; the others go on verifying")
    return DONE


async def retire(database: Database, key_file: Path, clock: Clock, tell: Tell) -> int:
    """Retire what does not sign any more; return the exit status."""
    keys = await SigningKeys.open(database, key_file, clock)
    held = {bytes(key.verify_key) for key in await asyncio.to_thread(private_keys, key_file)}
    signing, now = keys.signer().key_id, clock()

    def work(connection: Connection) -> list[PublicKey]:
        store.lock(connection)
        ours = [key for key in store.all_keys(connection) if key.public_key in held and key.retire_time is None]
        old = [key for key in ours if key.key_id != signing]
        if not any(key.activate_time > now for key in old):
            store.retire(connection, [key.key_id for key in old], now)
        return old

    old = await database.run(work)
    if any(key.activate_time > now for key in old):
        tell(f"key {signing} still signs; wait for the new one")
        return TOO_EARLY
    # The database first: a private key that is gone from the file while its public one verifies would help nobody.
    await asyncio.to_thread(drop_keys, key_file, [key.public_key for key in old])
    names = ", ".join(str(key.key_id) for key in old) or "none"
    tell(f"retired: {names}; gates deny their tokens within a minute. Key {signing} signs")
    return DONE


def _run(url: URL, work: Callable[[Database, Path], Awaitable[int]]) -> int:
    async def run() -> int:
        database = Database(url, "ticket_service keys")
        try:
            return await work(database, read_settings(Environment(os.environ)).signing_key_file)
        finally:
            await database.close()

    return asyncio.run(run())
