"""The keys that sign tokens: private in a file of this host, public in the database under an id of their own.

A key that comes to sign beside one that does is published ten minutes ahead, so that every gate knows it by then. The
file is looked at again and again, so a key that is added or retired needs no restart.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey
from sqlalchemy.engine import Connection

from ticket_service.adapters.key_file import private_keys
from ticket_service.domain.tokens import Signer
from ticket_service.store import keys as store
from ticket_service.store.keys import PublicKey
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.settings import SettingsError

PUBLISHED_AHEAD: Final = timedelta(minutes=10)
# Well within the ten minutes, so that all processes change keys at once.
LOOK_SECONDS: Final = 30.0


class SigningKeys:
    """The keys this process can sign with.

    Args:
        database: holds their public side.
        key_file: holds their private side.
        clock: the present time.
    """

    def __init__(self, database: Database, key_file: Path, clock: Clock) -> None:
        self._database = database
        self._key_file = key_file
        self._clock = clock
        # Each with the time from which it signs.
        self._signers: Sequence[tuple[datetime, Signer]] = ()

    @classmethod
    async def open(cls, database: Database, key_file: Path, clock: Clock) -> "SigningKeys":
        """Read the private keys, publish those the database does not know yet.

        Raises:
            SettingsError: the file cannot be used, or every key in it is retired.
        """
        keys = cls(database, key_file, clock)
        await keys.sweep()
        return keys

    async def sweep(self) -> bool:
        """Look again, as `open` does; what cannot be used changes nothing."""
        private = await asyncio.to_thread(private_keys, self._key_file)
        published = await self._database.run(lambda connection: publish(connection, private, self._clock()))
        signers = [
            (public.activate_time, Signer(public.key_id, key))
            for key, public in zip(private, published, strict=True)
            if public.retire_time is None
        ]
        if not signers:
            raise SettingsError(f"every key in the signing key file {self._key_file} is retired")
        self._signers = sorted(signers, key=lambda entry: (entry[0], entry[1].key_id))
        return False

    def signer(self) -> Signer:
        """Return the newest key that is active."""
        now = self._clock()
        active = [signer for activate_time, signer in self._signers if activate_time <= now]
        # None yet: another host, whose clock is ahead of ours, has just published our first key.
        return active[-1] if active else self._signers[0][1]


def publish(connection: Connection, private: Sequence[SigningKey], now: datetime) -> list[PublicKey]:
    """Return the public side of each key; those that are new get an id that no other host can get."""
    store.lock(connection)
    known = {key.public_key: key for key in store.all_keys(connection)}
    held = [bytes(key.verify_key) for key in private]
    for public in held:
        if public in known:
            continue
        usable = any(known[other].retire_time is None for other in held if other in known)
        key = PublicKey(
            key_id=max((key.key_id for key in known.values()), default=0) + 1,
            public_key=public,
            activate_time=now + PUBLISHED_AHEAD if usable else now,
            retire_time=None,
        )
        store.add(connection, key)
        known[public] = key
    return [known[public] for public in held]
