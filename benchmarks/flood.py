"""What one device that floods does to the others' answers: `python -m benchmarks.flood`, a minute.

It sends scans without reading answers until its stream is ended, opens another, and so on; twenty devices scan meanwhile
at a steady rate. Rounds without it, with it, and with the same flood at another server take turns: the last tells what is
due to the machine, which the flooding program is on as well.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized

import grpc

from benchmarks.http2 import Generator, Measured, Plan
from benchmarks.report import Row, percentile, table
from benchmarks.scans import PATH, scan_plan
from benchmarks.stand import Stand, publish, sell, stand

DEVICES = 20
SCANS_A_SECOND = 100.0
FLOOD = 10_000
# So long the flooding device writes before it looks how its stream is.
FLOOD_SECONDS = 1.0


def flood(
    address: str, metadata: Sequence[tuple[str, str]], messages: Sequence[bytes], ended: "Synchronized[int]"
) -> None:
    """Open streams and flood them, for ever; count those that have ended."""
    # A device has a processor of its own: this one takes only what nobody else wants of ours.
    os.nice(19)
    with grpc.insecure_channel(address) as channel:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(PATH)
        while True:
            sent_all = time.monotonic() + FLOOD_SECONDS

            def write(until: float = sent_all) -> Iterator[bytes]:
                yield from messages
                time.sleep(max(0.0, until - time.monotonic()))

            stream = call(write(), metadata=tuple(metadata))
            time.sleep(FLOOD_SECONDS)
            try:
                for _ in stream:
                    pass
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
            with ended:
                ended.value += 1


@dataclass(frozen=True, slots=True)
class Seen:
    """The others' answer times in one round, in seconds."""

    quiet: Sequence[float]
    flooded: Sequence[float]
    # While another server was.
    elsewhere: Sequence[float]
    # Streams that the service has ended.
    ended: int


def measure(its: Stand, plan: Plan, other: Plan, rounds: int, echo: tuple[str, int]) -> Iterator[Seen]:
    """Yield what was seen in each round."""
    each = int(plan.seconds * SCANS_A_SECOND) + plan.warm_up
    parts = (replace(plan, messages=plan.messages[n : n + each]) for n in range(0, 3 * rounds * each, each))
    for _ in range(rounds):
        quiet = Generator(next(parts)).run()
        flooded, ended = beside(its.address("SCANS"), other, next(parts))
        elsewhere, _ = beside(echo, other, next(parts))
        yield Seen(quiet.latencies, flooded.latencies, elsewhere.latencies, ended)


def beside(address: tuple[str, int], other: Plan, plan: Plan) -> tuple[Measured, int]:
    """Carry out `plan` while a device floods a server; tell how many of its streams have ended too."""
    context = multiprocessing.get_context("spawn")
    ended = context.Value("i", 0)
    given = ("{}:{}".format(*address), other.metadata, [other.first, *other.messages], ended)
    flooding = context.Process(target=flood, args=given)
    flooding.start()
    while not ended.value:
        flooding.join(0.1)
        if not flooding.is_alive():
            raise RuntimeError("the flooding device has failed")
    measured = Generator(plan).run()
    flooding.terminate()
    flooding.join()
    return measured, ended.value


def main() -> int:
    """Measure, and print what was seen."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.flood", description=__doc__)
    options.add_argument("--rounds", type=int, default=4, help="of the comparison (default: %(default)s)")
    options.add_argument("--seconds", type=float, default=5, help="that each half takes (default: %(default)s)")
    given = options.parse_args()
    with stand() as its:
        event = publish(its)
        count = int(3 * given.rounds * (given.seconds * SCANS_A_SECOND + 2 * DEVICES))
        plan = scan_plan(its, event, sell(its, event, count + 1), DEVICES, given.seconds)
        plan = replace(plan, rate=SCANS_A_SECOND, warm_up=2 * DEVICES)
        (victim,) = sell(its, publish(its), 1)
        # The flood is at the same event, so that it meets the others at the same row.
        other = scan_plan(its, event, [victim] * FLOOD, 1, 0)
        one = Generator(replace(plan, messages=plan.messages[-1:], warm_up=0, connections=1)).run()
        echo = its.start_echo(one.answers[0], b"")
        seen = list(measure(its, plan, other, given.rounds, echo))
    rows = []
    for percent in (50, 99):
        quiet, flooded, elsewhere = (
            [1000 * percentile(times, percent) for times in column]
            for column in zip(*((one.quiet, one.flooded, one.elsewhere) for one in seen), strict=True)
        )
        name = f"p{percent} of {DEVICES} other devices, ms"
        rows.append(Row(name, flooded, quiet, "ms", "without the flood", "as before"))
        rows.append(Row(name, flooded, elsewhere, "ms", "flood at another server", "as before"))
    print(table(rows))
    print(f"streams of the flooding device that were ended for it: {[one.ended for one in seen]}")
    print(f"load of the machine: {os.getloadavg()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
