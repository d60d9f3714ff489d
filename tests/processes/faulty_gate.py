"""The gate device's program on a disk that fails at random moments and records what it has synced.

python -m tests.processes.faulty_gate SYNCED_FOLDER SEED run …
"""

import random
import sys
import threading
from pathlib import Path

from tests.environment.disk import FAULTS, Disk
from ticketing.gate.command import main


def fail_at_random(disk: Disk, chance: random.Random) -> None:
    """Let the disk work and fail in turns, for ever."""
    pause = threading.Event()
    while True:
        pause.wait(chance.uniform(0, 0.2))
        disk.fault = chance.choice(FAULTS)
        pause.wait(chance.uniform(0, 0.1))
        disk.fault = 0


if __name__ == "__main__":
    synced, seed, *arguments = sys.argv[1:]
    installed = Disk(Path(synced)).install()
    threading.Thread(target=fail_at_random, args=(installed, random.Random(int(seed))), daemon=True).start()
    sys.exit(main(arguments))
