"""Measure how one flooding device slows the answers of other devices: `python -m benchmarks.flood`, one minute.

The flooding device sends scans without reading answers until the service ends its stream, and then opens another stream.
Twenty other devices scan at a steady rate. Rounds without the flood, with it, and with the same flood at another server
take turns. The last kind of round shows the share of the machine itself, which runs the flooding program too.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized

import grpc

from benchmarks.http2 import LoadGenerator, LoadPlan, Measurement
from benchmarks.report import Comparison, percentile, round_options, table
from benchmarks.scans import PATH, scan_plan
from benchmarks.testbed import Testbed, publish, running_testbed, sell

DEVICES = 20
SCANS_A_SECOND = 100.0
FLOOD = 10_000
# The flooding device writes for this time before it reads the end of its stream.
FLOOD_SECONDS = 1.0


def flood(
    address: str, metadata: Sequence[tuple[str, str]], messages: Sequence[bytes], ended: "Synchronized[int]"
) -> None:
    """Open and flood streams without end; count the streams that the service ended."""
    # A real device has its own processor: this process uses only idle time of the measured machine.
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
class FloodRound:
    """The latencies of the other devices in one round, in seconds."""

    quiet: Sequence[float]
    flooded: Sequence[float]
    # The latencies while the flood went to another server.
    elsewhere: Sequence[float]
    # The number of streams that the service ended.
    ended: int


def measure(
    testbed: Testbed, plan: LoadPlan, other: LoadPlan, rounds: int, echo: tuple[str, int]
) -> Iterator[FloodRound]:
    """Yield the latencies of each round."""
    each = int(plan.seconds * SCANS_A_SECOND) + plan.warm_up
    parts = (replace(plan, messages=plan.messages[n : n + each]) for n in range(0, 3 * rounds * each, each))
    for _ in range(rounds):
        quiet = LoadGenerator(next(parts)).run()
        flooded, ended = beside(testbed.address("SCANS"), other, next(parts))
        elsewhere, _ = beside(echo, other, next(parts))
        yield FloodRound(quiet.latencies, flooded.latencies, elsewhere.latencies, ended)


def beside(address: tuple[str, int], other: LoadPlan, plan: LoadPlan) -> tuple[Measurement, int]:
    """Run `plan` while a device floods a server; return also the number of its streams that ended."""
    context = multiprocessing.get_context("spawn")
    ended = context.Value("i", 0)
    arguments = ("{}:{}".format(*address), other.metadata, [other.first, *other.messages], ended)
    flooding = context.Process(target=flood, args=arguments)
    flooding.start()
    while not ended.value:
        flooding.join(0.1)
        if not flooding.is_alive():
            raise RuntimeError("the flooding device failed")
    measured = LoadGenerator(plan).run()
    flooding.terminate()
    flooding.join()
    return measured, ended.value


def main() -> int:
    """Run the rounds and print a table."""
    given = round_options("benchmarks.flood", __doc__, rounds=4, seconds=5).parse_args()
    with running_testbed() as testbed:
        event = publish(testbed)
        count = int(3 * given.rounds * (given.seconds * SCANS_A_SECOND + 2 * DEVICES))
        plan = scan_plan(testbed, event, sell(testbed, event, count + 1), DEVICES, given.seconds)
        plan = replace(plan, rate=SCANS_A_SECOND, warm_up=2 * DEVICES)
        (victim,) = sell(testbed, publish(testbed), 1)
        # The flood scans at the same event, so that all devices compete for the same row.
        other = scan_plan(testbed, event, [victim] * FLOOD, 1, 0)
        one = LoadGenerator(replace(plan, messages=plan.messages[-1:], warm_up=0, connections=1)).run()
        echo = testbed.start_echo(one.answers[0], b"", {})
        seen = list(measure(testbed, plan, other, given.rounds, echo))
    rows = []
    for percent in (50, 99):
        quiet, flooded, elsewhere = (
            [1000 * percentile(times, percent) for times in column]
            for column in zip(*((one.quiet, one.flooded, one.elsewhere) for one in seen), strict=True)
        )
        name = f"p{percent} of {DEVICES} other devices, ms"
        rows.append(Comparison(name, flooded, quiet, "without the flood", "as before"))
        rows.append(Comparison(name, flooded, elsewhere, "flood at another server", "as before"))
    print(table(rows))
    print(f"streams of the flooding device that the service ended: {[one.ended for one in seen]}")
    print(f"load of the machine: {os.getloadavg()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
