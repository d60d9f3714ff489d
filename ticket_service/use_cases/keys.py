"""Manage the keys that sign tokens: the private keys in a file of this host, the public keys in the database.

A new key is published ten minutes before it signs, so that every gate has received it by then. Each process reads the
file periodically, so adding or retiring a key needs no restart.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey
from sqlalchemy.engine import Connection

from ticket_service.adapters.key_file import private_keys
from ticket_service.domain.tokens import PublicKey, Signer
from ticket_service.store import keys as store
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database, Refusal
from ticketing.chassis.settings import SettingsError

PUBLISHED_AHEAD: Final = timedelta(minutes=10)
# Far below PUBLISHED_AHEAD, so that every process has read a new key before the key signs.
LOOK_SECONDS: Final = 30.0


class SigningKeys:
    """The keys with which this process can sign; `key_file` contains them, and the database their public keys."""

    def __init__(self, database: Database, key_file: Path, clock: Clock, refusal: Refusal = lambda: None) -> None:
        self._refusal = refusal
        self._database = database
        self._key_file = key_file
        self._clock = clock
        # Each key with the time from which it signs.
        self._signers: Sequence[tuple[datetime, Signer]] = ()

    @classmethod
    async def open(
        cls, database: Database, key_file: Path, clock: Clock, refusal: Refusal = lambda: None
    ) -> "SigningKeys":
        """Read the private keys and publish those that the database does not contain yet.

        While `refusal` returns a failure, nothing is published: a restored database lacks the ids of newer keys.

        Raises:
            SettingsError: the file cannot be used, or every key in it is retired.
        """
        keys = cls(database, key_file, clock, refusal)
        await keys.sweep()
        return keys

    async def sweep(self) -> bool:
        """Read the file again, as `open` does; after an error the previous keys stay in use."""
        private = await asyncio.to_thread(private_keys, self._key_file)
        refused = self._refusal() is not None
        if refused:
            published = {key.public_key: key for key in await public_keys(self._database)}
        else:
            published = await self._database.run(lambda connection: publish(connection, private, self._clock()))
        signers = [
            (public.activate_time, Signer(public.key_id, key))
            for key in private
            if (public := published.get(bytes(key.verify_key))) is not None and public.retire_time is None
        ]
        if not signers and not refused:
            raise SettingsError(f"every key in the signing key file {self._key_file} is retired")
        self._signers = sorted(signers, key=lambda entry: (entry[0], entry[1].key_id))
        return False

    def signer(self) -> Signer:
        """Return the newest key that is active.

        Raises:
            Failure: while the database is recovered, it may lack every key of the file.
        """
        if not self._signers and (refused := self._refusal()) is not None:
            raise refused
        now = self._clock()
        active = [signer for activate_time, signer in self._signers if activate_time <= now]
        # No key is active if another host, whose clock is ahead, has just published the first key.
        return active[-1] if active else self._signers[0][1]


async def public_keys(database: Database) -> list[PublicKey]:
    """Read all public keys, by id."""
    return await database.run(store.all_keys)


def publish(connection: Connection, private: Sequence[SigningKey], now: datetime) -> dict[bytes, PublicKey]:
    """Return all public keys, also those of `private`; a new key gets an id that no other host can assign."""
    store.lock(connection)
    known = {key.public_key: key for key in store.all_keys(connection)}
    own = [bytes(key.verify_key) for key in private]
    for public in own:
        if public in known:
            continue
        usable = any(known[other].retire_time is None for other in own if other in known)
        key = PublicKey(
            key_id=max((key.key_id for key in known.values()), default=0) + 1,
            public_key=public,
            activate_time=now + PUBLISHED_AHEAD if usable else now,
            retire_time=None,
        )
        store.add(connection, key)
        known[public] = key
    return known
