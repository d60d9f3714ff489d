"""What one device that floods does to the others' answers: `python -m benchmarks.flood`, a minute.

It sends scans without reading answers until its stream is ended, opens another, and so on; twenty devices scan meanwhile
at a steady rate. Rounds without it and with it take turns, so that both meet the same machine.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.sharedctypes import Synchronized

import grpc

from benchmarks.http2 import Generator, Plan
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
    """Open streams and flood them, for ever; count those that were ended for it."""
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


def measure(its: Stand, plan: Plan, other: Plan, rounds: int) -> Iterator[tuple[list[float], list[float], int]]:
    """Yield the others' answer times of each round without a flood and with one, and how many streams it cost."""
    context = multiprocessing.get_context("spawn")
    each = int(plan.seconds * SCANS_A_SECOND) + plan.warm_up
    for number in range(rounds):
        first, second = (
            replace(plan, messages=plan.messages[n * each : (n + 1) * each]) for n in (2 * number, 2 * number + 1)
        )
        quiet = Generator(first).run()
        ended = context.Value("i", 0)
        given = ("{}:{}".format(*its.address("SCANS")), other.metadata, [other.first, *other.messages], ended)
        flooding = context.Process(target=flood, args=given)
        flooding.start()
        while not ended.value:
            flooding.join(0.1)
            if not flooding.is_alive():
                raise RuntimeError("the flooding device has failed")
        loud = Generator(second).run()
        flooding.terminate()
        flooding.join()
        yield list(quiet.latencies), list(loud.latencies), ended.value


def main() -> int:
    """Measure, and print what was seen."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.flood", description=__doc__)
    options.add_argument("--rounds", type=int, default=4, help="of the comparison (default: %(default)s)")
    options.add_argument("--seconds", type=float, default=5, help="that each half takes (default: %(default)s)")
    given = options.parse_args()
    with stand() as its:
        event = publish(its)
        count = int(2 * given.rounds * (given.seconds * SCANS_A_SECOND + 2 * DEVICES))
        plan = scan_plan(its, event, sell(its, event, count + 1), DEVICES, given.seconds)
        plan = replace(plan, rate=SCANS_A_SECOND, warm_up=2 * DEVICES)
        (victim,) = sell(its, publish(its), 1)
        # The flood is at the same event, so that it meets the others at the same row.
        other = scan_plan(its, event, [victim] * FLOOD, 1, 0)
        seen = list(measure(its, plan, other, given.rounds))
        percents = (50, 99)
        rows = [
            Row(
                f"p{percent} of {DEVICES} other devices, ms",
                [1000 * percentile(loud, percent) for _, loud, _ in seen],
                [1000 * percentile(quiet, percent) for quiet, _, _ in seen],
                "ms",
                "without the flood",
                "as before",
            )
            for percent in percents
        ]
    print(table(rows))
    print(f"streams of the flooding device that were ended for it: {[ended for _, _, ended in seen]}")
    print(f"load of the machine: {os.getloadavg()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
