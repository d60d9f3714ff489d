"""The load plans run by grpc.aio clients, as a backend in Python uses them; they cost more CPU than the server."""

import asyncio
import time
from array import array
from collections.abc import Iterator

import grpc.aio

from benchmarks.http2 import SILENCE_SECONDS, LoadPlan, Measurement


def run(plan: LoadPlan) -> Measurement:
    """Run a plan of streams as fast as the server answers; the rate of the plan is ignored."""
    return asyncio.run(_run(plan))


async def _run(plan: LoadPlan) -> Measurement:
    messages, answers, latencies = iter(plan.messages), list[bytes](), array("d")
    async with asyncio.timeout(plan.seconds + 2 * SILENCE_SECONDS):
        channels = [
            # One connection per stream, as devices have.
            grpc.aio.insecure_channel("{}:{}".format(*address), options=[("grpc.use_local_subchannel_pool", 1)])
            for address in (plan.addresses[n % len(plan.addresses)] for n in range(plan.connections))
        ]
        calls: list[grpc.aio.StreamStreamCall[bytes, bytes]] = [
            channel.stream_stream(plan.path)(metadata=plan.metadata) for channel in channels
        ]
        for call in calls:
            await call.write(plan.first or b"")
            await call.read()
        begin, cpu = time.perf_counter(), time.process_time()
        end = begin + plan.seconds

        async def device(call: "grpc.aio.StreamStreamCall[bytes, bytes]", unsent: Iterator[bytes]) -> None:
            while time.perf_counter() < end and (message := next(unsent, None)) is not None:
                sent = time.perf_counter()
                await call.write(message)
                answers.append(await call.read())  # type: ignore[arg-type]  # a caller that decodes EOF fails
                latencies.append(time.perf_counter() - sent)
            await call.done_writing()

        await asyncio.gather(*(device(call, messages) for call in calls))
        spent = time.perf_counter() - begin
        measured = Measurement(answers, latencies, spent, (time.process_time() - cpu) / spent)
        for channel in channels:
            await channel.close()
    return measured
